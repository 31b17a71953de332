"""The result of an evaluation: tables on the terminal and in Markdown, and JSON."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from perception.metrics.detection import SHOWN_PRECISION
from training.evaluation.scores import overall
from training.logs import json_values

TITLES: Final = {
    "bdd": "BDD100K metrics",
    "panoptic": "Panoptic driving protocol",
}
# Source of the reference code that a score equals.
REFERENCE: Final = {"bdd": "toolkit", "panoptic": "papers"}
OURS: Final = "ours"
FEW_FRAMES: Final = 10  # below this, scores of a slice are printed without decimals
ABSENT: Final = "absent"


@dataclass(frozen=True)
class ScoreTable:
    """A table: `fixed` columns that identify a row, then columns of values."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    fixed: int = 1


def grids(result: Mapping[str, Any]) -> Iterator[ScoreTable]:
    """Headline scores; all overall scores, scores per class, thresholds, headlines per slice."""
    yield headline_grid(result)
    for protocol, tasks in result["scores"].items():
        yield _overall_grid(result, protocol)
        for task in tasks:
            yield from _class_grid(result, protocol, task)
    yield from _threshold_grids(result)
    yield from _toolkit_grid(result)
    yield from _slice_grids(result)


def headline_grid(result: Mapping[str, Any]) -> ScoreTable:
    """The headline scores of every protocol, with the frames and objects they are of."""
    rows = []
    for protocol, tasks in result["tasks"].items():
        for task, about in tasks.items():
            counted = about["unit"] == "objects" and about["counts"]
            objects = str(sum(about["counts"].values())) if counted else "–"
            for key in about["headlines"]:
                value = result["scores"][protocol][task].get(key, math.nan)
                cells = [number(value), *interval(result, protocol, task, key)]
                frames = result["labelled"][protocol][task]
                rows.append([protocol, task, key, *cells, str(frames), objects])
    columns = ["protocol", "task", "score", "value", *intervals(result), "frames", "objects"]
    return ScoreTable("Headline scores", columns, rows, fixed=3)


def _overall_grid(result: Mapping[str, Any], protocol: str) -> ScoreTable:
    columns = ["task", "score", "value", *intervals(result), "as in"]
    rows = []
    for task, scores in result["scores"][protocol].items():
        official = result["tasks"][protocol][task]["official"]
        for key, value in overall(scores).items():
            cells = [number(value), *interval(result, protocol, task, key)]
            rows.append([task, key, *cells, REFERENCE[protocol] if key in official else OURS])
    return ScoreTable(TITLES[protocol], columns, rows, fixed=2)


def _class_grid(result: Mapping[str, Any], protocol: str, task: str) -> Iterator[ScoreTable]:
    """Rows per class, columns per score, from keys written score/class; none without any value."""
    about = result["tasks"][protocol][task]
    scores = result["scores"][protocol][task]
    pairs = {tuple(key.split("/", 1)): value for key, value in scores.items() if "/" in key}
    if all(math.isnan(value) for value in pairs.values()):
        return
    names = dict.fromkeys(score for score, _ in pairs)
    ours = [n for n in names if not any(key.startswith(f"{n}/") for key in about["official"])]
    title = f"{TITLES[protocol]}: {task} by class"
    if ours:
        title += f" ({', '.join(ours)}: {OURS})"
    rows = []
    for name in dict.fromkeys(name for _, name in pairs):
        values = [pairs.get((score, name), float("nan")) for score in names]
        count = about["counts"].get(name)
        shown = list(map(number, values))
        if all(map(math.isnan, values)):
            shown = [ABSENT] + [""] * (len(shown) - 1)
        rows.append([name, "–" if count is None else f"{count}", *shown])
    yield ScoreTable(title, ("class", about["unit"], *names), rows, fixed=2)


def _threshold_grids(result: Mapping[str, Any]) -> Iterator[ScoreTable]:
    for task, thresholds in result["thresholds"].items():
        rows = [
            [key.partition("/")[2] or "all classes, best F1", number(value)]
            for key, value in thresholds.items()
        ]
        share = f"{100 * SHOWN_PRECISION:.0f} % precision"
        title = f"Score thresholds of {task} boxes (0 to 1): best F1, and {share} per class"
        yield ScoreTable(title, ("class", "threshold"), rows)


def _toolkit_grid(result: Mapping[str, Any]) -> Iterator[ScoreTable]:
    rows = [
        [row["task"], row["score"], str(row["frames"])]
        + [number(row[key], 4) for key in ("ours", "toolkit")]
        + [number(abs(row["ours"] - row["toolkit"]), 4)]
        for row in result.get("toolkit", ())
    ]
    if rows:
        columns = ("task", "score", "frames", "ours", "toolkit", "difference")
        yield ScoreTable(
            "The same predictions scored by the official toolkit", columns, rows, fixed=2
        )


