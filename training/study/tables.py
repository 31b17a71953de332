"""The tables of a report: cells as text, for Markdown and HTML alike."""

from collections.abc import Mapping, Sequence
from html import escape

from training.study.cost import Cost
from training.study.gain import (
    METRICS,
    Estimate,
    Line,
    estimate,
    gain,
    separate_parameters,
    task_gains,
    tasks_of,
)
from training.study.plan import Row
from training.study.verdict import against_equal

Table = tuple[list[str], list[list[str]]]


def columns(lines: Sequence[Line]) -> list[tuple[str, str]]:
    """(task, metric) of every column that has a value."""
    return [
        (task, name)
        for task in tasks_of(lines)
        for name in METRICS
        if any(line.metric(task, name) for line in lines if task in line.row.tasks)
    ]


def scores(lines: Sequence[Line]) -> Table:
    """Every row with its scores: the table of protocols, part C, with our columns."""
    found = columns(lines)
    head = ["run", "seeds", *[f"{task} {name}" for task, name in found], "gain %"]
    count = len(tasks_of(lines))
    body = []
    for line in lines:
        cells = [line.metric(*column) if column[0] in line.row.tasks else None for column in found]
        texts = [shown(cell) for cell in cells]
        last = "failed" if line.failed and not line.records else shown(gain(line, lines), 1)
        body.append([line.row.name(count), str(len(line.records)), *texts, last])
    return head, body


def shown(value: Estimate | None, digits: int = 2) -> str:
    """An estimate, or a dash."""
    return "–" if value is None else value.text(digits)


def gains(lines: Sequence[Line]) -> Table:
    """What sharing did to each task, in percent of its twin."""
    tasks = tasks_of(lines)
    balanced = any(against_equal(line, lines) for line in lines)
    body = []
    for line in lines:
        if line.row.alone or not line.records:
            continue
        each = [estimate(task_gains(line, task, lines)) for task in tasks]
        mean = gain(line, lines)
        cells = [
            shown(value, 1) if task in line.row.tasks else ""
            for task, value in zip(tasks, each, strict=True)
        ]
        beside = [shown(against_equal(line, lines), 1)] if balanced else []
        body.append([line.row.name(len(tasks)), *cells, shown(mean, 1), *beside])
    return ["run", *tasks, "mean", *(["mean against equal weights"] if balanced else [])], body


def sizes(lines: Sequence[Line], costs: Mapping[Row, Cost]) -> Table:
    """Parameters, multiply-accumulates and latency, and those of the twins it replaces."""
    head = ["run", "parameters M", "twins M", "MACs G", "median ms", "p10 ms", "training s"]
    body = []
    for line in lines:
        if not line.records:
            continue
        cost = costs.get(line.row)
        seconds = sum(float(r["seconds"]) for r in line.records) / len(line.records)
        twins = "" if line.row.alone else f"{separate_parameters(line, lines) / 1e6:.2f}"
        spent = (
            [f"{cost.macs / 1e9:.2f}", f"{cost.median_ms:.1f}", f"{cost.p10_ms:.1f}"]
            if cost
            else ["–"] * 3
        )
        body.append(
            [
                line.row.name(len(tasks_of(lines))),
                f"{line.parameters / 1e6:.2f}",
                twins,
                *spent,
                f"{seconds:.0f}",
            ]
        )
    return head, body


def markdown(table: Table) -> str:
    """A Markdown table."""
    head, body = table
    rows = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cell or " " for cell in row) + " |" for row in rows)


def html(table: Table) -> str:
    """An HTML table."""
    head, body = table
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{rows}</tbody></table>"
