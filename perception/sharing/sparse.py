"""Sparse sharing (Sun et al., AAAI 2020, "Learning Sparse Sharing Architectures for Multiple
Tasks"): every task uses its own part of one trunk's weights.

The parts are found by iterative magnitude pruning, one task at a time and always from the same
initial weights (`iterative_pruning`, Algorithm 1 of the paper). Then all tasks train together from
these weights, each with its mask. The trunk is the paper's base network: neck and heads are not
pruned, nor are norms and biases.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from perception.errors import UserError
from perception.trunk import Trunk

Masks = Mapping[str, Tensor]
"""Name of a matrix or kernel -> bool tensor of its shape, True: used."""


@torch.no_grad()
def prune(weights: Mapping[str, Tensor], masks: Masks, share: float) -> Masks:
    """The masks without the `share` of the used weights that is smallest in magnitude, counted over
    all tensors together."""
    used = torch.cat([weights[name].abs()[mask] for name, mask in masks.items()])
    out = round(share * used.numel())
    limit = used.kthvalue(out).values if out else used.new_tensor(-1.0)
    return {name: mask & (weights[name].abs() > limit) for name, mask in masks.items()}


def iterative_pruning(
    train: Callable[[Masks], Mapping[str, Tensor]], masks: Masks, share: float, rounds: int
) -> Masks:
    """One task's masks. In each round `train(masks)` trains from the initial weights and returns
    the trained ones, of which `share` is pruned: (1 - share) ** rounds of the weights are left."""
    for _ in range(rounds):
        masks = prune(train(masks), masks, share)
    return masks


class Part(nn.Module):
    """What one task has of its own: a mask for each matrix and kernel, and running statistics, as
    its maps differ from those of the other tasks."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        names = [name for name, weight in trunk.named_parameters() if weight.ndim > 1]
        own = {name: torch.ones_like(trunk.get_parameter(name), dtype=torch.bool) for name in names}
        self.masked = {name: name.replace(".", "-") for name in names}
        statistics = dict(trunk.named_buffers())
        self.counted = {name: "of-" + name.replace(".", "-") for name in statistics}
        for name, mask in own.items():
            self.register_buffer(self.masked[name], mask)
        for name, buffer in statistics.items():
            self.register_buffer(self.counted[name], buffer.clone())

    def masks(self) -> dict[str, Tensor]:
        """The mask of each matrix and kernel."""
        return {name: self.get_buffer(own) for name, own in self.masked.items()}

    def pruned(self) -> bool:
        """Whether any weight is left out."""
        return not all(bool(mask.all()) for mask in self.masks().values())

    @torch.no_grad()
    def set_masks(self, masks: Masks) -> None:
        """Replaces the masks."""
        for name, mask in masks.items():
            self.get_buffer(self.masked[name]).copy_(mask)

    def tensors(self, trunk: Trunk) -> dict[str, Tensor]:
        """The trunk's weights with those of other tasks set to zero, and this task's statistics."""
        weights = {name: trunk.get_parameter(name) * mask for name, mask in self.masks().items()}
        return weights | {name: self.get_buffer(own) for name, own in self.counted.items()}


class Sparse(nn.Module):
    """One pass of the trunk per task, with the weights that the task's mask selects.

    Masks are part of the checkpoint. Raises UserError in training with several tasks before any
    weight is pruned: that would be hard sharing at several times its cost.
    """

    def __init__(self, make_trunk: Callable[[], Trunk], tasks: int) -> None:
        super().__init__()
        self.trunk = make_trunk()
        self.channels, self.strides = self.trunk.channels, self.trunk.strides
        self.parts = nn.ModuleList(Part(self.trunk) for _ in range(tasks))

    def forward(self, image: Tensor) -> list[Tensor]:
        parts = [cast(Part, part) for part in self.parts]
        if self.training and len(parts) > 1 and not parts[0].pruned():
            raise UserError(
                "--sharing sparse: no weight is pruned yet; `study-mtl sharing --sharings sparse` "
                "finds the masks, and its train-bdd command has --init with them"
            )
        return [
            feature
            for part in parts
            for feature in functional_call(self.trunk, part.tensors(self.trunk), (image,))
        ]

    def unused(self) -> int:
        """Number of weights that no task uses."""
        masks = [cast(Part, part).masks() for part in self.parts]
        return sum(
            int((~torch.stack([own[name] for own in masks]).any(0)).sum()) for name in masks[0]
        )

    @torch.no_grad()
    def unfolded(self) -> "Unfolded":
        """The same network with a separate trunk of final weights per task, for export."""
        trunks = [copy.deepcopy(self.trunk) for _ in self.parts]
        for trunk, part in zip(trunks, self.parts, strict=True):
            trunk.load_state_dict(cast(Part, part).tensors(self.trunk), strict=False)
        return Unfolded(trunks)


class Unfolded(nn.Module):
    """One trunk per task."""

    def __init__(self, trunks: Sequence[Trunk]) -> None:
        super().__init__()
        self.trunks = nn.ModuleList(trunks)

    def forward(self, image: Tensor) -> list[Tensor]:
        return [feature for trunk in self.trunks for feature in trunk(image)]
