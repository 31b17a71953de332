"""From stored records to differences: paired over seeds, per task, with 95 % intervals.

The gain of a task is +-(M - M_reference) / |M_reference| in percent, + if better; M is the task's
headline score (`Task.score`, `Task.higher_is_better`). The gain of a network is the mean over its
tasks (Vandenhende et al., 2021; Maninis et al., 2019).
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from scipy import stats

from perception.tasks import TASKS
from training.study.plan import HARD, Row, row_from_json

Record = Mapping[str, Any]
Pairs = dict[int, float]
"""Seed -> gain in percent."""

LEAST_SCORE: Final = 1.0  # a reference below this many percent is too small to divide by
# Tasks that also need another score of the reference: its name in the panoptic protocol, and the
# least value. Below 20 vehicle AP50 a detector is at the beginning of its training.
LEAST_PANOPTIC: Final = {"det": ("mAP50", 20.0)}


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and the half width of its 95 % interval; None with fewer than two seeds."""

    mean: float
    half: float | None
    count: int

    @property
    def verdict(self) -> str:
        """Which side of zero the whole interval is on: "gains", "loses" or "" for neither."""
        if self.half is None or abs(self.mean) <= self.half:
            return ""
        return "gains" if self.mean > 0 else "loses"

    def text(self) -> str:
        """mean ± half."""
        return f"{self.mean:.2f}" + ("" if self.half is None else f" ± {self.half:.2f}")

    def words(self) -> str:
        """The difference in percent, as a gain, a loss, or one that was not distinguished."""
        if self.verdict:
            return f"{self.verdict} {abs(self.mean):.1f} ± {self.half:.1f} %"
        if self.half is None:
            return f"not distinguished (one seed: {self.mean:+.1f} %)"
        return f"not distinguished ({self.mean:+.1f} ± {self.half:.1f} %)"


def estimate(values: Sequence[float]) -> Estimate | None:
    """Mean and Student's t interval; None without values."""
    if not values:
        return None
    mean, count = statistics.fmean(values), len(values)
    if count < 2:
        return Estimate(mean, None, count)
    return Estimate(mean, float(stats.t.ppf(0.975, count - 1) * stats.sem(values)), count)


def score_of(record: Record, task: str, name: str = "") -> float | None:
    """A finite score of a stored record, by default the headline one."""
    value = record["scores"].get(task, {}).get(name or TASKS[task].score)
    return float(value) if value is not None and math.isfinite(value) else None


def below_cut(record: Record, task: str) -> str:
    """Why a reference's score is too small to compare with; "" if it is not."""
    name = TASKS[task].score
    value, least = score_of(record, task) or 0.0, LEAST_SCORE
    if abs(value) < (least if TASKS[task].higher_is_better else 1e-9):
        return f"{name} {value:.3g} below {least:g}"
    name, least = LEAST_PANOPTIC.get(task, ("", 0.0))
    other = record.get("panoptic", {}).get(task, {}).get(name)
    return "" if other is None or other >= least else f"vehicle {name} {other:.3g} below {least:g}"


@dataclass(eq=False)
class RowResult:
    """A row of the table with the finished records of its seeds. `label`: the name of a row that
    joins several networks."""

    row: Row
    records: list[Record]
    failed: str = ""
    label: str = ""

    @property
    def by_seed(self) -> dict[int, Record]:
        return {record["seed"]: record for record in self.records}


def by_row(records: Sequence[Record], rows: Sequence[Row]) -> list[RowResult]:
    """The rows in order, each with its records."""
    found = {row: RowResult(row, []) for row in rows}
    for record in records:
        result = found.get(row_from_json(record["row"]))
        if result is None:
            continue
        if "failed" in record:
            result.failed = f"seed {record['seed']}: {record['failed']}"
        else:
            result.records.append(record)
    return list(found.values())


Reference = Callable[[RowResult, str], RowResult | None]
"""Row and task -> the row that it is compared with."""


