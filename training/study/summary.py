"""The summary of a report: findings with their significance, and limits."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from training.config import Config
from training.study.gain import (
    Estimate,
    RowResult,
    against_equal,
    estimate,
    gain,
    rank_correlation,
    separate_parameters,
    task_gains,
    tasks_of,
    uncompared,
)
from training.study.grouping import mean_matrix, probes_of
from training.study.plan import budget_text

# Fewer steps than this are far from convergence (a tenth of a usual short training).
FEW_STEPS: Final = 1000
# Up to this many rows the paragraph describes each; above, it counts, and a list follows.
FEW_ROWS: Final = 4


def summary_text(results: Sequence[RowResult], base: Config, quick: bool) -> list[str]:
    """The sentences: what ran, what was found, what limits it."""
    each = row_sentences(results)
    return [
        *_what_ran(results, base),
        *(count_sentences(results) if len(each) > FEW_ROWS else each),
        *balancing_sentences(results),
        *_affinity_sentences(results),
        *_limits(results, base, quick),
    ]


def row_sentences(results: Sequence[RowResult]) -> list[str]:
    """One paragraph per multi-task row."""
    shared = [result for result in results if not result.row.single and result.records]
    return [" ".join(text) for result in shared if (text := _about(result, results))]


def _about(result: RowResult, results: Sequence[RowResult]) -> list[str]:
    name, value = result.row.name(len(tasks_of(results))), gain(result, results)
    if value is None:
        expected = any(r.row.single for r in results) or result is not results[0]
        return [f"{name}: no reference to compare with."] if expected else []
    separate = separate_parameters(result, results)
    size = f"{result.parameters / 1e6:.2f}M parameters"
    size += f" instead of {separate / 1e6:.2f}M" if separate else ""
    sentences = [f"{name}, {size}, {verdict(value, reference(results))}."]
    worse, better = _significant_tasks(result, results)
    sentences += [f"Worse: {', '.join(worse)}."] if worse else []
    sentences += [f"Better: {', '.join(better)}."] if better else []
    if missing := uncompared(result, results):
        sentences.append(
            f"Not in its gain: {', '.join(missing)}, whose reference is missing or scored below "
            "1 %."
        )
    return sentences


def reference(results: Sequence[RowResult]) -> str:
    """What the rows are compared with."""
    if any(other.row.single for other in results):
        return "its single-task twins"
    return results[0].row.name(len(tasks_of(results)))


def verdict(value: Estimate, reference: str) -> str:
    """Better, worse or no significant difference."""
    if value.half is None:
        return f"gains {value.mean:+.1f} % with one seed, which supports no conclusion"
    if value.low > 0:
        return f"is better than {reference} by {value.text(1)} % (95 % interval above zero)"
    if value.high < 0:
        return f"is worse than {reference} by {value.text(1)} % (95 % interval below zero)"
    return f"does not differ significantly from {reference}: {value.text(1)} %"


def _significant_tasks(
    result: RowResult, results: Sequence[RowResult]
) -> tuple[list[str], list[str]]:
    """Tasks whose interval lies below zero, and above."""
    by_task = {task: estimate(task_gains(result, task, results)) for task in result.row.tasks}
    known = {task: e for task, e in by_task.items() if e and e.half is not None}
    worse = [f"{task} {e.text(1)} %" for task, e in known.items() if e.high < 0]
    better = [f"{task} {e.text(1)} %" for task, e in known.items() if e.low > 0]
    return worse, better


def count_sentences(results: Sequence[RowResult]) -> list[str]:
    """How many rows are better or worse than the reference, in all and per task."""
    values = [(result, value) for result in results if (value := gain(result, results))]
    count = len(tasks_of(results))
    single = any(result.row.single for result in results)
    against = "their single-task twins" if single else reference(results)
    better = [f"{r.row.name(count)} ({v.text(1)} %)" for r, v in values if v.low > 0]
    worse = [f"{r.row.name(count)} ({v.text(1)} %)" for r, v in values if v.high < 0]
    text = [
        f"Of {len(values)} rows {len(better)} are better than {against}, {len(worse)} worse, "
        f"{len(values) - len(better) - len(worse)} not significantly different (95 % intervals "
        "over seeds)."
    ]
    text += [f"Better: {', '.join(better)}."] if better else []
    text += [f"Worse: {', '.join(worse)}."] if worse else []
    for task in tasks_of(results):
        each = [estimate(task_gains(r, task, results)) for r, _ in values if task in r.row.tasks]
        known = [value for value in each if value]
        down, up = sum(v.high < 0 for v in known), sum(v.low > 0 for v in known)
        if down or up:
            text.append(f"{task}: worse in {down} and better in {up} of {len(known)} rows.")
    return text


def balancing_sentences(results: Sequence[RowResult]) -> list[str]:
    """Which balancing methods differ from equal weights."""
    found = [(result, against_equal(result, results)) for result in results]
    known = [(result, value) for result, value in found if value and value.half is not None]
    if len(known) < 2:
        return []
    better = [f"{r.row.balance} {v.text(1)} %" for r, v in known if v.low > 0]
    worse = [f"{r.row.balance} {v.text(1)} %" for r, v in known if v.high < 0]
    return [
        f"Of {len(known)} balancing methods, compared with equal weights per seed, better: "
        f"{', '.join(better) or 'none'}; worse: {', '.join(worse) or 'none'}."
    ]


def _affinity_sentences(results: Sequence[RowResult]) -> list[str]:
    """Whether look-ahead affinity predicted the gains of training in pairs."""
    whole = max(results, key=lambda result: len(result.row.tasks), default=None)
    if whole is None or len(whole.row.tasks) < 3 or not probes_of(whole):
        return []
    ahead = mean_matrix([probe["ahead"] for probe in probes_of(whole)])
    predicted, measured = [], []
    for result in results:
        if len(result.row.tasks) == 2 and replace(result.row, tasks=whole.row.tasks) == whole.row:
            for task, partner in (result.row.tasks, result.row.tasks[::-1]):
                value = estimate(task_gains(result, task, results))
                if value and task in ahead.get(partner, {}):
                    predicted.append(ahead[partner][task])
                    measured.append(value.mean)
    if len(measured) < 6:
        return []
    rho, p = rank_correlation(predicted, measured)
    relation = "does not predict" if p >= 0.05 else "predicts" if rho > 0 else "contradicts"
    return [
        f"Look-ahead affinity {relation} the gains measured in pairs (Spearman {rho:+.2f} over "
        f"{len(measured)} ordered pairs, p = {p:.2f})."
    ]


def _what_ran(results: Sequence[RowResult], base: Config) -> list[str]:
    records = [record for result in results for record in result.records]
    hours = sum(float(record["seconds"]) for record in records) / 3600
    seeds = {record["seed"] for record in records}
    text = [
        f"{len(records)} runs with {len(seeds)} seed(s) each, {hours:.2f} h in all: "
        f"{budget_text(base)}."
    ]
    return text + [f"{r.row.name()} did not run: {r.failed}." for r in results if r.failed]


def _limits(results: Sequence[RowResult], base: Config, quick: bool) -> list[str]:
    records = [record for result in results for record in result.records]
    seeds = len({record["seed"] for record in records})
    steps = max([int(record["steps"]) for record in records], default=0)
    text = []
    if quick:
        text.append("This is a --quick study: its numbers mean nothing.")
    if steps < FEW_STEPS:
        text.append(f"{steps} steps are far from convergence; the order of the rows may change.")
    if seeds < 3:
        text.append(f"With {seeds} seed(s) the intervals are too wide to rank close rows.")
    if len([result for result in results if not result.row.single]) > 3:
        text.append(
            "Several rows share one reference; about one 95 % interval in twenty is wrong by "
            "chance."
        )
    if not base.data.data or any(word.startswith("rendered") for word in base.data.data):
        text.append("Rendered roads are simpler than real ones; the order may differ there.")
    if any(result.row.single for result in results):
        text.append(
            "Every run saw the same number of frames, so the single-task networks together were "
            "trained as many times longer as there are tasks."
        )
    text.append("Latencies were measured in one session in torch: only their ratios count.")
    return text
