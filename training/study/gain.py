"""From stored records to numbers: means over seeds, multi-task gain, confidence intervals.

Gain (Vandenhende et al., 2021; Maninis et al., 2019): the mean over tasks of
+-(M - M_single) / |M_single| in percent, + where higher is better. M is the task's headline score
(`Task.score`, `Task.higher_is_better`).
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from scipy import stats

from perception.tasks import TASKS
from training.study.plan import Row, row_from_json

Record = Mapping[str, Any]

# A single-task score below this many percent is too small to divide by.
LEAST_SCORE: Final = 1.0


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and the half width of its 95 % interval; None with fewer than two seeds."""

    mean: float
    half: float | None
    count: int

    @property
    def low(self) -> float:
        return self.mean - (math.inf if self.half is None else self.half)

    @property
    def high(self) -> float:
        return self.mean + (math.inf if self.half is None else self.half)

    def text(self, digits: int = 2) -> str:
        """mean ± half."""
        spread = "" if self.half is None else f" ± {self.half:.{digits}f}"
        return f"{self.mean:.{digits}f}{spread}"


def estimate(values: Sequence[float]) -> Estimate | None:
    """Mean and Student's t interval; None without values."""
    if not values:
        return None
    mean, count = statistics.fmean(values), len(values)
    if count < 2:
        return Estimate(mean, None, count)
    return Estimate(mean, float(stats.t.ppf(0.975, count - 1) * stats.sem(values)), count)


def score_name(task: str) -> str:
    """The headline score of a task."""
    return TASKS[task].score


def score_of(record: Record, task: str, name: str = "") -> float | None:
    """A finite score of a stored record, by default the headline one."""
    value = record["scores"].get(task, {}).get(name or score_name(task))
    return float(value) if value is not None and math.isfinite(value) else None


@dataclass
class RowResult:
    """A row of the table with the finished records of its seeds."""

    row: Row
    records: list[Record]
    failed: str = ""

    def score(self, task: str, name: str = "") -> Estimate | None:
        """A score over the seeds, by default the task's headline score."""
        values = [score_of(record, task, name) for record in self.records]
        return estimate([value for value in values if value is not None])

    @property
    def parameters(self) -> int:
        return int(self.records[0]["parameters"]) if self.records else 0


def by_row(records: Sequence[Record], rows: Sequence[Row]) -> list[RowResult]:
    """The rows in order, each with its records."""
    found = {row: RowResult(row, []) for row in rows}
    for record in records:
        result = found.get(row_from_json(record["row"]))
        if result is None:
            continue
        if "failed" in record:
            result.failed = str(record["failed"])
        else:
            result.records.append(record)
    return list(found.values())


def tasks_of(results: Sequence[RowResult]) -> list[str]:
    """All tasks of a study, in the order in which they were named."""
    return list(dict.fromkeys(task for result in results for task in result.row.tasks))


def same_tasks(results: Sequence[RowResult]) -> bool:
    """Whether all rows have the same tasks, as in an ablation: the first row is the reference."""
    return len({result.row.tasks for result in results}) == 1


def twin_of(result: RowResult, task: str, results: Sequence[RowResult]) -> RowResult | None:
    """The reference for a task: the single-task row with the same network and start if there is
    one, else the first single-task row. In a study without any, the first row with these tasks."""
    if same_tasks(results) or not any(other.row.single for other in results):
        alike = (o for o in results if o.row.tasks == result.row.tasks and o.records)
        return next(alike, None)
    single = [other for other in results if other.row.tasks == (task,) and other.records]
    start = (result.row.model, result.row.pretrained)
    same = [other for other in single if (other.row.model, other.row.pretrained) == start]
    return next(iter(same or single), None)


def relative(task: str, value: float | None, single: float | None) -> float | None:
    """Gain of one task in percent; None where the reference is missing or next to zero."""
    if value is None or single is None:
        return None
    upward = TASKS[task].higher_is_better
    if abs(single) < (LEAST_SCORE if upward else 1e-9):
        return None
    return 100.0 * (value - single) / abs(single) * (1 if upward else -1)


def gains_by_seed(result: RowResult, task: str, results: Sequence[RowResult]) -> dict[int, float]:
    """Seed -> gain of one task, for the seeds that can be compared. Each seed is compared with the
    twin of the same seed where there is one: both saw the same frames in the same order, so that
    part of the noise cancels."""
    twin = twin_of(result, task, results)
    if twin is None or twin is result:
        return {}
    by_seed = {record["seed"]: record for record in twin.records}
    found = {
        record["seed"]: relative(
            task,
            score_of(record, task),
            score_of(by_seed.get(record["seed"], twin.records[0]), task),
        )
        for record in result.records
    }
    return {seed: value for seed, value in found.items() if value is not None}


def task_gains(result: RowResult, task: str, results: Sequence[RowResult]) -> list[float]:
    """The gains of one task, one per seed that can be compared."""
    return list(gains_by_seed(result, task, results).values())


def gain(result: RowResult, results: Sequence[RowResult]) -> Estimate | None:
    """The multi-task gain over the seeds; None for a twin, or where no task can be compared."""
    if result.row.single and not same_tasks(results):
        return None
    return mean_over_tasks([gains_by_seed(result, task, results) for task in result.row.tasks])


def mean_over_tasks(by_task: Sequence[Mapping[int, float]]) -> Estimate | None:
    """Per seed the mean over tasks, then the estimate over seeds. Tasks without any gain are left
    out, and seeds that lack one of the others."""
    known = [gains for gains in by_task if gains]
    seeds = [seed for seed in (known[0] if known else ()) if all(seed in g for g in known)]
    return estimate([statistics.fmean(gains[seed] for gains in known) for seed in seeds])


def against_equal(result: RowResult, results: Sequence[RowResult]) -> Estimate | None:
    """The gain over the same network with equal weights, seed by seed; None for a row with equal
    weights or without such a counterpart."""
    if result.row.single or result.row.balance == "equal":
        return None
    wanted = replace(result.row, balance="equal")
    plain = next((other for other in results if other.row == wanted), None)
    return gain(result, [plain, result]) if plain and plain.records else None


def uncompared(result: RowResult, results: Sequence[RowResult]) -> list[str]:
    """Tasks that do not enter the gain: their twin is missing or scored below 1 %."""
    if result.row.single:
        return []
    return [task for task in result.row.tasks if not task_gains(result, task, results)]


def separate_parameters(result: RowResult, results: Sequence[RowResult]) -> int:
    """Parameters of the single-task networks that would do the same tasks."""
    found = [twin_of(result, task, results) for task in result.row.tasks]
    return sum(twin.parameters for twin in found if twin and twin.row.single)


def rank_correlation(one: Sequence[float], two: Sequence[float]) -> tuple[float, float]:
    """Spearman's rank correlation and its p-value; (0, 1) where one side is constant."""
    if len(set(one)) < 2 or len(set(two)) < 2:
        return 0.0, 1.0
    found = stats.spearmanr(one, two)
    return float(found.statistic), float(found.pvalue)
