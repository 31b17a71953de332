"""Contract 4: `balance.backward(losses, border)` puts gradients on the parameters.

Two families. `Scalarised`: losses to one scalar, its gradient weighs the tasks. `Aggregated`:
the tasks' gradients on the shared parameters to one gradient.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torchjd.aggregation import Aggregator

from perception.errors import UserError
from training.balance.border import Border, accumulate, split_like

Losses = Mapping[str, Tensor]
Weights = dict[str, float]


class Balancer(nn.Module, ABC):
    """Decides how the tasks share the trunk. State lives in buffers, so that it is resumed.

    `losses` holds the scalar loss of each task that has labels in the batch; the others take no
    part in the step, whatever the method remembers of them. Under several ranks each loss is the
    joint batch's, the same on all, and reaches this rank's rows only: the gradients' sum over the
    ranks (`border.reduce`) is the joint batch's gradient.
    """

    steps: Tensor

    def __init__(self, tasks: Sequence[str], seed: int = 0) -> None:
        super().__init__()
        self.tasks, self.seed = tuple(tasks), seed
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @abstractmethod
    def backward(self, losses: Losses, border: Border) -> Weights:
        """Adds to `.grad` of shared, head and own parameters; returns the weights for the log."""

    def after_step(self, losses_again: Callable[[], Mapping[str, float]]) -> None:
        """Called after the optimiser. `losses_again()` runs the same batch once more and gives the
        joint losses of the present tasks; most methods do not ask."""

    def end_epoch(self) -> None:
        """Called after each epoch."""

    def index(self, present: Sequence[str]) -> Tensor:
        """Positions of the present tasks among all, for state kept as one vector."""
        return torch.tensor([self.tasks.index(task) for task in present])

    @contextmanager
    def dice(self) -> Iterator[None]:
        """Random numbers by (seed, step): the same on every rank and after a resume."""
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.seed * 1_000_003 + int(self.steps))
            yield
        self.steps += 1


class Scalarised(Balancer):
    """Losses to one scalar. The scalar's gradient at the losses is the weight of each task."""

    @abstractmethod
    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        """The scalar of the joint batch's losses `values` (T,), in the order of `present`."""

    def backward(self, losses: Losses, border: Border) -> Weights:
        names = list(losses)
        values = numbers(losses).requires_grad_()
        with self.dice():
            scalar = self.scalar(values, names)
        own = [parameter for parameter in self.parameters() if parameter.requires_grad]
        weights, *own_grads = torch.autograd.grad(scalar, [values, *own], allow_unused=True)
        for parameter, grad in zip(own, own_grads, strict=True):
            if grad is not None:  # a parameter of an absent task has none, and stays as it is
                accumulate([parameter], [grad])
        plain_backward(losses, weights, border)
        return dict(zip(names, weights.tolist(), strict=True))


class Aggregated(Balancer):
    """The tasks' gradients on the shared parameters, one row a task, to one gradient.

    The heads belong to one task each and receive its plain gradient. With `at_features` the rows
    are the gradients at the neck's outputs and what comes of them is pushed through the trunk once,
    with one backward pass in place of one a task: an upper bound of the exact problem (Sener and
    Koltun 2018, arXiv 1810.04650, section 3.3). One rank only: each has features of its own.
    """

    at_features: bool = False

    def __init__(self, tasks: Sequence[str], seed: int = 0) -> None:
        super().__init__(tasks, seed)
        try:
            self.method = self.make()
        except ImportError as error:
            raise UserError(
                f"this balancing method needs a solver: pip install 'pvt-hydranet[mtl-full]' "
                f"({error})"
            ) from None

    @abstractmethod
    def make(self) -> Aggregator:
        """The torchjd aggregator. Raises ImportError where its solver is not installed."""

    def aggregate(self, matrix: Tensor, present: Sequence[str]) -> Tensor:
        """(T, P) to (P,), rows in the order of `present`."""
        return self.method(matrix)

    def scale(self, values: Tensor, present: Sequence[str]) -> Tensor:
        """Weights (T,) of the losses before their gradients are taken; ones by default."""
        return torch.ones_like(values)

    def backward(self, losses: Losses, border: Border) -> Weights:
        names = list(losses)
        scales = self.scale(numbers(losses), names)
        rows: list[Tensor] = []
        for number, task in enumerate(names):
            weighted = losses[task] * scales[number].to(losses[task].device)
            at_leaves, on_head = border.pull(weighted, [task])
            accumulate(border.heads[task], border.reduced(on_head))
            if border.shared:
                more = number + 1 < len(names)
                row = at_leaves if self.at_features else border.push(at_leaves, keep_graph=more)
                # The neck computes in bf16 under autocast; solvers need more.
                rows.append(torch.cat([grad.flatten().float() for grad in row]))
        if rows:
            matrix = torch.stack(rows)  # (T, P)
            border.reduce(matrix)
            with self.dice():
                # Solvers fall over products that are not finite; NaN has the step left out.
                sizes = torch.linalg.vector_norm(matrix, dim=1)
                fit = bool(sizes.square().isfinite().all())
                vector = self.aggregate(matrix, names) if fit else matrix[0] * torch.nan
            if self.at_features:
                pulled = zip(split_like(vector, border.leaves), border.leaves, strict=True)
                grads = border.push([grad.to(leaf.dtype) for grad, leaf in pulled])
            else:
                grads = split_like(vector, border.shared)
            accumulate(border.shared, grads)
        return dict(zip(names, scales.tolist(), strict=True))


def numbers(losses: Losses) -> Tensor:
    """The losses' values (T,), on the CPU where the methods' state lives."""
    return torch.stack([loss.detach().float() for loss in losses.values()]).cpu()


def plain_backward(losses: Losses, weights: Tensor, border: Border) -> None:
    """The gradient of the weighted sum of losses, on shared and head parameters."""
    parts = [
        loss * weight.to(loss.device) for loss, weight in zip(losses.values(), weights, strict=True)
    ]
    at_leaves, on_heads = border.pull(torch.stack(parts).sum(), list(losses))
    grads = border.reduced([*border.push(at_leaves), *on_heads])
    accumulate([*border.shared, *border.head_parameters(list(losses))], grads)