def _slice_grids(result: Mapping[str, Any]) -> Iterator[ScoreTable]:
    for protocol, tasks in result["tasks"].items():
        heads = [(task, key) for task, about in tasks.items() for key in about["headlines"]]
        rows = []
        for name, part in result["slices"].items():
            values = []
            for task, key in heads:
                few = part["labelled"].get(protocol, {}).get(task, 0) < FEW_FRAMES
                value = part["scores"].get(protocol, {}).get(task, {}).get(key, float("nan"))
                values.append(number(value, 0 if few else 2))
            rows.append([name, str(part["frames"]), *values])
        if rows and heads:
            columns = ("attribute", "frames", *(f"{task} {key}" for task, key in heads))
            title = f"{TITLES[protocol]} by attribute (no decimals: fewer than {FEW_FRAMES} frames)"
            yield ScoreTable(title, columns, rows, fixed=2)


def intervals(result: Mapping[str, Any]) -> list[str]:
    """The column of the scores' intervals, where the result has them."""
    return ["95 % interval"] if result["intervals"] else []


def interval(result: Mapping[str, Any], protocol: str, task: str, key: str) -> list[str]:
    """The cell of a score's interval, where the result has intervals."""
    if not result["intervals"]:
        return []
    ends = result["intervals"].get(protocol, {}).get(task, {}).get(key)
    return [f"{number(ends[0])}–{number(ends[1])}" if ends else "–"]


def number(value: float, digits: int = 2) -> str:
    """A fixed number of decimals; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def heading(result: Mapping[str, Any]) -> list[str]:
    """What was measured on what: file, data, labels, and notes."""
    height, width = result["size_hw"]
    lines = [
        f"{result['file']} ({result['model']}, {height}x{width}) on {result['frames']} frames of "
        f"{result['data']}, split {result['split']}"
    ]
    lines += [f"skipped: {error}" for error in result["skipped"]]
    return lines + [f"note: {note}" for note in result["notes"]]


def show(result: Mapping[str, Any], console: Console) -> None:
    """Prints the headline scores, the comparison with the toolkit and the slices that there are;
    wide tables in parts, so that headers are not broken within a word."""
    for line in heading(result):  # paths are not broken, sentences are
        unbroken = not line.startswith("note: ")
        console.print(line, highlight=False, markup=False, soft_wrap=unbroken)
    for grid in (headline_grid(result), *_toolkit_grid(result), *_slice_grids(result)):
        console.print(f"\n{grid.title}", style="bold", highlight=False)
        for part in fitted(grid, console.width):
            table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
            for index, column in enumerate(part.columns):
                side = "left" if _is_text(part, index) else "right"
                width = _width(part, index)
                table.add_column(column, justify=side, width=width)  # type: ignore[arg-type]
            for row in part.rows:
                table.add_row(*row)
            console.print(table)


def fitted(grid: ScoreTable, width: int) -> Iterator[ScoreTable]:
    """The table in parts of at most `width` characters, each with the fixed columns."""

    def size(columns: Sequence[int]) -> int:
        return 1 + sum(2 + _width(grid, index) for index in columns)

    fixed = list(range(grid.fixed))
    part: list[int] = []
    for index in range(grid.fixed, len(grid.columns)):
        if part and size([*fixed, *part, index]) > width:
            yield _taken(grid, [*fixed, *part])
            part = []
        part.append(index)
    yield _taken(grid, [*fixed, *part])


def _taken(grid: ScoreTable, columns: Sequence[int]) -> ScoreTable:
    rows = [[row[index] for index in columns] for row in grid.rows]
    return ScoreTable(grid.title, [grid.columns[index] for index in columns], rows, grid.fixed)


def _width(grid: ScoreTable, column: int) -> int:
    """Characters that a column needs: its longest cell, or the longest word of its header."""
    return max(map(len, [*grid.columns[column].split(), *(row[column] for row in grid.rows)]))


def _is_text(grid: ScoreTable, column: int) -> bool:
    return grid.columns[column] in ("protocol", "task", "class", "attribute", "score", "as in")


def markdown(result: Mapping[str, Any]) -> str:
    """The same as a Markdown document."""
    parts = ["# Evaluation", "\n".join(f"- {line}" for line in heading(result))]
    for grid in grids(result):
        rule = [":--" if _is_text(grid, index) else "--:" for index in range(len(grid.columns))]
        lines = [grid.columns, rule, *grid.rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts.append(f"## {grid.title}\n\n{table}")
    return "\n\n".join(parts) + "\n"


def as_json(result: Mapping[str, Any]) -> str:
    """The whole result, with the scores of the protocols at the top level; NaN is null."""
    rest = {key: value for key, value in result.items() if key != "scores"}
    return json.dumps(json_values({**rest, **result["scores"]}), indent=1) + "\n"
