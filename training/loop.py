"""The training story: train_epoch and evaluate. No task and no method is known here by name."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from perception.errors import UserError
from perception.model import HydraNet
from perception.tasks.base import Raw, Task
from training.balance import Balancer, Border
from training.data.sample import Batch
from training.data.sampling import Judged
from training.distributed import World
from training.features import FeatureBatch
from training.joint import join_rows, run_head
from training.logs import Scores
from training.nonfinite import Memory, guilty, name_some, unfit_gradient, unfit_loss
from training.optimiser import clip_gradients, rate_at, set_rate

Parts = dict[str, dict[str, float]]


def tasks_of(model: HydraNet) -> dict[str, Task]:
    """The model's tasks by name, typed (a ModuleDict forgets what it holds)."""
    return {name: cast(Task, task) for name, task in model.tasks.items()}


@dataclass
class Learner:
    """What is learned, and everything that changes while it is."""

    model: HydraNet
    balancer: Balancer
    optimizer: torch.optim.Optimizer
    world: World
    ema: ModelEmaV3 | None = None
    bf16: bool = False
    clip: float = 10.0
    warmup: float = 0.03
    max_bad: int = 20
    only: tuple[str, ...] = ()  # tasks that are trained; none: all
    step: int = 0
    bad_in_row: int = 0
    bad_total: int = 0

    def __post_init__(self) -> None:
        every = tasks_of(self.model)
        self.tasks = {name: every[name] for name in self.only or every}
        heads = {name: list(task.parameters()) for name, task in every.items()}
        own = {id(parameter) for parameters in heads.values() for parameter in parameters}
        self.heads = {name: [p for p in ps if p.requires_grad] for name, ps in heads.items()}
        self.shared = [p for p in self.model.parameters() if p.requires_grad and id(p) not in own]

    @property
    def judged(self) -> HydraNet:
        """The model that is validated and saved."""
        return self.ema.module if self.ema else self.model

    @property
    def trained(self) -> list[nn.Parameter]:
        """Every parameter the optimiser moves."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def autocast(self) -> AbstractContextManager[None]:
        """bf16 for the matrix products where it is on."""
        return torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.bf16)


@dataclass
class Report:
    """What one step did; `bad` says why it was left out, and `names` then through which frames."""

    step: int
    loss: float
    parts: Parts
    weights: dict[str, float]
    rate: float
    norm: float
    frames: int
    names: list[str]
    bad: str = ""
    stop: bool = False


def train_mode(learner: Learner) -> None:
    """Training mode, except for what is frozen: its statistics stay as they are."""
    learner.model.train(bool(learner.shared))
    for task in learner.tasks.values():
        task.train()


def train_epoch(
    learner: Learner,
    batches: Iterable[Batch],
    after: Callable[[Report], bool],
    progress: Callable[[], float],
    stop_wanted: Callable[[], bool] = lambda: False,
) -> bool:
    """One step per batch; `after` sees each report and may end the epoch by returning False.

    Before each step `progress` gives the completed share of the run (it sets the learning rate) and
    `stop_wanted` whether this rank was asked to stop. Returns whether the epoch was finished.
    Raises UserError after `max_bad` steps in a row whose loss or gradient was not finite.
    """
    train_mode(learner)
    for batch in batches:
        batch = batch.to(learner.world.device)
        report = train_step(learner, batch, progress(), stop_wanted())
        go_on = after(report)
        if learner.bad_in_row >= learner.max_bad:
            raise UserError(
                f"{learner.bad_in_row} steps in a row had a loss or gradient that is not finite "
                f"(last: {report.bad}; frames {name_some(report.names)}); lower --lr, or look "
                "at these frames; log.jsonl names all"
            )
        if not go_on:
            return False
    return True


def train_step(
    learner: Learner, batch: Batch, progress: float = 0.0, stop_wanted: bool = False
) -> Report:
    """One optimiser step, or none where a number went wrong on any rank.

    `progress` is the completed share of the run, in [0, 1]; `stop_wanted` of any rank sets the
    report's `stop` on all of them.
    """
    world, model = learner.world, learner.model
    rows = [float(len(batch.rows.get(task, ()))) for task in learner.tasks]
    own = [float(stop_wanted), float(len(batch.frames))]
    *counts, stop, frames = world.total([*rows, *own])
    present = [task for task, count in zip(learner.tasks, counts, strict=True) if count]
    rate = rate_at(progress, learner.warmup)
    set_rate(learner.optimizer, rate)
    learner.optimizer.zero_grad(set_to_none=True)
    memory = Memory(model, learner.balancer)

    parts, border, raws = forward(learner, batch, present)
    losses = {task: total(part) for task, part in parts.items()}
    report = Report(
        step=learner.step,
        loss=sum(float(loss.detach()) for loss in losses.values()),
        parts={
            task: {name: float(value.detach()) for name, value in part.items()}
            for task, part in parts.items()
        },
        weights={},
        rate=rate,
        norm=float("nan"),
        frames=int(frames),
        names=batch.names,
        bad=unfit_loss(losses, world),
        stop=bool(stop),
    )
    if not report.bad and present:
        report.weights = learner.balancer.backward(losses, border)
        report.norm = float(clip_gradients(learner.trained, learner.clip))
        report.bad = unfit_gradient(report.norm, world)
    if report.bad:
        report.names = guilty(learner.tasks, batch, raws, world)
    finish(learner, report, memory, lambda: losses_again(learner, batch, present))
    return report


def finish(
    learner: Learner,
    report: Report,
    memory: Memory,
    again: Callable[[], Mapping[str, float]],
) -> None:
    """Moves the weights, or puts back what a bad batch has touched."""
    learner.step += 1
    if report.bad:
        learner.bad_in_row += 1
        learner.bad_total += 1
        learner.optimizer.zero_grad(set_to_none=True)
        memory.put_back()
        return
    learner.bad_in_row = 0
    learner.optimizer.step()
    learner.balancer.after_step(again)
    if learner.ema:
        learner.ema.update(learner.model, step=learner.step)


def forward(
    learner: Learner, batch: Batch, present: Sequence[str]
) -> tuple[dict[str, dict[str, Tensor]], Border, dict[str, Raw]]:
    """The loss parts of the tasks that are labelled on any rank, the border they cross, and the
    raw outputs of this rank's own rows."""
    world = learner.world
    if isinstance(batch, FeatureBatch):
        outputs = batch.features
    else:
        with learner.autocast(), torch.set_grad_enabled(bool(learner.shared)):
            outputs = learner.model.features(batch.frames)
    border = Border.cut(outputs, learner.shared, learner.heads, world.reduce)
    parts, raws = {}, {}
    for task in present:
        head = learner.tasks[task]
        with learner.autocast():
            raw = run_head(head, border.leaves, batch.rows.get(task))
        raws[task] = to_float(raw)
        target = join_rows(world, batch.targets.get(task, {}))
        parts[task] = head.loss(join_rows(world, raws[task]), target)
    return parts, border, raws


