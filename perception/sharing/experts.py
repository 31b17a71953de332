"""Mixture of experts with a gate per task, after M3ViT (Liang et al., NeurIPS 2022): in every MLP
of the trunk the gate of the task chooses some of the experts for each token.

For trunks of transformer blocks (PVT v2, Swin). Departures: the experts are equal parts of the
hidden units of the MLP that is there, so pretrained weights stay in use and no parameters but those
of the gates are added; and experts are kept in equal use not by a loss, but by a bias on
their choice that rises while they are used less than the others (Wang et al., 2024,
arXiv 2408.15664). All experts are computed, so this saves no time.
"""

from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from perception.errors import UserError
from perception.sharing.passes import Part, Passes
from perception.trunk import Trunk

EXPERTS: Final = 8
CHOSEN: Final = 4  # per token
BIAS_STEP: Final = 1e-3  # of the bias, per training step


class Gate(nn.Module):
    """Tokens (..., C) -> the weight of every expert (..., E): a softmax over the chosen ones, times
    their number, and 0 for the others."""

    bias: Tensor

    def __init__(self, channels: int, experts: int = EXPERTS, chosen: int = CHOSEN) -> None:
        super().__init__()
        self.chosen = chosen
        self.scores = nn.Linear(channels, experts, bias=False)
        nn.init.normal_(self.scores.weight, std=0.02)
        self.register_buffer("bias", torch.zeros(experts))

    def forward(self, tokens: Tensor) -> Tensor:
        scores = self.scores(tokens).float()
        best = (scores.detach() + self.bias).topk(self.chosen, -1).indices
        used = torch.zeros_like(scores).scatter(-1, best, 1.0)
        if self.training:
            load = used.flatten(0, -2).mean(0)  # share of the tokens that use each expert
            self.bias += BIAS_STEP * torch.sign(load.mean() - load)
        weights = scores.masked_fill(used == 0, -torch.inf).softmax(-1)
        return (self.chosen * weights).to(tokens.dtype)


class Gated(Part):
    """A gate for every MLP of the trunk."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__(trunk)
        found = {name: fc1.in_features for name, fc1 in mlps(trunk).items()}
        if not found:
            raise UserError(f"experts does not support the trunk {trunk.name!r}: it has no MLPs")
        self.names = list(found)
        self.gates = nn.ModuleList(Gate(channels) for channels in found.values())

    def hooks(self, trunk: Trunk) -> list[RemovableHandle]:
        return [
            handle
            for name, gate in zip(self.names, self.gates, strict=True)
            for handle in gate_hidden_units(trunk.get_submodule(name), cast(Gate, gate))
        ]


def mlps(trunk: Trunk) -> dict[str, nn.Linear]:
    """Name of each MLP of a transformer block -> its first layer."""
    return {
        name: module.fc1
        for name, module in trunk.named_modules()
        if name.endswith(".mlp") and isinstance(getattr(module, "fc1", None), nn.Linear)
    }


class Weights:
    """The weights of an MLP's experts, from the MLP's inputs to those of its second layer."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.values = torch.empty(0)

    def choose(self, mlp: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Forward pre-hook of the MLP."""
        self.values = self.gate(inputs[0])

    def apply(self, layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        """Forward pre-hook of its second layer: hidden units (..., H) times the weight of their
        expert."""
        hidden = inputs[0].unflatten(-1, (self.values.shape[-1], -1))  # (..., E, H/E)
        return ((hidden * self.values[..., None].to(hidden.dtype)).flatten(-2),)


def gate_hidden_units(mlp: nn.Module, gate: Gate) -> list[RemovableHandle]:
    """Adds the gate to an MLP."""
    weights = Weights(gate)
    second = cast(nn.Module, mlp.fc2)
    return [
        mlp.register_forward_pre_hook(weights.choose),
        second.register_forward_pre_hook(weights.apply),
    ]


class TaskExperts(Passes):
    """Maps of every task from a pass in which its own gates choose experts."""

    part = Gated
