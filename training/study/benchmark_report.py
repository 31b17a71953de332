"""The benchmark's report: scores, costs and learning curves."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from perception.files import write_atomic
from perception.sizes import format_size
from perception.tasks import TASKS
from training.study.arguments import StudyArgs
from training.study.figures import Points, Saved, plot_curves, save
from training.study.gain import score_name
from training.study.plan import Trial, budget_text
from training.study.report import Table, bullets, markdown, picture
from training.study.trials import Record

Rates = Mapping[str, tuple[Mapping[float, float], float]]
"""Network -> ({learning rate: mean headline score}, chosen rate)."""
Key = tuple[str, str, str]
"""Protocol, task, name of the score."""
TWINS: Final = "single-task"

LEGEND: Final = (
    "Scores: mean over seeds (each seed) [95 % bootstrap interval over frames; with several seeds "
    "from the lowest to the highest end]. Scored and timed: the exported last (averaged) weights. "
    "Core-hours: processor time of the training process; loader processes are not included "
    "(--workers 0 reads in that process). Latency: one interleaved run, batch 1; "
    "only ratios to the first row count. Learning rates were chosen on the validation frames."
)


@dataclass(frozen=True)
class Entry:
    """One finished run: its trial, its record with `evaluation`, and its multiply-accumulates."""

    trial: Trial
    record: Record
    macs: int

    @property
    def column(self) -> str:
        """The column of the table of scores."""
        row = self.trial.row
        return f"{TWINS} {row.model}" if row.single else row.model

    @property
    def name(self) -> str:
        """The line in the tables of costs."""
        row = self.trial.row
        return f"{row.model}-{row.tasks[0]}" if row.single else row.model

    def score(self, key: Key) -> float | None:
        """A score of the evaluation; None where there is none."""
        protocol, task, name = key
        return self.record["evaluation"].get(protocol, {}).get(task, {}).get(name)

    def interval(self, key: Key) -> Sequence[float] | None:
        """The ends of its bootstrap interval."""
        protocol, task, name = key
        intervals = self.record["evaluation"].get("intervals", {})
        return intervals.get(protocol, {}).get(task, {}).get(name)


def write_benchmark(
    folder: Path,
    entries: Sequence[Entry],
    rates: Rates,
    latency: Sequence[Record],
    args: StudyArgs,
) -> Path:
    """Writes report.md and curves.png; returns the path of the report."""
    size = format_size(args.size)
    frames = entries[0].record["evaluation"].get("frames", "?")
    sections = {
        f"Scores on {frames} validation frames at {size}": score_table(entries),
        f"Cost at {size}": cost_table(entries),
        f"Latency, {args.threads} threads": latency_table(latency),
        "Learning rates, a tenth of the budget each": rate_table(rates),
    }
    save(curves_figure(entries), folder / "curves.png")
    caption = "Headline score on validation frames against frames seen and core-hours, per seed."
    commands = "\n".join(str(entry.record["command"]) for entry in entries)
    text = [
        f"# Benchmark: {', '.join(rates)}",
        f"Each run: {budget_text(entries[0].trial.base, rate=False)}; learning rates as below.",
        *(["This is a --quick run: its numbers mean nothing."] * args.quick),
        bullets(winners(entries)),
        *[f"## {title}\n\n{markdown(table)}" for title, table in sections.items()],
        f"## Learning curves\n\n{picture(Saved('curves.png', caption))}",
        f"## Commands\n\n```bash\n{commands}\n```",
        LEGEND,
    ]
    path = folder / "report.md"
    write_atomic(path, "\n\n".join(text) + "\n")
    return path


def score_keys(entries: Sequence[Entry]) -> list[Key]:
    """The headline scores of every protocol and task, as eval-bdd names them."""
    found: dict[Key, None] = {}
    for entry in entries:
        for protocol, tasks in entry.record["evaluation"]["tasks"].items():
            for task, about in tasks.items():
                found |= dict.fromkeys((protocol, task, name) for name in about["headlines"])
    return [key for key in found if any(entry.score(key) is not None for entry in entries)]


def columns_of(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The runs of each column, over seeds (and, for the twins, over tasks)."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.column, []).append(entry)
    return found


def score_table(entries: Sequence[Entry]) -> Table:
    """One line per score, one column per network."""
    columns = columns_of(entries)
    body = [
        [" ".join(key), *[score_cell(runs, key) for runs in columns.values()]]
        for key in score_keys(entries)
    ]
    return ["protocol, task, score", *columns], body


def score_cell(runs: Sequence[Entry], key: Key) -> str:
    """mean (seeds) [interval], or a dash."""
    known = [run for run in runs if run.score(key) is not None]
    if not known:
        return "–"
    values = [float(run.score(key) or 0.0) for run in known]
    each = f" ({', '.join(f'{value:.1f}' for value in values)})" if len(values) > 1 else ""
    ends = [interval for run in known if (interval := run.interval(key))]
    between = f" [{min(e[0] for e in ends):.1f}, {max(e[1] for e in ends):.1f}]" if ends else ""
    return f"{statistics.fmean(values):.1f}{each}{between}"


def winners(entries: Sequence[Entry]) -> list[str]:
    """Which multi-task network is ahead where, with every seed ahead of every other's."""
    shared = {
        name: runs for name, runs in columns_of(entries).items() if not runs[0].trial.row.single
    }
    found: dict[str, list[str]] = {}
    for key in score_keys(entries):
        ranges = {name: _range(runs, key) for name, runs in shared.items()}
        best = max(ranges, key=lambda name: ranges[name][0])
        clear = all(ranges[best][0] > high for name, (_, high) in ranges.items() if name != best)
        found.setdefault(best if clear else "", []).append(" ".join(key))
    lines = [f"{name} is best in {', '.join(keys)}." for name, keys in found.items() if name]
    if "" in found:
        lines.append(f"The seeds' ranges overlap in {', '.join(found[''])}.")
    if all(len(runs) == 1 for runs in shared.values()):
        lines.append("One seed per network: the differences may be due to chance.")
    return lines