def losses_again(learner: Learner, batch: Batch, present: Sequence[str]) -> dict[str, float]:
    """The losses of the batch once more, for methods that look back.

    Neither gradients nor running statistics learn from this second look.
    """
    memory = Memory(learner.model)
    with torch.no_grad():
        parts, _, _ = forward(learner, batch, present)
    memory.put_back()
    return {task: float(total(part)) for task, part in parts.items()}


def to_float(raw: Raw) -> Raw:
    """Losses are computed in float32 whatever the heads computed in."""
    return {key: value.float() for key, value in raw.items()}


def total(parts: Mapping[str, Tensor]) -> Tensor:
    """A task's loss: the sum of its parts."""
    return torch.stack(list(parts.values())).sum()


@torch.no_grad()
def decoded(
    model: HydraNet, frames: Tensor, autocast: AbstractContextManager[None]
) -> dict[str, Tensor]:
    """Every task's decoded output for a batch of frames, on the CPU."""
    with autocast:
        raws = model(frames)
    return {name: task.decode(to_float(raws[name])).cpu() for name, task in tasks_of(model).items()}


def evaluate(learner: Learner, batches: Iterable[Judged]) -> tuple[Scores, float]:
    """Scores of every task on the frames that have its labels, and seconds a frame.

    The ranks run the model on their share; the leading one receives what they found, in order, and
    alone keeps the metrics, so scores do not depend on the number of ranks. Other ranks get {}.
    """
    model = learner.judged.eval()
    metrics = {name: task.metric() for name, task in tasks_of(model).items()}
    seen, start = 0, time.perf_counter()
    for batch in batches:
        frames = batch.frames.to(learner.world.device)
        outputs = decoded(model, frames, learner.autocast()) if len(frames) else {}
        seen += len(frames)
        for arrays in learner.world.gather(pack_found(outputs, batch)):
            for task, output, target in unpack_found(arrays):
                metrics[task].update(output, target)
    seconds = (time.perf_counter() - start) / max(seen, 1)
    if not learner.world.leads:
        return {}, seconds
    return {name: metric.compute() for name, metric in metrics.items()}, seconds


def pack_found(outputs: Mapping[str, Tensor], batch: Judged) -> dict[str, np.ndarray]:
    """Outputs and targets of a batch as flat names, so that they can travel between ranks."""
    arrays: dict[str, np.ndarray] = {}
    for row, targets in enumerate(batch.targets):
        for task, output in outputs.items():
            if task in targets:
                arrays[f"{row}/{task}/:output"] = output[row].numpy()
                arrays |= {f"{row}/{task}/{key}": value for key, value in targets[task].items()}
    return arrays


def unpack_found(
    arrays: Mapping[str, np.ndarray],
) -> Iterator[tuple[str, np.ndarray, dict[str, np.ndarray]]]:
    """(task, output, target) of each row, in order."""
    grouped: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for key, value in arrays.items():
        row, task, name = key.split("/", 2)
        grouped.setdefault((row, task), {})[name] = value
    for (_, task), target in grouped.items():
        output = target.pop(":output")
        yield task, output, target


def headline(model: HydraNet, scores: Scores) -> float:
    """One number for the best checkpoint: the mean headline score of tasks in percent.

    Where none of the tasks counts upwards, the negative mean of their errors.
    """
    upward = [
        scores[name][task.score] for name, task in tasks_of(model).items() if task.higher_is_better
    ]
    downward = [
        -scores[name][task.score]
        for name, task in tasks_of(model).items()
        if not task.higher_is_better
    ]
    known = [score for score in upward or downward if math.isfinite(score)]
    return sum(known) / len(known) if known else float("-inf")
