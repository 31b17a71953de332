"""The balancer interface: `balance.backward(losses, border)` puts gradients on the parameters.

Two families. `Scalarised`: losses to one scalar, whose gradient weights the tasks. `Aggregated`:
the tasks' gradients on the shared parameters to one gradient.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torchjd.aggregation import Aggregator
from torchjd.scalarization import Scalarizer

from perception.errors import UserError
from training.balance.border import Border, accumulate, split_like

Losses = Mapping[str, Tensor]
Weights = dict[str, float]


class Balancer(nn.Module, ABC):
    """Decides how the tasks share the trunk. State is kept in buffers, so that it is resumed.

    `losses` holds a scalar loss of each task that has labels in the batch; other tasks are left out
    of the step. With several ranks it is this rank's share of the loss, and `values` the losses of
    the joint batch, the same on all ranks: gradients are summed over ranks (`border.reduce`).
    """

    steps: Tensor

    def __init__(self, tasks: Sequence[str], seed: int = 0) -> None:
        super().__init__()
        self.tasks, self.seed = tuple(tasks), seed
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @abstractmethod
    def backward(
        self, losses: Losses, border: Border, values: Mapping[str, float] | None = None
    ) -> Weights:
        """Adds to `.grad` of shared, head and own parameters; returns the weights for the log.

        `values` are the numbers of `losses` where absent.
        """

    def after_step(self, losses_again: Callable[[], Mapping[str, float]]) -> None:
        """Called after the optimiser. `losses_again()` runs the same batch once more and returns
        the joint losses of the present tasks; most methods do not call it."""

    def end_epoch(self) -> None:
        """Called after each epoch."""

    def index(self, present: Sequence[str]) -> Tensor:
        """Positions of the present tasks among all, for state kept as one vector."""
        return torch.tensor([self.tasks.index(task) for task in present])

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Random numbers from (seed, step): the same on every rank and after a resume."""
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.seed * 1_000_003 + int(self.steps))
            yield
        self.steps += 1


class Scalarised(Balancer):
    """Losses to one scalar; its derivative by a task's loss is the weight of the task."""

    @abstractmethod
    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        """The scalar of the joint batch's losses `values` (T,), in the order of `present`."""

    def backward(
        self, losses: Losses, border: Border, values: Mapping[str, float] | None = None
    ) -> Weights:
        names = list(losses)
        joint = numbers(losses, values).requires_grad_()
        with self.seeded():
            self.scalar(joint, names).backward()  # own parameters of present tasks get theirs too
        weights = cast(Tensor, joint.grad)
        plain_backward(losses, weights, border)
        return dict(zip(names, weights.tolist(), strict=True))


class Plain(Scalarised):
    """A scalarizer of torchjd without state, on losses of at least `smallest`."""

    def __init__(
        self,
        make: Callable[[], Scalarizer],
        tasks: Sequence[str],
        seed: int = 0,
        smallest: float = -math.inf,
    ) -> None:
        super().__init__(tasks, seed)
        self.method, self.smallest = make(), smallest

    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        return self.method(values.clamp(min=self.smallest))


class PerTask(Scalarised):
    """A scalarizer of torchjd with a learned number, one per task: that of an absent task receives
    no gradient."""

    def __init__(
        self, make: Callable[[tuple[int, ...]], Scalarizer], tasks: Sequence[str], seed: int = 0
    ) -> None:
        super().__init__(tasks, seed)
        self.methods = nn.ModuleDict({task: make(()) for task in tasks})

    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        terms = [self.methods[task](values[row]) for row, task in enumerate(present)]
        return torch.stack(terms).sum()


