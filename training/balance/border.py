"""The border between the shared trunk and the heads, where the tasks' gradients are separate.

Heads read detached copies (`leaves`) of the neck's outputs. A task's gradient at the leaves is
pushed through the trunk once for a weighted sum of losses, or once per task for methods that
compare the tasks' gradients.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


def alone(tensor: Tensor) -> None:
    """The sum over one process: does nothing."""


@dataclass
class Border:
    """The border of one step, at the neck's `outputs`; with a frozen trunk `shared` is empty.

    `reduce` sums a tensor over the ranks in place.
    """

    outputs: Sequence[Tensor]  # with their graph
    shared: list[nn.Parameter]  # trained parameters behind the outputs
    heads: Mapping[str, list[nn.Parameter]]  # trained parameters of each task's head
    reduce: Callable[[Tensor], object] = alone
    leaves: list[Tensor] = field(init=False)  # values of the outputs, for the heads to read

    def __post_init__(self) -> None:
        self.leaves = [out.detach().requires_grad_(bool(self.shared)) for out in self.outputs]

    def pull(self, loss: Tensor, tasks: Sequence[str]) -> tuple[list[Tensor], list[Tensor]]:
        """Gradients of `loss` at the leaves and on the parameters of the heads of `tasks`."""
        parameters = self.head_parameters(tasks)
        leaves = self.leaves if self.shared else []
        inputs = [*leaves, *parameters]
        grads = gradients(loss, inputs)
        return grads[: len(leaves)], grads[len(leaves) :]

    def push(self, at_leaves: Sequence[Tensor], keep_graph: bool = False) -> list[Tensor]:
        """Gradients on the shared parameters, given the gradients at the leaves."""
        if not self.shared:
            return []
        outputs, leaves = list(self.outputs), list(at_leaves)
        return list(
            torch.autograd.grad(outputs, self.shared, leaves, keep_graph, materialize_grads=True)
        )

    def head_parameters(self, tasks: Sequence[str]) -> list[nn.Parameter]:
        """Parameters of these heads, each once."""
        return list(dict.fromkeys(p for task in tasks for p in self.heads[task]))

    def reduced(self, grads: Sequence[Tensor]) -> list[Tensor]:
        """The gradients summed over the ranks, in one message."""
        if not grads or self.reduce is alone:
            return list(grads)
        flat = torch.cat([grad.flatten() for grad in grads])
        self.reduce(flat)
        return split_like(flat, grads)


def gradients(loss: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """d loss / d inputs; zeros where the loss does not depend on an input."""
    if not inputs or not loss.requires_grad:
        return [torch.zeros_like(tensor) for tensor in inputs]
    return list(torch.autograd.grad(loss, inputs, retain_graph=True, materialize_grads=True))


def split_like(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """A flat vector cut into the shapes of `like`."""
    parts = flat.split([tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]


def accumulate(parameters: Sequence[nn.Parameter], grads: Sequence[Tensor]) -> None:
    """Adds gradients to the parameters' `.grad`."""
    for parameter, grad in zip(parameters, grads, strict=True):
        if grad.stride() != parameter.stride():  # fused AdamW on CUDA needs the same layout
            grad = torch.empty_like(parameter).copy_(grad)
        parameter.grad = grad if parameter.grad is None else parameter.grad + grad
