"""Affinity of tasks in the shared trunk: cosines between their gradients, and look-ahead affinity.

Look-ahead affinity (TAG, Fifty et al., NeurIPS 2021, eq. 1): how much a step of the shared
parameters along the gradient of task i lowers the loss of task j,
Z(i -> j) = 1 - L_j(after) / L_j(before).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from perception.tasks.base import total_loss
from training.balance import Border
from training.data.sample import Batch
from training.learner import Learner
from training.loop import forward
from training.nonfinite import Memory

Matrix = dict[str, dict[str, float]]
Sources = tuple[str, ...]


def probe(learner: Learner, batch: Batch, reach: float = 1e-3) -> dict[str, object]:
    """Cosines, and look-ahead affinity of single tasks and of pairs, for one batch.

    The result is plain JSON. Costs T + T(T-1)/2 forward passes for T tasks. The weights, running
    statistics and random states of the learner are unchanged afterwards.
    """
    with preserved_state(learner):
        gradients = task_gradients(learner, batch)
        tasks = list(gradients)
        moves: list[Sources] = [(task,) for task in tasks]
        if len(tasks) > 2:
            moves += list(combinations(tasks, 2))
        ahead = look_ahead(learner, batch, gradients, moves, reach)
        return {
            "step": learner.state.step,
            "tasks": tasks,
            "cosine": {"all": cosines(gradients)},  # over all shared parameters
            "ahead": {"+".join(sources): found for sources, found in ahead.items()},
        }


@contextmanager
def preserved_state(learner: Learner) -> Iterator[None]:
    """Training mode inside; buffers, mode and random states are restored afterwards."""
    mode, memory = learner.model.training, Memory(learner.model)
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
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


def task_gradients(learner: Learner, batch: Batch) -> dict[str, list[Tensor]]:
    """The gradient of each labelled task's loss on every shared parameter."""
    losses, border = task_losses(learner, batch)
    return {
        task: border.push(border.pull(loss, [])[0], keep_graph=True)
        for task, loss in losses.items()
    }


def cosines(gradients: Mapping[str, Sequence[Tensor]]) -> Matrix:
    """Cosine between the gradients of every two tasks."""
    unit = {
        task: torch.cat([part.flatten() for part in _direction([grads])]).double()
        for task, grads in gradients.items()
    }
    return {a: {b: float(unit[a] @ unit[b]) for b in unit} for a in unit}


def look_ahead(
    learner: Learner,
    batch: Batch,
    gradients: Mapping[str, Sequence[Tensor]],
    moves: Sequence[Sources],
    reach: float,
) -> dict[Sources, dict[str, float]]:
    """Z(sources -> task) for each of the moves and every task, the sources included.

    A move follows the sum of its sources' gradients, each normalised to unit length, and has the
    length `reach` times the norm of the weights, so that Z does not depend on the scale of a loss.
    """
    before = _values(learner, batch)
    found = {}
    for sources in moves:
        direction = _direction([gradients[task] for task in sources])
        size = reach * float(get_total_norm(learner.shared))
        with moved(learner.shared, direction, -size):
            after = _values(learner, batch)
        found[sources] = {
            task: 1 - after[task] / before[task] if before[task] else 0.0 for task in gradients
        }
    return found


def _values(learner: Learner, batch: Batch) -> dict[str, float]:
    with torch.no_grad():
        losses, _ = task_losses(learner, batch)
    return {task: float(loss) for task, loss in losses.items()}


def _direction(gradients: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Unit vector along the sum of the unit gradients."""
    units = []
    for grads in gradients:
        length = get_total_norm(grads).clamp(min=1e-20)
        units.append([grad / length for grad in grads])
    summed = [torch.stack(parts).sum(0) for parts in zip(*units, strict=True)]
    length = get_total_norm(summed).clamp(min=1e-20)
    return [part / length for part in summed]


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