class Aggregated(Balancer):
    """The tasks' gradients on the shared parameters, one row per task, to one gradient.

    Each head belongs to one task and receives its plain gradient. With `at_features` the rows are
    the gradients at the neck's outputs, and their aggregate is pushed through the trunk once, with
    one backward pass instead of one per task: an upper bound of the exact problem (Sener and Koltun
    2018, arXiv 1810.04650, section 3.3). One rank only: ranks have different features.
    `make` gives the torchjd aggregator; UserError where its solver is not installed.
    """

    at_features: bool = False

    def __init__(self, make: Callable[[], Aggregator], tasks: Sequence[str], seed: int = 0) -> None:
        super().__init__(tasks, seed)
        try:
            self.method = make()
        except ImportError as error:
            raise UserError(
                f"this balancing method needs a solver: pip install 'pvt-hydranet[mtl-full]' "
                f"({error})"
            ) from None

    def aggregate(self, matrix: Tensor, present: Sequence[str]) -> Tensor:
        """(T, P) to (P,), rows in the order of `present`."""
        return self.method(matrix)

    def scale(self, values: Tensor, present: Sequence[str]) -> Tensor:
        """Weights (T,) of the losses before their gradients are taken; ones by default."""
        return torch.ones_like(values)

    def backward(
        self, losses: Losses, border: Border, values: Mapping[str, float] | None = None
    ) -> Weights:
        names = list(losses)
        scales = self.scale(numbers(losses, values), names)
        rows: list[Tensor] = []
        on_heads: list[Tensor] = []
        for number, task in enumerate(names):
            weighted = losses[task] * scales[number].to(losses[task].device)
            at_leaves, on_head = border.pull(weighted, [task])
            on_heads += on_head
            if border.shared:
                more = number + 1 < len(names)
                row = at_leaves if self.at_features else border.push(at_leaves, keep_graph=more)
                # The neck computes in bf16 under autocast; solvers need more.
                rows.append(torch.cat([grad.flatten().float() for grad in row]))
        on_heads = border.reduced(on_heads)
        accumulate([p for task in names for p in border.heads[task]], on_heads)
        if rows:
            accumulate(border.shared, self._on_shared(torch.stack(rows), border, names))
        return dict(zip(names, scales.tolist(), strict=True))

    def _on_shared(self, matrix: Tensor, border: Border, names: Sequence[str]) -> list[Tensor]:
        """The aggregate of the tasks' gradients (T, P), on the shared parameters."""
        border.reduce(matrix)
        with self.seeded():
            # Solvers fail on products that are not finite; NaN makes the loop skip the step.
            sizes = torch.linalg.vector_norm(matrix, dim=1)
            fit = bool(sizes.square().isfinite().all())
            vector = self.aggregate(matrix, names) if fit else matrix[0] * torch.nan
        if self.at_features:
            pulled = zip(split_like(vector, border.leaves), border.leaves, strict=True)
            return border.push([grad.to(leaf.dtype) for grad, leaf in pulled])
        return split_like(vector, border.shared)


def numbers(losses: Losses, values: Mapping[str, float] | None = None) -> Tensor:
    """The losses' values (T,), on the CPU where the methods' state is."""
    if values is not None:
        return torch.tensor([values[task] for task in losses])
    return torch.stack([loss.detach().float() for loss in losses.values()]).cpu()


def plain_backward(losses: Losses, weights: Tensor, border: Border) -> None:
    """The gradient of the weighted sum of losses, on shared and head parameters."""
    parts = [
        loss * weight.to(loss.device) for loss, weight in zip(losses.values(), weights, strict=True)
    ]
    at_leaves, on_heads = border.pull(torch.stack(parts).sum(), list(losses))
    accumulate_all(border, list(losses), at_leaves, on_heads)


def accumulate_all(
    border: Border, tasks: Sequence[str], at_leaves: Sequence[Tensor], on_heads: Sequence[Tensor]
) -> None:
    """Adds gradients at the leaves, pushed through the trunk, and those on the tasks' heads to
    `.grad`, in one message."""
    grads = border.reduced([*border.push(at_leaves), *on_heads])
    accumulate([*border.shared, *border.head_parameters(tasks)], grads)
