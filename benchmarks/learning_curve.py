"""Draws the scores of docs/models/training-log.md against frames seen and core-hours: a curve per
score and model.

python benchmarks/learning_curve.py docs/models/training-log.md -o curve.png
"""

import argparse
from itertools import accumulate
from pathlib import Path
from typing import Final

import matplotlib.pyplot as plt
from matplotlib.ticker import EngFormatter, NullFormatter

from perception.errors import UserError, cli

FRAMES: Final = "frames seen"
HOURS: Final = "core-hours"
FIRST_SCORE: Final = "vehicle AP50"  # this column and those after it are scores
STYLES: Final = ("-", "--", ":")  # of the tables, in their order


def read_tables(path: Path) -> dict[str, dict[str, list[str]]]:
    """Cells per column of every Markdown table of stages, under the heading before it.

    Raises UserError where there is none.
    """
    tables: dict[str, dict[str, list[str]]] = {}
    heading, rows = "", list[list[str]]()
    for line in [*path.read_text("utf-8").splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
            continue
        if len(rows) > 2 and {FRAMES, HOURS, FIRST_SCORE} <= set(rows[0]):
            tables[heading] = {name: [row[i] for row in rows[2:]] for i, name in enumerate(rows[0])}
        rows = []
        heading = line.lstrip("# ") if line.startswith("#") else heading
    if not tables:
        raise UserError(f"{path}: no table with columns {FRAMES!r}, {HOURS!r}, {FIRST_SCORE!r}")
    return tables


def draw(tables: dict[str, dict[str, list[str]]], out: Path) -> None:
    """Writes the picture: a panel per axis, a curve per score and table, a point per stage."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    for panel, axis in zip(panels, (FRAMES, HOURS), strict=True):
        for (heading, table), style in zip(tables.items(), STYLES, strict=False):
            names = list(table)
            x = list(accumulate(float(cell.replace(",", "")) for cell in table[axis]))
            for i, score in enumerate(names[names.index(FIRST_SCORE) :]):
                points = [(a, float(b)) for a, b in zip(x, table[score], strict=True) if b != "–"]
                look = {"marker": "o", "markersize": 4, "linestyle": style, "color": f"C{i}"}
                panel.plot(
                    *zip(*points, strict=True),
                    label=f"{score}, {heading.partition(':')[0]}",
                    **look,
                )
        panel.set_xscale("log")
        panel.set_xlabel(f"{axis}, all stages so far")
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("score on the validation frames")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(out, dpi=110)


def main() -> None:
    """The command. Raises UserError where the file holds no such table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    draw(read_tables(args.log), args.out)


if __name__ == "__main__":
    raise SystemExit(cli(main))
