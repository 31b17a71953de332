"""The paragraph that says what the numbers of a study support, and what they do not."""

import math
from collections.abc import Sequence
from dataclasses import replace

from training.study.gain import Line, estimate, gain, separate_parameters, task_gains, uncompared
from training.study.grouping import mean_ahead
from training.study.plan import Budget
from training.study.proposal import probes_of
from training.study.tables import tasks_of

# Below this many steps a run has hardly begun to learn (a tenth of a usual short training).
FEW_STEPS = 1000


def paragraph(lines: Sequence[Line], budget: Budget, quick: bool) -> list[str]:
    """Sentences, the plain facts first."""
    shared = [line for line in lines if not line.row.alone and line.records]
    return [
        *_what_ran(lines, budget),
        *[sentence for line in shared for sentence in _about(line, lines)],
        *_agreement(lines),
        *_doubts(lines, budget, quick),
    ]


def _agreement(lines: Sequence[Line]) -> list[str]:
    """Whether look-ahead foretold what training in pairs measured."""
    whole = max(lines, key=lambda line: len(line.row.tasks), default=None)
    if whole is None or len(whole.row.tasks) < 3 or not probes_of(whole):
        return []
    ahead = mean_ahead([probe["ahead"] for probe in probes_of(whole)])
    foretold, measured = [], []
    for line in lines:
        if len(line.row.tasks) == 2 and replace(line.row, tasks=whole.row.tasks) == whole.row:
            for task, partner in (line.row.tasks, line.row.tasks[::-1]):
                value = estimate(task_gains(line, task, lines))
                if value and task in ahead.get(partner, {}):
                    foretold.append(ahead[partner][task])
                    measured.append(value.mean)
    if len(measured) < 6:
        return []
    rho = rank_correlation(foretold, measured)
    limit = 1.96 / math.sqrt(len(measured) - 1)  # of no relation, in nineteen cases of twenty
    verdict = (
        "agrees with" if rho > limit else "contradicts" if rho < -limit else "says nothing about"
    )
    return [
        f"Look-ahead affinity {verdict} the gains measured in pairs (rank correlation {rho:+.2f} "
        f"over {len(measured)} ordered pairs; beyond ±{limit:.2f} it would be more than chance)."
    ]


def rank_correlation(one: Sequence[float], two: Sequence[float]) -> float:
    """Spearman's: the correlation of ranks, equal values sharing theirs; 0 where one is flat."""
    a, b = _ranks(one), _ranks(two)
    mean = (len(a) - 1) / 2
    spread_a = sum((x - mean) ** 2 for x in a)
    spread_b = sum((x - mean) ** 2 for x in b)
    if not spread_a or not spread_b:
        return 0.0
    joint = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True))
    return joint / math.sqrt(spread_a * spread_b)


def _ranks(values: Sequence[float]) -> list[float]:
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2
        for value in values
    ]


def _what_ran(lines: Sequence[Line], budget: Budget) -> list[str]:
    runs = sum(len(line.records) for line in lines)
    hours = sum(float(r["seconds"]) for line in lines for r in line.records) / 3600
    seeds = {record["seed"] for line in lines for record in line.records}
    said = [f"{runs} runs with {len(seeds)} seed(s) each, {hours:.2f} h in all: {budget.text()}."]
    said += [f"{line.row.name()} did not run: {line.failed}." for line in lines if line.failed]
    return said


def _about(line: Line, lines: Sequence[Line]) -> list[str]:
    name, value = line.row.name(len(tasks_of(lines))), gain(line, lines)
    if value is None:
        alone = any(other.row.alone for other in lines)
        return [f"{name}: nothing to compare with."] if alone or line is not lines[0] else []
    twins = separate_parameters(line, lines)
    size = f"{line.parameters / 1e6:.2f}M parameters" + (
        f" instead of {twins / 1e6:.2f}M" if twins else ""
    )
    rival = (
        "its twins"
        if any(other.row.alone for other in lines)
        else lines[0].row.name(len(tasks_of(lines)))
    )
    if value.half is None:
        verdict = f"gains {value.mean:+.1f} % with one seed, which supports no conclusion"
    elif value.low > 0:
        verdict = f"is better than {rival} by {value.text(1)} % (95 % interval above zero)"
    elif value.high < 0:
        verdict = f"is worse than {rival} by {value.text(1)} % (95 % interval below zero)"
    else:
        verdict = (
            f"is not told apart from {rival}: {value.text(1)} % (the 95 % interval holds zero)"
        )
    sentences = [f"{name}, {size}, {verdict}."]
    by_task = {task: estimate(task_gains(line, task, lines)) for task in line.row.tasks}
    sure = {task: e for task, e in by_task.items() if e and e.half is not None}
    hurt = [f"{task} {e.text(1)} %" for task, e in sure.items() if e.high < 0]
    helped = [f"{task} {e.text(1)} %" for task, e in sure.items() if e.low > 0]
    if hurt:
        sentences.append(f"It hurts {', '.join(hurt)}.")
    if helped:
        sentences.append(f"It helps {', '.join(helped)}.")
    if missing := uncompared(line, lines):
        sentences.append(
            f"Not in its gain: {', '.join(missing)}, whose twin is missing or scored below 1 %."
        )
    return sentences


def _doubts(lines: Sequence[Line], budget: Budget, quick: bool) -> list[str]:
    records = [record for line in lines for record in line.records]
    seeds = len({record["seed"] for record in records})
    steps = max([int(record["steps"]) for record in records], default=0)
    doubts = []
    if quick:
        doubts.append("This is a --quick study: it shows that everything runs, nothing else.")
    if steps < FEW_STEPS:
        doubts.append(
            f"At {steps} steps no network is near its end; who is ahead now need not stay ahead."
        )
    if seeds < 3:
        doubts.append(f"{seeds} seed(s) give intervals too wide, or none, to rank close rows.")
    if len([line for line in lines if not line.row.alone]) > 3:
        doubts.append(
            "Several rows are compared with the same runs: of twenty intervals one misses."
        )
    if any(word.startswith("rendered") for word in budget.data):
        doubts.append("Rendered roads are cleaner than the world; order may differ on real frames.")
    if any(line.row.alone for line in lines):
        doubts.append(
            "Every run saw the same number of frames, so the twins together were trained as many "
            "times longer as there are tasks."
        )
    doubts.append("Latencies are of one session in torch: only ratios count.")
    return doubts