@dataclass(eq=False, frozen=True)
class Study:
    """All rows of a study, what they are compared with, and which seeds their tables average."""

    results: list[RowResult]

    @cached_property
    def comparisons(self) -> dict[str, Reference]:
        """What rows are compared with; the first row with the same tasks if nothing else fits."""
        found: dict[str, Reference] = {
            "single-task networks": self.single,
            "one trunk and equal weights": self.plain,
        }
        used = {
            name: reference
            for name, reference in found.items()
            if any(reference(result, task) for result in self.results for task in result.row.tasks)
        }
        return used or {"the first row with the same tasks": self.first}

    @cached_property
    def tasks(self) -> list[str]:
        """All tasks, in the order in which they were named."""
        return list(dict.fromkeys(task for result in self.results for task in result.row.tasks))

    def name(self, result: RowResult) -> str:
        """The row's name in tables."""
        return result.label or result.row.name(len(self.tasks))

    def single(self, result: RowResult, task: str) -> RowResult | None:
        """The single-task network of the same model and start; None for a single-task row."""
        wanted = Row((task,), result.row.model, pretrained=result.row.pretrained)
        return None if result.row.single else self.find(wanted, result)

    def plain(self, result: RowResult, task: str) -> RowResult | None:
        """The same network with one trunk for all tasks and equal weights."""
        wanted = replace(result.row, balance="equal", sharing=HARD, times=1)
        return None if result.row.single else self.find(wanted, result)

    def first(self, result: RowResult, task: str) -> RowResult | None:
        """The first row with the same tasks."""
        alike = [other for other in self.results if other.row.tasks == result.row.tasks]
        return alike[0] if alike[0] is not result else None

    def find(self, row: Row, other_than: RowResult) -> RowResult | None:
        """The result of a row that is one network."""
        found = (r for r in self.results if r.row == row and not r.label and r is not other_than)
        return next(found, None)

    @cached_property
    def gaps(self) -> dict[str, dict[int, str]]:
        """Task -> seed -> why no table averages it: a row has no score with it, or a reference is
        below its cut. Rows without any finished run are left out themselves."""
        return {task: self._gaps(task) for task in self.tasks}

    def _gaps(self, task: str) -> dict[int, str]:
        rows = [result for result in self.results if task in result.row.tasks and result.records]
        references = {
            id(reference(row, task)) for reference in self.comparisons.values() for row in rows
        }
        found: dict[int, str] = {}
        for seed in sorted({seed for result in rows for seed in result.by_seed}):
            for result in rows:
                record = result.by_seed.get(seed)
                why = ""
                if record is None or score_of(record, task) is None:
                    why = f"{self.name(result)} has no score"
                elif id(result) in references and (small := below_cut(record, task)):
                    why = f"reference {self.name(result)}: {small}"
                if why:
                    found.setdefault(seed, why)
        return found

    def seeds(self, task: str) -> list[int]:
        """The seeds that every table averages for a task: those that all rows have."""
        rows = [result for result in self.results if task in result.row.tasks]
        return sorted({seed for r in rows for seed in r.by_seed} - set(self.gaps[task]))

    def score(self, result: RowResult, task: str, name: str = "") -> Estimate | None:
        """A score over the seeds of the task, by default its headline score. If no reference is
        above its cut, over all the seeds of the row."""
        seeds = self.seeds(task) or sorted(result.by_seed)
        found = [score_of(result.by_seed[s], task, name) for s in seeds if s in result.by_seed]
        return estimate([value for value in found if value is not None])

    def pairs(self, result: RowResult, task: str, reference_of: Reference) -> Pairs:
        """Seed -> gain of a task over the reference of the same seed: both saw the same frames in
        the same order, so that part of the noise cancels."""
        reference = reference_of(result, task) if task in result.row.tasks else None
        if reference is None:
            return {}
        found = {}
        for seed in self.seeds(task):
            if seed in result.by_seed and seed in reference.by_seed:
                one, two = (score_of(r.by_seed[seed], task) or 0.0 for r in (result, reference))
                sign = 1 if TASKS[task].higher_is_better else -1
                found[seed] = sign * 100.0 * (one - two) / abs(two)
        return found


def mean_over_tasks(by_task: Sequence[Pairs]) -> Estimate | None:
    """Per seed the mean over tasks, then the estimate over the seeds that all tasks have. None if a
    task has no gain: a mean over the others would be of another network."""
    if not all(by_task):
        return None
    seeds = [seed for seed in by_task[0] if all(seed in gains for gains in by_task)]
    return estimate([statistics.fmean(gains[seed] for gains in by_task) for seed in seeds])
