"""Sparse sharing (Sun et al., AAAI 2020, "Learning Sparse Sharing Architectures for Multiple
Tasks"): every task uses its own part of one trunk's weights.

The parts are found by iterative magnitude pruning, one task at a time and always from the same
initial weights (`iterative_pruning`, Algorithm 1 of the paper). Then all tasks train together from
these weights, each with its mask. The trunk is the paper's base network: neck and heads are not
pruned, nor are norms and biases.
"""

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor

from perception.errors import UserError
from perception.sharing.passes import Part, Passes
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


class Masked(Part):
    """A mask for each matrix and kernel, in addition to running statistics."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__(trunk)
        names = [name for name, weight in trunk.named_parameters() if weight.ndim > 1]
        self.masked = {name: name.replace(".", "-") for name in names}
        for name, own in self.masked.items():
            mask = torch.ones_like(trunk.get_parameter(name), dtype=torch.bool)
            self.register_buffer(own, mask)

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
        return weights | super().tensors(trunk)


class Sparse(Passes):
    """Every task's pass has the weights that its mask selects.

    Masks are part of the checkpoint. Raises UserError in training with several tasks before any
    weight is pruned: that would be hard sharing at several times its cost.
    """

    part = Masked

    def forward(self, image: Tensor) -> list[Tensor]:
        if self.training and len(self.parts) > 1 and not cast(Masked, self.parts[0]).pruned():
            raise UserError(
                "--sharing sparse: no weight is pruned yet; `study-mtl sharing --sharings sparse` "
                "finds the masks, and its train-bdd command has --init with them"
            )
        return super().forward(image)

    def unused(self) -> int:
        """Number of weights that no task uses."""
        masks = [cast(Masked, part).masks() for part in self.parts]
        return sum(
            int((~torch.stack([own[name] for own in masks]).any(0)).sum()) for name in masks[0]
        )
