"""`--plan`: what a study costs on this machine, and what it can resolve."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import torch
from rich.console import Console
from scipy import stats

from perception.sizes import format_size
from training.config import Config
from training.data.sources import open_sources
from training.loop import StepReport, train_epoch
from training.run import Run
from training.study.gain import Record, Study
from training.study.plan import HARD, Row, Trial, row_from_json
from training.study.pruning import BUDGET, ROUNDS, needs_masks
from training.study.trials import Log

POWER: Final = 0.8
STEPS: Final = 3  # of a short timing; the first, which is slower, does not count


@dataclass(frozen=True)
class Plan:
    """What is left to train, and how long it takes."""

    runs: int
    done: int
    frames: int
    hours: float

    def text(self) -> str:
        """One line."""
        return (
            f"{self.runs} runs, {self.done} of them stored; {self.frames:,} frames to train on; "
            f"about {self.hours:.2g} hours on this machine."
        )


def epoch_frames(base: Config, tasks: Sequence[str]) -> int:
    """Frames of an epoch: whole batches."""
    frames = len(open_sources(base.data, tasks, 0)[0])
    return -(-frames // base.data.batch) * min(base.data.batch, frames)


def plan_of(trials: Sequence[Trial], stored: Mapping[str, Record], devices: int, log: Log) -> Plan:
    """Runs, frames and hours of the trials that have no record yet."""
    todo = [trial for trial in trials if "scores" not in stored.get(trial.key, {})]
    size = format_size(trials[0].base.data.size)
    speeds = measured_speeds([r for r in stored.values() if r.get("size") == size])
    whole: dict[tuple[str, ...], int] = {}
    frames, seconds = 0, 0.0
    for at, trial in enumerate(todo):
        row = trial.row
        if row.tasks not in whole:
            data = replace(trial.base.data, share=1.0)
            whole[row.tasks] = epoch_frames(replace(trial.base, data=data), row.tasks)
        if row not in speeds:
            more = len({other.row for other in todo[at:]} - {row, *speeds})
            log(f"Timing {row.name()}" + (f"; {more} more to time" if more else ""))
            speeds[row] = time_row(row, trial.base)
        own = round(whole[row.tasks] * trial.base.data.share)
        own *= trial.base.optim.epochs * row.times
        # Every round of pruning trains each task alone, which costs about one pass of one task.
        extra = ROUNDS * BUDGET * own if needs_masks(row) else 0.0
        frames += own + round(extra * len(row.tasks))
        limit = 60 * trial.base.run.max_minutes or math.inf
        seconds += min((own + extra) * speeds[row], limit)
    done = len(trials) - len(todo)
    return Plan(len(trials), done, frames, seconds / 3600 / max(devices, 1))


def measured_speeds(records: Sequence[Record]) -> dict[Row, float]:
    """Row -> seconds per frame in past runs, validation included."""
    found: dict[Row, list[float]] = {}
    for record in records:
        if record.get("frames") and record.get("seconds"):
            row = row_from_json(record["row"])
            found.setdefault(row, []).append(record["seconds"] / record["frames"])
    return {row: statistics.median(values) for row, values in found.items()}


def time_row(row: Row, base: Config) -> float:
    """Seconds per frame of a few training steps, without validation."""
    passes = len(row.tasks) if needs_masks(row) else 1  # one pass of the trunk per task
    row = replace(row, sharing=HARD) if needs_masks(row) else row
    data = replace(base.data, limit=STEPS * base.data.batch, val_limit=1, share=1.0)
    base = replace(base, data=data, optim=replace(base.optim, epochs=1, ema=0.0))
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:
        config = Trial(row, 0, base).config(str(Path(folder) / "run"))
        run = Run(config, Console(quiet=True))
        run.order.at(0, 0)
        ends = [time.monotonic()]

        def after(report: StepReport) -> bool:
            ends.append(time.monotonic())
            return True

        train_epoch(run.learner, run.loaded, after)
        run.close()
    ends = ends[1:] if len(ends) > 2 else ends
    return passes * (ends[-1] - ends[0]) / ((len(ends) - 1) * base.data.batch)


def smallest_differences(study: Study, seeds: int) -> dict[str, float]:
    """Task -> smallest difference in percent that so many seeds resolve.

    The difference that a paired t-test at 5 % finds in four of five studies, from the standard
    deviation of the paired differences over seeds, pooled over the rows of the study.
    """
    found = {}
    for task in study.tasks:
        variances = []
        for result in study.results:
            for reference in study.comparisons.values():
                gains = list(study.pairs(result, task, reference).values())
                if len(gains) > 1:
                    variances.append(statistics.variance(gains))
        if variances and seeds > 1:
            spread = math.sqrt(statistics.fmean(variances) / seeds)
            wanted = stats.t.ppf(0.975, seeds - 1) + stats.t.ppf(POWER, seeds - 1)
            found[task] = float(wanted * spread)
    return found


def resolution_text(study: Study, seeds: int) -> str:
    """One line on what the design can resolve."""
    if seeds < 2:
        return "With one seed there are no intervals: no difference can be resolved; use --seeds 5."
    known = smallest_differences(study, seeds)
    if not known:
        return (
            "Smallest difference that can be resolved: not known before --out holds a row and its "
            "reference with two seeds."
        )
    each = ", ".join(f"{task} {size:.1f} %" for task, size in known.items())
    return (
        f"Smallest difference that {seeds} seeds resolve (t-test at 5 %, power {POWER:.0%}), from "
        f"the variance over the seeds in --out: {each}."
    )
