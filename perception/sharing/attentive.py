"""Attentive single-tasking (Maninis et al., CVPR 2019): every task runs the trunk by itself and
modulates each of its residual blocks, with attention over channels and an adapter of its own.

Departures: the adapter acts on the result of the residual branch, not in parallel with its 3x3
convolution, which only some trunks have. The adversarial loss on the gradients is left out: it
needs a second derivative in every training step.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from perception.errors import UserError
from perception.sharing.passes import Part, Passes
from perception.trunk import Trunk


class Modulation(nn.Module):
    """SE(b + A b) of a residual branch's output b, channels at `axis`.

    A is a 1x1 convolution. SE multiplies each channel by a factor in 0..2 that is computed from the
    means of all channels. At the start A is zero and the factors are one: hard sharing.
    """

    def __init__(self, channels: int, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.adapter = nn.Linear(channels, channels, bias=False)
        hidden = max(channels // 4, 4)
        self.squeeze, self.excite = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        for weight in (self.adapter.weight, self.excite.weight, self.excite.bias):
            nn.init.zeros_(weight)

    def forward(self, branch: Tensor) -> Tensor:
        x = branch.movedim(self.axis, -1)  # (B, ..., C)
        x = x + self.adapter(x)
        means = x.flatten(1, -2).mean(1)  # (B, C)
        factors = 2 * torch.sigmoid(self.excite(torch.relu(self.squeeze(means))))
        return (x * factors.view(len(x), *[1] * (x.ndim - 2), -1)).movedim(-1, self.axis)


class Modulated(Part):
    """A modulation for every residual branch of the trunk."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__(trunk)
        found = branches(trunk)
        self.names = list(found)
        self.modulations = nn.ModuleList(Modulation(*form) for form in found.values())

    def hooks(self, trunk: Trunk) -> list[RemovableHandle]:
        return [
            trunk.get_submodule(name).register_forward_hook(partial(modulated, modulation))
            for name, modulation in zip(self.names, self.modulations, strict=True)
        ]


def modulated(modulation: nn.Module, module: nn.Module, inputs: object, output: Tensor) -> Tensor:
    """Forward hook at the end of a branch."""
    return modulation(output)


@torch.no_grad()
def branches(trunk: Trunk) -> dict[str, tuple[int, int]]:
    """Name of the module at the end of each residual branch -> (channels, their axis).

    timm ends every branch with stochastic depth, or an identity in its place. Found in a pass of a
    small frame. Raises UserError for a trunk without such modules.
    """
    outputs: dict[str, Tensor] = {}

    def note(name: str, module: nn.Module, inputs: object, output: Tensor) -> None:
        outputs[name] = output

    handles = [
        module.register_forward_hook(partial(note, name))
        for name, module in trunk.named_modules()
        if "drop_path" in name.rpartition(".")[2]
    ]
    mode = trunk.training
    first = trunk.eval().body(torch.zeros(1, 3, 64, 64))[0]
    trunk.train(mode)
    for handle in handles:
        handle.remove()
    if not outputs:
        raise UserError(f"attentive does not support the trunk {trunk.name!r}: no residual blocks")
    last = first.shape[1] != trunk.channels[0]  # maps are (B, H, W, C); tokens always are (B, N, C)
    axes = {name: -1 if last or x.ndim == 3 else 1 for name, x in outputs.items()}
    return {name: (outputs[name].shape[axis], axis) for name, axis in axes.items()}


class Attentive(Passes):
    """Maps of every task from a pass that its own modulations change."""

    part = Modulated
