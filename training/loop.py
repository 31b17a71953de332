"""The training loop: one step per batch. No task and no balancing method is named here."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from perception.errors import UserError, some_of
from perception.tasks.base import LossPart, Raw, to_float
from training.balance import Border
from training.data.sample import Batch
from training.learner import Learner
from training.nonfinite import Memory, nonfinite_frames
from training.optimiser import rate_at, set_rate

Parts = dict[str, dict[str, float]]
OwnParts = Mapping[str, Mapping[str, LossPart]]


@dataclass
class StepReport:
    """The result of one step; all values but `names` are equal on all ranks."""

    step: int
    loss: float  # sum over the tasks
    parts: Parts  # loss terms of each task that is labelled in the joint batch
    weights: dict[str, float]  # of the tasks, from the balancer
    rate: float  # learning rate, relative to its peak
    norm: float  # of the gradient, before clipping
    frames: int  # in the joint batch
    names: list[str]  # of this rank's frames; of a skipped step, the frames that caused it
    progress: float  # share of the run before this step
    bad: str = ""  # why the step was skipped
    stop: bool = False  # whether any rank was asked to stop


def totals(parts: Parts) -> dict[str, float]:
    """Each task's loss: the sum of its parts."""
    return {task: sum(values.values()) for task, values in parts.items()}


def train_epoch(
    learner: Learner,
    batches: Iterable[Batch],
    after: Callable[[StepReport], bool],
    progress: Callable[[], float] = lambda: 0.0,
    stop_wanted: Callable[[], bool] = lambda: False,
) -> bool:
    """One step per batch; `after` is called with each report and ends the epoch by returning False.

    `progress` gives the completed share of the run, for the learning rate; `stop_wanted` whether
    this rank was asked to stop. Returns whether the epoch was finished. Raises UserError after
    `max_bad` consecutive steps with a loss or gradient that is not finite.
    """
    learner.train_mode()
    for batch in batches:
        batch = batch.to(learner.world.device)
        report = train_step(learner, batch, progress(), stop_wanted())
        go_on = after(report)
        if learner.state.bad_in_row >= learner.max_bad:
            raise UserError(
                f"{learner.max_bad} steps in a row had a loss or gradient that is not finite "
                f"(last: {report.bad}; frames {some_of(report.names, 4)}); lower --lr, or check "
                "these frames; log.jsonl lists all"
            )
        if not go_on:
            return False
    return True


def train_step(
    learner: Learner, batch: Batch, progress: float = 0.0, stop_wanted: bool = False
) -> StepReport:
    """One optimiser step, or none where a loss or gradient is not finite on any rank.

    `progress` is the completed share of the run, in [0, 1]; `stop_wanted` on any rank sets the
    report's `stop` on all of them.
    """
    learner.optimizer.zero_grad(set_to_none=True)
    memory = Memory(learner.model, learner.balancer)
    size = learner.world.size
    # Heads count labels in buffers; what this rank adds is summed over the ranks.
    heads = learner.tasks.values() if size > 1 else ()
    counters = [cast(Tensor, getattr(head, name)) for head in heads for name in head.counters]
    before = [counter.clone() for counter in counters]
    own, border, raws = forward(learner, batch)
    counted = [counter - start for counter, start in zip(counters, before, strict=True)]
    extra = [progress, float(stop_wanted), float(len(batch.frames))]
    joint = reduce_step(learner, batch, own, extra, counted)
    for counter, start, more in zip(counters, before, joint.counted, strict=True):
        counter.copy_(start + more.to(start))
    values = totals(joint.parts)
    report = StepReport(
        step=learner.state.step,
        loss=sum(values.values()),
        parts=joint.parts,
        weights={},
        rate=rate_at(joint.extra[0] / size, learner.warmup),
        norm=float("nan"),
        frames=int(joint.extra[2]),
        names=batch.names,
        progress=joint.extra[0] / size,
        stop=bool(joint.extra[1]),
    )
    wrong = [task for task, value in values.items() if not math.isfinite(value)]
    report.bad = f"loss of {', '.join(wrong)}" if wrong else ""
    set_rate(learner.optimizer, report.rate)
    if not report.bad and values:
        losses = {task: joint.share(task, own.get(task), border) for task in values}
        report.weights = learner.balancer.backward(losses, border, values)
        report.norm = float(nn.utils.clip_grad_norm_(learner.trained, learner.clip))
        report.bad = "" if math.isfinite(report.norm) else "gradient"
    if report.bad:
        report.names = nonfinite_frames(learner.tasks, batch, raws, learner.world)
    finish(learner, report, memory, batch)
    return report


