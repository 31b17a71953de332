"""The paragraph that says what the numbers of a study support, and what they do not."""

import math
from collections.abc import Sequence
from dataclasses import replace

from training.study.gain import Line, estimate, task_gains
from training.study.grouping import mean_ahead
from training.study.plan import Budget
from training.study.proposal import probes_of
from training.study.verdict import about, balancing, tally

# Below this many steps a run has hardly begun to learn (a tenth of a usual short training).
FEW_STEPS = 1000
# Up to so many rows the paragraph speaks of each; of more it counts, and a list has them all.
FEW_ROWS = 4


def paragraph(lines: Sequence[Line], budget: Budget, quick: bool) -> list[str]:
    """Sentences, the plain facts first."""
    one_by_one = row_by_row(lines)
    return [
        *_what_ran(lines, budget),
        *(tally(lines) if len(one_by_one) > FEW_ROWS else one_by_one),
        *balancing(lines),
        *_agreement(lines),
        *_doubts(lines, budget, quick),
    ]


def row_by_row(lines: Sequence[Line]) -> list[str]:
    """What there is to say of each row with several tasks."""
    shared = [line for line in lines if not line.row.alone and line.records]
    return [" ".join(said) for line in shared if (said := about(line, lines))]


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