def _range(runs: Sequence[Entry], key: Key) -> tuple[float, float]:
    """Lowest and highest score over the seeds, negative where lower is better."""
    _, task, name = key
    sign = -1.0 if name == score_name(task) and not TASKS[task].higher_is_better else 1.0
    values = [sign * value for run in runs if (value := run.score(key)) is not None]
    return (min(values), max(values)) if values else (float("-inf"), float("-inf"))


def cost_table(entries: Sequence[Entry]) -> Table:
    """Parameters, multiply-accumulates, and what training took per run."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.name, []).append(entry)
    body = []
    for name, runs in found.items():
        first = runs[0]
        seen = first.record["steps"] * first.trial.base.data.batch
        hours = statistics.fmean(core_hours(run.record) for run in runs)
        rate = first.trial.base.optim.lr
        body.append(
            [
                name,
                f"{first.record['parameters'] / 1e6:.2f}",
                f"{first.macs / 1e9:.2f}",
                str(len(runs)),
                f"{seen}",
                f"{hours:.3g}",
                f"{rate:g}",
            ]
        )
    head = ["network", "parameters M", "MACs G", "seeds", "frames seen", "core-hours", "lr"]
    return head, body


def core_hours(record: Record) -> float:
    """Processor time of a run's training, in hours."""
    return max([point["core_seconds"] for point in record["curve"]], default=0.0) / 3600


def latency_table(latency: Sequence[Record]) -> Table:
    """p10 and median in ms, and the ratio to the first row with its interval."""
    head = ["network", "provider", "MB", "p10 ms", "median ms", "ratio to the first (95 %)"]
    body = []
    for row in latency:
        times, ratio = row["ms"]["model"], row["ratio"]
        body.append(
            [
                row["name"],
                row["provider"],
                f"{row['megabytes']:.1f}",
                f"{times['p10']:.1f}",
                f"{times['median']:.1f}",
                f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})",
            ]
        )
    return head, body


def rate_table(rates: Rates) -> Table:
    """Mean headline score per network and learning rate; the chosen one in bold."""
    tried = list(dict.fromkeys(rate for scores, _ in rates.values() for rate in scores))
    body = []
    for name, (scores, chosen) in rates.items():
        cells = [f"{scores[rate]:.2f}" if rate in scores else "–" for rate in tried]
        bold = [f"**{c}**" if rate == chosen else c for rate, c in zip(tried, cells, strict=True)]
        edge = "yes" if len(scores) > 1 and chosen in (min(scores), max(scores)) else "no"
        body.append([name, *bold, edge])
    return ["network", *[f"{rate:g}" for rate in tried], "best at the edge"], body


def curves_figure(entries: Sequence[Entry]) -> Figure:
    """One column per task; above over frames seen, below over core-hours."""
    tasks = list(dict.fromkeys(task for entry in entries for task in entry.trial.row.tasks))
    figure = Figure(figsize=(3.4 * len(tasks), 6.5), layout="constrained")
    grid = figure.subplots(2, len(tasks), squeeze=False)
    for column, task in enumerate(tasks):
        for axes, x_name in zip(grid[:, column], ("frames seen", "core-hours"), strict=True):
            runs = {
                f"{entry.column} seed {entry.trial.seed}": points
                for entry in entries
                if task in entry.trial.row.tasks and (points := curve(entry, task, x_name))
            }
            plot_curves(axes, runs, x_name, f"{task} {score_name(task)}")
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=7)
    return figure


def curve(entry: Entry, task: str, x_name: str) -> Points:
    """(frames seen or core-hours, headline score) at each validation."""
    batch = entry.trial.base.data.batch
    return [
        (
            point["step"] * batch if x_name == "frames seen" else point["core_seconds"] / 3600,
            point["val"][task],
        )
        for point in entry.record["curve"]
        if point["val"].get(task) is not None
    ]
