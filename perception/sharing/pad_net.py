"""PAD-Net (Xu et al., CVPR 2018): intermediate predictions of every task, and their features
distilled across tasks by gated attention (the paper's module C).

Departures: the outputs of boxes, masks and labels have no common shape, so the features that an
intermediate prediction is made of are distilled in its place, as in the survey's implementation
(Vandenhende et al., TPAMI 2021). This happens on all four maps of the neck. Convolutions of
messages and attention are 1x1 instead of 3x3.
"""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Final, cast

import torch
from torch import Tensor, nn

from perception.layers import SeparableBlock
from perception.tasks.base import LossPart, Raw, Target, Task
from perception.trunk import STRIDES

INITIAL: Final = "initial_"  # prefix of the raw outputs and loss terms of intermediate predictions


class Distillation(nn.Module):
    """F_k + G_k * sum over t != k of W_t F_t, with G_k = sigmoid(W_g F_k): one task k, one map."""

    def __init__(self, channels: int, others: int) -> None:
        super().__init__()
        self.attention = nn.Conv2d(channels, channels, 1)
        # One convolution of the concatenated maps is the sum of one convolution of each.
        self.message = nn.Conv2d(max(others, 1) * channels, channels, 1)

    def forward(self, own: Tensor, others: Sequence[Tensor]) -> Tensor:
        if not others:
            return own
        return own + torch.sigmoid(self.attention(own)) * self.message(torch.cat([*others], 1))


class PADNet(nn.Module):
    """The shared neck, then for each task four distilled maps and four initial ones.

    Every head gets a copy, `head.initial`, that predicts from the initial maps; its loss is added
    to the head's. `unfolded` is the network without initial maps, for export.
    """

    def __init__(self, neck: nn.Module, heads: Sequence[Task]) -> None:
        super().__init__()
        self.neck, self.supervised = neck, True
        width, others = heads[0].channels, len(heads) - 1
        self.initial = nn.ModuleList(
            nn.ModuleList(SeparableBlock(width, width) for _ in STRIDES) for _ in heads
        )
        self.distil = nn.ModuleList(
            nn.ModuleList(Distillation(width, others) for _ in STRIDES) for _ in heads
        )
        for head in heads:
            supervise(head)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        initial = self.initial_maps(self.neck(features))
        found: list[Tensor] = []
        for task, levels in enumerate(self.distil):
            for level, distil in enumerate(cast(nn.ModuleList, levels)):
                others = [maps[level] for other, maps in enumerate(initial) if other != task]
                found.append(distil(initial[task][level], others))
            found += initial[task] if self.supervised else []
        return found

    def initial_maps(self, shared: Sequence[Tensor]) -> list[list[Tensor]]:
        """For each task four maps, which its intermediate prediction reads."""
        return [
            [block(x) for block, x in zip(cast(nn.ModuleList, blocks), shared, strict=True)]
            for blocks in self.initial
        ]

    def unfolded(self) -> "PADNet":
        """A copy without initial maps; heads then make no intermediate predictions."""
        found = copy.deepcopy(self)
        found.supervised = False
        return found


def supervise(head: Task) -> None:
    """Adds an intermediate prediction to a head, and its loss to the head's loss."""
    head.initial = copy.deepcopy(head)
    terms = head.loss_parts
    vars(head)["loss_parts"] = (*terms, *(INITIAL + term for term in terms))
    vars(head)["forward"] = partial(both_outputs, head)
    vars(head)["loss"] = partial(both_losses, head)


def both_outputs(head: Task, features: Sequence[Tensor]) -> Raw:
    """The head's outputs on the first four maps, and its copy's on the next four, if given."""
    levels = len(STRIDES)
    raw = type(head).forward(head, features[:levels])
    first = cast(Task, head.initial)(features[levels:]) if len(features) > levels else {}
    return raw | {INITIAL + key: value for key, value in first.items()}


def both_losses(head: Task, raw: Raw, target: Target) -> dict[str, LossPart]:
    """The loss terms of the distilled and of the intermediate prediction."""
    first = {k.removeprefix(INITIAL): v for k, v in raw.items() if k.startswith(INITIAL)}
    last = {key: value for key, value in raw.items() if not key.startswith(INITIAL)}
    parts = cast(Task, head.initial).loss(first, target)
    return type(head).loss(head, last, target) | {INITIAL + k: part for k, part in parts.items()}
