"""report.md: the answer, one figure, the tables, how to repeat it, notes."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perception.files import replacing, write_atomic
from perception.sizes import format_size
from perception.tasks import TASKS
from training.affinity import mean_matrix, text_of
from training.config import Config
from training.study.gain import Estimate, Reference, RowResult, Study, estimate, mean_over_tasks
from training.study.grouping import largest_probed, probes_of, propose
from training.study.plan import HARD, budget_text

Table = tuple[list[str], list[list[str]]]
Compared = tuple[RowResult, dict[str, Estimate | None]]

FIGURE: Final = "gains.png"
FEW_STEPS: Final = 1000  # fewer are far from convergence
MEANINGLESS: Final = "--quick: these numbers mean nothing, they show that everything runs."


@dataclass(frozen=True)
class About:
    """What a report says in addition to its results."""

    title: str
    base: Config
    command: str = ""
    rates: Sequence[str] = ()  # a line per search of learning rates
    quick: bool = False


def write_report(folder: Path, study: Study, about: About) -> Path:
    """Writes report.md and its figure; returns the path of the report."""
    text = [MEANINGLESS] if about.quick else []
    text += [f"**{about.title}.** {' '.join(answer(study))}"]
    if figure := draw_gains(study):
        with replacing(folder / FIGURE) as temporary:
            figure.savefig(temporary, format="png", dpi=110)
        caption = "Gain per task in percent, with 95 % intervals over paired seeds."
        text.append(f"![{caption}]({FIGURE})")
    text.append(f"## Scores\n\n{markdown(score_table(study))}")
    for name, reference in study.comparisons.items():
        text.append(f"## Against {name}\n\n{markdown(gain_table(study, reference))}")
    for task in study.tasks:
        text.append(f"## All scores of {task}\n\n{markdown(full_table(study, task))}")
    if table := affinity_table(study):
        caption = "Look-ahead affinity (1/1000) and gradient cosine, mean over training."
        text.append(f"## Affinity\n\n{caption}\n\n{markdown(table)}")
    text.append(f"## To repeat it\n\n```bash\n{commands(study, about)}\n```")
    text.append("## Notes\n\n" + "\n".join(f"- {line}" for line in notes(study, about)))
    path = folder / "report.md"
    write_atomic(path, "\n\n".join(text) + "\n")
    return path


def answer(study: Study) -> list[str]:
    """One sentence per comparison: which rows gain or lose in which task, and which do not."""
    found = []
    for name, reference in study.comparisons.items():
        parts: list[str] = []
        unclear: list[str] = []
        unknown: list[str] = []
        for result, each in compared(study, reference):
            known = {task: gain for task, gain in each.items() if gain}
            words = [f"{task} {gain.words()}" for task, gain in known.items() if gain.verdict]
            open_tasks = [task for task, gain in known.items() if not gain.verdict]
            if words:
                rest = f", not distinguished: {', '.join(open_tasks)}" if open_tasks else ""
                parts.append(f"{study.name(result)}: {', '.join(words)}{rest}")
            else:
                (unclear if known else unknown).append(study.name(result))
        parts += [f"failed to distinguish {', '.join(unclear)}"] if unclear else []
        parts += [f"not comparable: {', '.join(unknown)}"] if unknown else []
        if parts:
            found.append(f"Against {name}: {'; '.join(parts)}.")
    return found or ["No row has a reference to compare with."]


def compared(study: Study, reference: Reference) -> list[Compared]:
    """Every row that has a reference, with the gain of each task over it; None where no seed can be
    compared."""
    return [
        (
            result,
            {
                task: estimate(list(study.pairs(result, task, reference).values()))
                for task in result.row.tasks
            },
        )
        for result in study.results
        if any(reference(result, task) for task in result.row.tasks)
    ]


def score_table(study: Study) -> Table:
    """Every row with the headline score of its tasks, its parameters, and the time of a run."""
    heads = [f"{task} {TASKS[task].score} ({seeds_text(study, task)})" for task in study.tasks]
    body = []
    for result in study.results:
        size, time = "–", "–"
        if result.records:
            size = f"{result.records[0]['parameters'] / 1e6:.2f}"
            time = f"{statistics.fmean(float(r['seconds']) for r in result.records):.0f}"
        scores = [shown(study.score(result, task)) for task in study.tasks]
        body.append([study.name(result), *scores, size, time])
    return ["run", *heads, "parameters M", "training s"], body


def full_table(study: Study, task: str) -> Table:
    """All scores of a task that are not of a single class."""
    rows = [result for result in study.results if task in result.row.tasks and result.records]
    keys = [key for result in rows for record in result.records for key in record["scores"][task]]
    names = [key for key in dict.fromkeys(keys) if "/" not in key]
    names = [name for name in names if any(study.score(r, task, name) for r in rows)]
    body = [[study.name(r), *[shown(study.score(r, task, name)) for name in names]] for r in rows]
    return ["run", *names], body


def seeds_text(study: Study, task: str) -> str:
    """Which seeds the tables average."""
    seeds = study.seeds(task)
    if not seeds:
        return "all seeds, none comparable"
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def gain_table(study: Study, reference: Reference) -> Table:
    """Gain or loss of each task of each row that has a reference, and the mean over its tasks."""
    body = []
    for result, each in compared(study, reference):
        mean = mean_over_tasks([study.pairs(result, t, reference) for t in result.row.tasks])
        values = [*[each.get(task) for task in study.tasks], mean]
        body.append([study.name(result), *[value.words() if value else "–" for value in values]])
    return ["run", *study.tasks, "mean"], body


def shown(value: Estimate | None) -> str:
    """An estimate, or a dash."""
    return value.text() if value else "–"


def affinity_table(study: Study) -> Table | None:
    """Look-ahead affinity in 1/1000 and gradient cosine of each pair of tasks, mean over training,
    for the largest network that was probed."""
    result = largest_probed(study.results)
    if result is None:
        return None
    probes, tasks = probes_of(result), result.row.tasks
    ahead = mean_matrix([probe["ahead"] for probe in probes])
    cosine = mean_matrix([probe["cosine"]["all"] for probe in probes])
    body = [
        [a, *["" if a == b else f"{1000 * ahead[a][b]:+.2f}, {cosine[a][b]:+.2f}" for b in tasks]]
        for a in tasks
    ]
    return [f"{study.name(result)}: from, onto", *tasks], body


def draw_gains(study: Study) -> Figure | None:
    """A panel per comparison: a line per row, a colour per task."""
    panels: dict[str, list[Compared]] = {}
    for name, reference in study.comparisons.items():
        if rows := [(r, each) for r, each in compared(study, reference) if any(each.values())]:
            panels[name] = rows
    if not panels:
        return None
    longest = max(len(rows) for rows in panels.values())
    size = (7.0 * len(panels), 1.5 + 0.45 * longest)
    figure = Figure(figsize=size, layout="constrained")
    columns = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (name, rows) in zip(columns, panels.items(), strict=True):
        draw_panel(axes, study, rows)
        axes.set_xlabel(f"gain over {name}, %")
    shown = [axes.get_legend_handles_labels() for axes in figure.axes]
    handles = {name: handle for pair in shown for handle, name in zip(*pair, strict=True)}
    names = [task for task in study.tasks if task in handles]
    figure.legend(
        [handles[name] for name in names], names, loc="outside lower center", ncols=len(names),
        fontsize=8,
    )  # fmt: skip
    return figure


def draw_panel(axes: Axes, study: Study, rows: Sequence[Compared]) -> None:
    """Points with intervals, the first row on top."""
    step = 0.7 / max(len(study.tasks), 1)
    for number, task in enumerate(study.tasks):
        places = [(y, g) for y, (_, each) in enumerate(rows) if (g := each.get(task))]
        if not places:
            continue
        axes.errorbar(
            [gain.mean for _, gain in places],
            [y + (number - (len(study.tasks) - 1) / 2) * step for y, _ in places],
            xerr=[gain.half or 0.0 for _, gain in places],
            fmt="o",
            color=f"C{number}",
            markersize=4,
            capsize=2,
            label=task,
        )
    axes.axvline(0.0, color="grey", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(rows)), [study.name(result) for result, _ in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)


def commands(study: Study, about: About) -> str:
    """The command of the study, one of each row (its first seed), and one that times the networks
    with all tasks."""
    found = [about.command] if about.command else []
    ran = [r for r in study.results if r.records and not r.label]
    found += [str(result.records[0]["command"]) for result in ran]
    rows = [result.row for result in ran if len(result.row.tasks) == len(study.tasks)]
    names = [f"zoo:{row.model}" + f"+{row.sharing}" * (row.sharing != HARD) for row in rows]
    if names:
        words = [*dict.fromkeys(names), "--tasks", ",".join(study.tasks)]
        size = format_size(about.base.data.size)
        found.append(f"bench-onnx {' '.join(words)} --size {size} --rounds 50")
    return "\n".join(found)


def notes(study: Study, about: About) -> list[str]:
    """What ran, what was left out and why, and what limits the answer."""
    records = [record for r in study.results if not r.label for record in r.records]
    hours = sum(float(record["seconds"]) for record in records) / 3600
    found = [
        "± is the half width of a 95 % Student t interval over seeds, each seed compared with the "
        "same seed of the reference. The gain of a task is the relative change of its headline "
        "score; a mean over tasks is given only if every task can be compared.",
        f"{len(records)} runs, {hours:.2f} h: {budget_text(about.base, not about.rates)}.",
    ]
    found += [f"{study.name(r)} did not run: {r.failed}." for r in study.results if r.failed]
    found += [
        f"Left out of every table: {task}, seed {seed}: {why}."
        for task in study.tasks
        for seed, why in study.gaps[task].items()
    ]
    found += [
        f"{study.name(r)}, seed {record['seed']}: step {step}, {text_of(groups)}."
        for r in study.results
        for record in r.records
        for step, groups in record.get("splits", ())
    ]
    found += list(about.rates)
    for most, limit in ((2, "at most 2 networks"), (0, "any number of networks")):
        if groups := propose(study.results, most):
            found.append(f"Highest look-ahead affinity, {limit}: {text_of(groups)}.")
    steps = max([int(record["steps"]) for record in records], default=0)
    if steps < FEW_STEPS:
        found.append(f"{steps} steps are far from convergence; the order of the rows may change.")
    count = sum(
        gain is not None
        for reference in study.comparisons.values()
        for _, each in compared(study, reference)
        for gain in each.values()
    )
    if count > 3:
        found.append(f"{count} intervals: about {count / 20:.1f} exclude zero by chance alone.")
    if not about.base.data.data or any(w.startswith("rendered") for w in about.base.data.data):
        found.append("Rendered roads are simpler than real ones; the order may differ there.")
    if any(result.row.single for result in study.results):
        found.append(
            "Every run saw the same number of frames, so the single-task networks together were "
            "trained as many times longer as there are tasks."
        )
    return found


def markdown(table: Table) -> str:
    """A Markdown table."""
    head, body = table
    rows = [head, ["---"] * len(head), *body]
    cells = [[cell.replace("|", "\\|") or " " for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)