def finish(learner: Learner, report: StepReport, memory: Memory, batch: Batch) -> None:
    """Updates the weights, or restores the buffers after a loss or gradient that is not finite."""
    state = learner.state
    state.step += 1
    if report.bad:
        state.bad_in_row += 1
        state.bad_total += 1
        learner.optimizer.zero_grad(set_to_none=True)
        memory.put_back()
        return
    state.bad_in_row = 0
    learner.optimizer.step()
    learner.balancer.after_step(partial(losses_again, learner, batch))
    if learner.ema:
        learner.ema.update(learner.model, step=state.step)


def forward(
    learner: Learner, batch: Batch
) -> tuple[dict[str, dict[str, LossPart]], Border, dict[str, Raw]]:
    """(loss parts of the tasks labelled in this rank's batch, border of trunk and heads, raw
    outputs of the heads)."""
    trains = torch.is_grad_enabled() and bool(learner.shared)
    with learner.autocast(), torch.set_grad_enabled(trains):
        outputs = learner.model.features(batch.frames)
    # Heads read detached copies of the features; the balancer passes their gradients on.
    border = Border(outputs, learner.shared, learner.heads, learner.world.reduce)
    parts, raws = {}, {}
    for task, head in learner.tasks.items():
        rows = batch.rows.get(task)
        if rows is None or not len(rows):
            continue
        every = len(rows) == len(outputs[0])
        features = border.leaves if every else [leaf[rows] for leaf in border.leaves]
        with learner.autocast():
            raw = head(features)
        raws[task] = to_float(raw)
        parts[task] = head.loss(raws[task], batch.targets[task])
        if tuple(parts[task]) != head.loss_parts:
            raise ValueError(f"{task}: loss() has {tuple(parts[task])}, not {head.loss_parts}")
    return parts, border, raws


@dataclass
class Joint:
    """Sums over the frames of all ranks."""

    extra: list[float]
    counted: list[Tensor] = field(default_factory=list)
    parts: Parts = field(default_factory=dict)  # means, of the tasks that are labelled on any rank
    counts: dict[str, dict[str, float]] = field(default_factory=dict)

    def share(self, task: str, own: Mapping[str, LossPart] | None, border: Border) -> Tensor:
        """This rank's share of a task's loss; the shares of all ranks add up to the loss."""
        if own is None:
            return torch.zeros((), device=border.leaves[0].device)
        counts = self.counts[task]
        return torch.stack([part.sum / (counts[name] or 1.0) for name, part in own.items()]).sum()


def reduce_step(
    learner: Learner,
    batch: Batch,
    own: OwnParts,
    extra: Sequence[float] = (),
    counted: Sequence[Tensor] = (),
) -> Joint:
    """Sums `extra`, `counted`, and every task's frames, loss sums and counts over the ranks.

    One small message, the only one of a step in addition to the gradients.
    """
    world, heads = learner.world, learner.tasks
    rows = [float(len(batch.rows.get(task, ()))) for task in heads]
    zero = torch.zeros((), device=world.device)
    nothing = LossPart(zero, zero)
    parts = [own.get(task, {}).get(n, nothing) for task in heads for n in heads[task].loss_parts]
    scalars = [scalar for part in parts for scalar in (part.sum, part.count)]
    found = iter(world.total([*extra, *rows], [*scalars, *counted]))
    joint = Joint([next(found) for _ in extra])
    labelled = [bool(next(found)) for _ in heads]
    for (task, head), known in zip(heads.items(), labelled, strict=True):
        sums = {name: (next(found), next(found)) for name in head.loss_parts}
        if known:
            joint.parts[task] = {
                name: total / (count or 1) for name, (total, count) in sums.items()
            }
            joint.counts[task] = {name: count for name, (_, count) in sums.items()}
    joint.counted = [torch.tensor([next(found) for _ in range(c.numel())]) for c in counted]
    return joint


def losses_again(learner: Learner, batch: Batch) -> dict[str, float]:
    """The joint losses of the batch with the updated weights; gradients and buffers stay as they
    are."""
    memory = Memory(learner.model)
    with torch.no_grad():
        own, _, _ = forward(learner, batch)
    memory.put_back()
    return totals(reduce_step(learner, batch, own).parts)
