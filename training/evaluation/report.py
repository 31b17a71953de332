"""An evaluation's result as tables: the same ones on the terminal and in Markdown."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from rich.console import Console
from rich.table import Table

from training.evaluation.scores import overall

TITLES: Final = {
    "bdd": "Official BDD100K scores",
    "panoptic": "Panoptic driving protocol (YOLOP and successors)",
}

WIDEST: Final = 5  # columns of scores in a table of slices


@dataclass(frozen=True)
class Grid:
    """A table: text in the first column, numbers in the others."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def grids(result: Mapping[str, Any]) -> Iterator[Grid]:
    """Overall scores of each protocol, scores of each class, headline scores of each slice."""
    for protocol, tasks in result["scores"].items():
        title = TITLES.get(protocol, protocol)
        yield Grid(title, *_overall_rows(tasks, result["intervals"].get(protocol, {})))
        for task, scores in tasks.items():
            rows, columns = _class_rows(scores)
            if rows:
                yield Grid(f"{title}: {task} by class", ("class", *columns), rows)
    yield from _slice_grids(result)


def _overall_rows(
    tasks: Mapping[str, Mapping[str, float]], intervals: Mapping[str, Mapping[str, Sequence[float]]]
) -> tuple[tuple[str, ...], list[list[str]]]:
    columns = ("task", "score", "value") + (("95 % interval",) if intervals else ())
    rows = []
    for task, scores in tasks.items():
        for key, value in overall(scores).items():
            row = [task, key, number(value)]
            if intervals:
                ends = intervals.get(task, {}).get(key)
                row.append(f"{number(ends[0])} – {number(ends[1])}" if ends else "–")
            rows.append(row)
    return columns, rows


def _class_rows(scores: Mapping[str, float]) -> tuple[list[list[str]], list[str]]:
    """Rows a class and columns a score, from keys written score/class; nothing seen, no row."""
    pairs = {tuple(key.split("/", 1)): value for key, value in scores.items() if "/" in key}
    columns = list(dict.fromkeys(score for score, _ in pairs))
    rows = []
    for name in dict.fromkeys(name for _, name in pairs):
        values = [pairs.get((score, name), float("nan")) for score in columns]
        if not all(map(math.isnan, values)):
            rows.append([name, *map(number, values)])
    return rows, columns


def _slice_grids(result: Mapping[str, Any]) -> Iterator[Grid]:
    """One table a protocol, or one a task where the columns would be too many."""
    for protocol, tasks in result["headlines"].items():
        title = f"{TITLES.get(protocol, protocol)}: by attribute"
        heads = [(task, key) for task in result["scores"].get(protocol, {}) for key in tasks[task]]
        if len(heads) <= WIDEST:
            groups = [heads]
        else:
            groups = [[head for head in heads if head[0] == task] for task in tasks]
        for group in filter(None, groups):
            rows = []
            for name, part in result["slices"].items():
                scores = part["scores"].get(protocol, {})
                values = [scores.get(task, {}).get(key, float("nan")) for task, key in group]
                rows.append([name, str(part["frames"]), *map(number, values)])
            if rows:
                columns = ("frames of", "n", *(f"{task} {key}" for task, key in group))
                yield Grid(title, columns, rows)


def number(value: float) -> str:
    """Two decimals; a dash where nothing was seen."""
    return "–" if math.isnan(value) else f"{value:.2f}"


def heading(result: Mapping[str, Any]) -> list[str]:
    """What was measured on what: file, data, truth, and what must be known to compare."""
    height, width = result["size_hw"]
    lines = [
        f"{result['file']} ({result['model']}, {height}x{width}) on {result['frames']} frames of "
        f"{result['data']}, split {result['split']}"
    ]
    for task, sources in result["truth"].items():
        parts = ", ".join(f"{count} {name}" for name, count in sources.items())
        lines.append(f"truth of {task}: {parts}")
    return lines + [f"note: {note}" for note in result["notes"]]


def show(result: Mapping[str, Any], console: Console) -> None:
    """Prints everything."""
    for line in heading(result):
        console.print(line, highlight=False, soft_wrap=True)
    for grid in grids(result):
        table = Table(title=grid.title, title_justify="left")
        for index, column in enumerate(grid.columns):
            side: Literal["left", "right"] = "left" if _is_text(grid, index) else "right"
            table.add_column(column, justify=side, no_wrap=index == 0, overflow="fold")
        for row in grid.rows:
            table.add_row(*row)
        console.print(table)


def _is_text(grid: Grid, column: int) -> bool:
    return column == 0 or grid.columns[column] == "score"


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
    """The whole result; the protocols' scores stand at the top, NaN is null."""
    rest = {key: value for key, value in result.items() if key != "scores"}
    return json.dumps(_plain({**rest, **result["scores"]}), indent=1) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
