"""From the store to numbers: means over seeds, multi-task gain, intervals.

Gain (Vandenhende et al., 2021; Maninis et al., 2019): the mean over tasks of the mean over a task's
metrics of +-(M - M_alone) / |M_alone|, + where higher is better, in percent.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from training.study.plan import Row, row_from_json

Record = Mapping[str, Any]

# Metrics that enter tables and gain where a task reports them; True where higher is better.
METRICS: Final[dict[str, bool]] = {
    "mAP50": True,
    "mAP": True,
    "mIoU": True,
    "pixAcc": True,
    "F1@5": True,
    "IoU": True,
    "accuracy": True,
    "F1": True,
    "abs": False,
    "rel": False,
    "mean": False,
    "median": False,
    "<11.25": True,
    "<22.5": True,
    "<30": True,
}
# Percent: twice next to nothing is no gain.
LEAST_SCORE: Final = 1.0
# Two-sided 95 % points of Student's t for 1, 2, ... degrees of freedom.
STUDENT: Final = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201,
                  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086)  # fmt: skip


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
        """mean +- half."""
        spread = "" if self.half is None else f" ± {self.half:.{digits}f}"
        return f"{self.mean:.{digits}f}{spread}"


def estimate(values: Sequence[float]) -> Estimate | None:
    """Mean and t-interval; None without values."""
    if not values:
        return None
    mean = sum(values) / len(values)
    if len(values) < 2:
        return Estimate(mean, None, len(values))
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    point = STUDENT[len(values) - 2] if len(values) - 2 < len(STUDENT) else 1.96
    return Estimate(mean, point * math.sqrt(variance / len(values)), len(values))


def metrics_of(scores: Mapping[str, float | None]) -> dict[str, float]:
    """Those metrics of a task's scores that the study counts."""
    found = {name: scores.get(name) for name in METRICS}
    return {name: float(value) for name, value in found.items() if value is not None}


@dataclass
class Line:
    """A row of the table with what its seeds gave."""

    row: Row
    records: list[Record]
    failed: str = ""

    def metric(self, task: str, name: str) -> Estimate | None:
        """A score over the seeds."""
        values = [metrics_of(r["scores"].get(task, {})).get(name) for r in self.records]
        return estimate([value for value in values if value is not None])

    @property
    def parameters(self) -> int:
        return int(self.records[0]["parameters"]) if self.records else 0


def lines(records: Sequence[Record], rows: Sequence[Row]) -> list[Line]:
    """The rows in order, each with its finished records."""
    found = {row: Line(row, []) for row in rows}
    for record in records:
        line = found.get(row_from_json(record["row"]))
        if line is None:
            continue
        if "failed" in record:
            line.failed = str(record["failed"])
        else:
            line.records.append(record)
    return list(found.values())


def tasks_of(lines: Sequence[Line]) -> list[str]:
    """All tasks of a study, in the order they were named."""
    return list(dict.fromkeys(task for line in lines for task in line.row.tasks))


def alike(everyone: Sequence[Line]) -> bool:
    """Whether all rows do the same tasks, as in an ablation: then the first is the measure."""
    return len({line.row.tasks for line in everyone}) == 1


def twin_of(line: Line, task: str, everyone: Sequence[Line]) -> Line | None:
    """The single-task run that a row is compared with for a task: of the same trunk and start if
    there is one, else the first there is. In a study without any, the first row with its tasks."""
    alone = [other for other in everyone if other.row.tasks == (task,) and other.records]
    if alike(everyone) or not any(other.row.alone for other in everyone):
        return next((o for o in everyone if o.row.tasks == line.row.tasks and o.records), None)
    same = [
        other
        for other in alone
        if (other.row.model, other.row.pretrained) == (line.row.model, line.row.pretrained)
    ]
    return next(iter(same or alone), None)


def relative(name: str, value: float, alone: float) -> float | None:
    """Gain of one metric in percent; None against a twin that has not begun to learn."""
    if not math.isfinite(value) or not math.isfinite(alone):
        return None
    if abs(alone) < (LEAST_SCORE if METRICS[name] else 1e-9):
        return None
    return 100.0 * (value - alone) / abs(alone) * (1 if METRICS[name] else -1)


def task_gains(line: Line, task: str, everyone: Sequence[Line]) -> list[float]:
    """One gain a seed. A seed is compared with the twin of the same seed, where there is one: both
    saw the same frames in the same order, so what the seed did to both cancels."""
    twin = twin_of(line, task, everyone)
    if twin is None or twin is line:
        return []
    by_seed = {record["seed"]: record for record in twin.records}
    gains = []
    for record in line.records:
        other = by_seed.get(record["seed"], twin.records[0])
        alone = metrics_of(other["scores"].get(task, {}))
        here = metrics_of(record["scores"].get(task, {}))
        parts = [relative(name, here[name], alone[name]) for name in here if name in alone]
        known = [part for part in parts if part is not None]
        if known:
            gains.append(sum(known) / len(known))
    return gains


def gain(line: Line, everyone: Sequence[Line]) -> Estimate | None:
    """The multi-task gain over the seeds; None for a twin or without all its tasks' twins."""
    if line.row.alone and not alike(everyone):
        return None
    by_task = [task_gains(line, task, everyone) for task in line.row.tasks]
    if not all(by_task):
        by_task = [gains for gains in by_task if gains]
    if not by_task:
        return None
    seeds = min(len(gains) for gains in by_task)
    return estimate([sum(g[s] for g in by_task) / len(by_task) for s in range(seeds)])


def uncompared(line: Line, everyone: Sequence[Line]) -> list[str]:
    """Tasks of a row that do not enter its gain: their twin is missing or scored below 1 %."""
    return (
        [] if line.row.alone else [t for t in line.row.tasks if not task_gains(line, t, everyone)]
    )


def separate_parameters(line: Line, everyone: Sequence[Line]) -> int:
    """Parameters of the twins that would do the same tasks."""
    found = [twin_of(line, task, everyone) for task in line.row.tasks]
    return sum(twin.parameters for twin in found if twin and twin.row.alone)
