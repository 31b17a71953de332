"""Affinity of tasks in the shared trunk: cosines between their gradients, look-ahead affinity, and
the best groups by it.

Look-ahead affinity (TAG, Fifty et al., NeurIPS 2021, eq. 1): how much a step of the shared
parameters along the gradient of task i lowers the loss of task j,
Z(i -> j) = 1 - L_j(after) / L_j(before).
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from perception.errors import UserError
from perception.tasks.base import total_loss
from training.balance import Border
from training.data.sample import Batch
from training.learner import Learner
from training.loop import forward
from training.nonfinite import Memory

Matrix = dict[str, dict[str, float]]
Ahead = Mapping[str, Mapping[str, float]]
"""Source task -> target task -> Z."""
Groups = tuple[tuple[str, ...], ...]


def probe(learner: Learner, batch: Batch, reach: float = 1e-3) -> dict[str, object]:
    """Cosines over all shared parameters, and look-ahead affinity, for one batch: plain JSON.

    Costs T + 1 forward passes and T backward passes of the trunk for T tasks. The weights, running
    statistics and random states of the learner are unchanged afterwards.
    """
    with preserved_state(learner):
        directions = task_directions(learner, batch)
        return {
            "step": learner.state.step,
            "tasks": list(directions),
            "cosine": {"all": cosines(directions)},
            "ahead": look_ahead(learner, batch, directions, reach),
        }


@contextmanager
def preserved_state(learner: Learner) -> Iterator[None]:
    """Training mode inside; buffers and mode are restored afterwards."""
    mode, memory = learner.model.training, Memory(learner.model)
    learner.train_mode()
    try:
        yield
    finally:
        learner.model.train(mode)
        memory.put_back()


def task_losses(learner: Learner, batch: Batch) -> tuple[dict[str, Tensor], Border]:
    """The loss of every labelled task, with the same dropout masks in every call; and the border of
    trunk and heads."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        parts, border, _ = forward(learner, batch)
    return {task: total_loss(own) for task, own in parts.items()}, border


def task_directions(learner: Learner, batch: Batch) -> dict[str, list[Tensor]]:
    """The gradient of each labelled task's loss on every shared parameter, scaled to length 1."""
    losses, border = task_losses(learner, batch)
    found = {}
    for task, loss in losses.items():
        grads = border.push(border.pull(loss, [])[0], keep_graph=True)
        length = get_total_norm(grads).clamp(min=1e-20)
        found[task] = [grad / length for grad in grads]
    return found


def cosines(directions: Mapping[str, Sequence[Tensor]]) -> Matrix:
    """Cosine between the gradients of every two tasks."""
    flat = {
        task: torch.cat([part.flatten() for part in parts]).double()
        for task, parts in directions.items()
    }
    return {a: {b: float(flat[a] @ flat[b]) for b in flat} for a in flat}


def look_ahead(
    learner: Learner, batch: Batch, directions: Mapping[str, Sequence[Tensor]], reach: float
) -> Matrix:
    """Z(i -> j) for every two tasks, also i = j.

    A step has the length `reach` times the norm of the weights, so that Z does not depend on the
    scale of a loss.
    """
    before = _values(learner, batch)
    found: Matrix = {}
    size = reach * float(get_total_norm(learner.shared))
    for source, direction in directions.items():
        with moved(learner.shared, direction, -size):
            after = _values(learner, batch)
        found[source] = {
            task: 1 - after[task] / before[task] if before[task] else 0.0 for task in directions
        }
    return found


def _values(learner: Learner, batch: Batch) -> dict[str, float]:
    with torch.no_grad():
        losses, _ = task_losses(learner, batch)
    return {task: float(loss) for task, loss in losses.items()}


@contextmanager
def moved(
    parameters: Sequence[nn.Parameter], direction: Sequence[Tensor], size: float
) -> Iterator[None]:
    """Parameters moved by `size` along `direction` inside; restored exactly afterwards."""
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        with torch.no_grad():
            for parameter, part in zip(parameters, direction, strict=True):
                parameter.add_(part, alpha=size)
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)


def mean_matrix(probes: Sequence[Ahead]) -> Matrix:
    """The mean of every entry over probes of the same tasks."""
    return {
        source: {
            target: statistics.fmean(probe[source][target] for probe in probes)
            for target in targets
        }
        for source, targets in probes[0].items()
    }


def partitions(tasks: Sequence[str], most: int) -> Iterator[list[list[str]]]:
    """Every way to split the tasks into at most `most` groups, each in the order of `tasks`."""
    if not tasks:
        yield []
        return
    first, rest = tasks[0], tasks[1:]
    for smaller in partitions(rest, most):
        for index in range(len(smaller)):
            yield [*smaller[:index], [first, *smaller[index]], *smaller[index + 1 :]]
        if len(smaller) < most:
            yield [[first], *smaller]


def best_groups(tasks: Sequence[str], ahead: Ahead, most: int = 0) -> Groups:
    """The partition with the highest mean affinity; `most` groups, 0 for any number.

    All partitions are tried: 877 for seven tasks. Raises UserError for more than ten tasks.
    """
    if len(tasks) > 10:
        raise UserError(f"{len(tasks)} tasks have too many groupings to try all; name at most 10")

    def rank(groups: Sequence[Sequence[str]]) -> tuple[float, int]:
        # Of equal affinities the one with fewer networks: it costs less.
        return round(received(groups, ahead), 12), -len(groups)

    best = max(partitions(tasks, most or len(tasks)), key=rank)
    return tuple(sorted(map(tuple, best), key=lambda group: tasks.index(group[0])))


def received(groups: Sequence[Sequence[str]], ahead: Ahead) -> float:
    """The mean affinity onto the tasks of a partition.

    That onto one task is the mean over the others in its group, as in TAG, and 0 for a task alone.
    """
    onto = [
        statistics.fmean([ahead[other][task] for other in group if other != task] or [0.0])
        for group in groups
        for task in group
    ]
    return statistics.fmean(onto or [0.0])


def text_of(groups: Groups) -> str:
    """a+b | c."""
    return " | ".join("+".join(group) for group in groups)
