"""Draws the scores of docs/models/training-log.md against frames seen and core-hours.

python benchmarks/learning_curve.py docs/models/training-log.md -o curve.png
"""

import argparse
from itertools import accumulate
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.ticker import EngFormatter

from perception.errors import UserError, cli

FRAMES, HOURS = "frames seen", "core-hours"
FIRST_SCORE = "vehicle AP50"  # this column and those after it are scores


def read_table(path: Path) -> dict[str, list[str]]:
    """Cells of the first Markdown table of a file, per column. Raises UserError without one."""
    lines = [line for line in path.read_text("utf-8").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    if len(rows) < 3 or not {FRAMES, HOURS, FIRST_SCORE} <= set(rows[0]):
        raise UserError(f"{path}: no table with columns {FRAMES!r}, {HOURS!r}, {FIRST_SCORE!r}")
    return {name: [row[i] for row in rows[2:]] for i, name in enumerate(rows[0])}


def draw(table: dict[str, list[str]], out: Path) -> None:
    """Writes the picture: one panel per axis, one curve per score, one point per stage."""
    names = list(table)
    scores = names[names.index(FIRST_SCORE) :]
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    for panel, axis in zip(panels, (FRAMES, HOURS), strict=True):
        x = list(accumulate(float(cell.replace(",", "")) for cell in table[axis]))
        for score in scores:
            points = [(a, float(b)) for a, b in zip(x, table[score], strict=True) if b != "–"]
            panel.plot(*zip(*points, strict=True), marker="o", markersize=4, label=score)
        panel.set_xlabel(f"{axis}, all stages so far")
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
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
    draw(read_table(args.log), args.out)


if __name__ == "__main__":
    raise SystemExit(cli(main))
