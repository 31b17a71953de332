"""report.md and its figures, from what a study has stored."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch

from perception.files import write_atomic
from training.config import Config
from training.study.cost import Cost
from training.study.figures import Saved, draw_figures
from training.study.gain import (
    Estimate,
    RowResult,
    against_equal,
    estimate,
    gain,
    score_name,
    separate_parameters,
    task_gains,
    tasks_of,
)
from training.study.grouping import best_groupings, mean_matrix, probes_of
from training.study.plan import Row
from training.study.summary import FEW_ROWS, row_sentences, summary_text

Table = tuple[list[str], list[list[str]]]

LEGEND: Final = (
    "± is the half width of a 95 % Student t interval over seeds; each seed is compared with the "
    "single-task twin of the same seed. Gain: mean over tasks of the relative change of the task's "
    "headline score against the twin, + where better. Scores are those of the last epoch."
)


def write_report(
    folder: Path,
    title: str,
    results: Sequence[RowResult],
    base: Config,
    costs: Mapping[Row, Cost],
    quick: bool = False,
    tried: Sequence[str] = (),
) -> Path:
    """Writes report.md and the figures; returns its path. `tried`: outcomes of trained groups."""
    threads = torch.get_num_threads()
    sections = {
        "Headline scores": score_table(results),
        "Gain per task, % of its single-task twin": gain_table(results),
        f"Cost, batch 1 in torch on the CPU with {threads} thread(s)": cost_table(results, costs),
    }
    sections |= {f"All scores of {t}": full_table(results, t) for t in tasks_of(results)}
    each = row_sentences(results)
    text = [f"# {title}", " ".join(summary_text(results, base, quick))]
    text += [f"## {name}\n\n{markdown(table)}" for name, table in sections.items()]
    if len(each) > FEW_ROWS:
        text += ["## Row by row\n\n" + bullets(each)]
    text += ["## Groups with the highest mean affinity\n\n" + bullets(group_lines(results, tried))]
    text += ["## Figures", *[picture(saved) for saved in draw_figures(results, folder)]]
    text += [f"## Commands\n\n```bash\n{commands(results)}\n```", LEGEND]
    path = folder / "report.md"
    write_atomic(path, "\n\n".join(text) + "\n")
    return path


def score_table(results: Sequence[RowResult]) -> Table:
    """Every row with the headline score of its tasks, and its gain."""
    tasks = tasks_of(results)
    head = ["run", "seeds", *[f"{task} {score_name(task)}" for task in tasks], "gain %"]
    body = []
    for result in results:
        cells = [result.score(task) if task in result.row.tasks else None for task in tasks]
        failed = result.failed and not result.records
        last = "failed" if failed else shown(gain(result, results), 1)
        row = [result.row.name(len(tasks)), str(len(result.records)), *map(shown, cells), last]
        body.append(row)
    return head, body


def full_table(results: Sequence[RowResult], task: str) -> Table:
    """All scores of a task that are not of a single class."""
    rows = [result for result in results if task in result.row.tasks and result.records]
    keys = [key for result in rows for record in result.records for key in record["scores"][task]]
    names = [
        name
        for name in dict.fromkeys(keys)
        if "/" not in name and any(result.score(task, name) for result in rows)
    ]
    count = len(tasks_of(results))
    body = [[r.row.name(count), *[shown(r.score(task, name)) for name in names]] for r in rows]
    return ["run", *names], body


def shown(value: Estimate | None, digits: int = 2) -> str:
    """An estimate, or a dash."""
    return "–" if value is None else value.text(digits)


def gain_table(results: Sequence[RowResult]) -> Table:
    """Gain of each task of each multi-task row."""
    tasks = tasks_of(results)
    balanced = any(against_equal(result, results) for result in results)
    body = []
    for result in results:
        if result.row.single or not result.records:
            continue
        cells = [
            shown(estimate(task_gains(result, task, results)), 1)
            if task in result.row.tasks
            else ""
            for task in tasks
        ]
        more = [shown(against_equal(result, results), 1)] if balanced else []
        mean = shown(gain(result, results), 1)
        body.append([result.row.name(len(tasks)), *cells, mean, *more])
    return ["run", *tasks, "mean", *(["mean against equal weights"] if balanced else [])], body


def cost_table(results: Sequence[RowResult], costs: Mapping[Row, Cost]) -> Table:
    """Parameters, multiply-accumulates and latency, and parameters of the twins together."""
    head = ["run", "parameters M", "twins M", "MACs G", "median ms", "p10 ms", "training s"]
    body = []
    for result in results:
        if not result.records:
            continue
        cost = costs.get(result.row)
        seconds = sum(float(r["seconds"]) for r in result.records) / len(result.records)
        separate = separate_parameters(result, results) / 1e6
        measured = ["–"] * 3
        if cost:
            measured = [f"{cost.macs / 1e9:.2f}", f"{cost.median_ms:.1f}", f"{cost.p10_ms:.1f}"]
        body.append(
            [
                result.row.name(len(tasks_of(results))),
                f"{result.parameters / 1e6:.2f}",
                "" if result.row.single else f"{separate:.2f}",
                *measured,
                f"{seconds:.0f}",
            ]
        )
    return head, body


def group_lines(results: Sequence[RowResult], tried: Sequence[str]) -> list[str]:
    """The best partitions for each probed network, and the outcomes of those trained."""
    found = []
    for result in results:
        probes = probes_of(result)
        if not 3 <= len(result.row.tasks) <= 10 or not probes:
            continue
        ahead = mean_matrix([probe["ahead"] for probe in probes])
        for most in (0, 2):
            best = best_groupings(result.row.tasks, ahead, most, count=1)[0]
            groups = " | ".join(" + ".join(group) for group in best.groups)
            limit = f"at most {most} networks" if most else "any number of networks"
            found.append(
                f"{result.row.name()}, {limit}: {groups} (mean affinity {best.score:+.5f})"
            )
    found = found or ["No network with three tasks or more was probed."]
    return [*found, *[f"Trained: {text}" for text in tried]]


def commands(results: Sequence[RowResult]) -> str:
    """One command per row: its first seed."""
    return "\n".join(
        str(result.records[0].get("command", "")) for result in results if result.records
    )


def markdown(table: Table) -> str:
    """A Markdown table."""
    head, body = table
    rows = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cell or " " for cell in row) + " |" for row in rows)


def bullets(lines: Sequence[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def picture(saved: Saved) -> str:
    """A Markdown picture with its caption."""
    return f"![{saved.caption}]({saved.file})\n\n{saved.caption}"
