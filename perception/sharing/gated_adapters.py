"""Gated adapters, in the manner of RMT-PPAD (Wang et al., 2025, arXiv 2508.06529).

The paper fuses shared and task-specific features by "a gate control with an adapter". Here every
task has an adapter and a gate for each map of the neck.
"""

from collections.abc import Sequence
from typing import Final, cast

import torch
from torch import Tensor, nn

from perception.layers import ConvBlock
from perception.tasks.base import Task
from perception.trunk import STRIDES

START: Final = 2.0  # sigmoid of 2 is 0.88: training begins close to hard sharing


class GatedAdapter(nn.Module):
    """g * x + (1 - g) * A(x), for one task and one map x (B, C, H, W).

    A is a bottleneck of C/4 channels: 1x1, depthwise 3x3, 1x1 convolution. g in 0..1, one number
    per frame and channel, is computed from the means of x and of A(x) over the pixels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 4, 8)
        self.adapter = nn.Sequential(
            ConvBlock(channels, hidden),
            nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden),
            nn.Conv2d(hidden, channels, 1),
        )
        self.gate = nn.Conv2d(2 * channels, channels, 1)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(cast(Tensor, self.gate.bias), START)

    def forward(self, shared: Tensor) -> Tensor:
        adapted = self.adapter(shared)
        means = torch.cat([shared, adapted], 1).mean((2, 3), keepdim=True)  # (B, 2C, 1, 1)
        gate = torch.sigmoid(self.gate(means))  # (B, C, 1, 1)
        return gate * shared + (1 - gate) * adapted


class GatedAdapters(nn.Module):
    """The shared neck, and for each task adapted copies of its maps, task after task."""

    def __init__(self, neck: nn.Module, heads: Sequence[Task]) -> None:
        super().__init__()
        self.neck = neck
        self.tasks = nn.ModuleList(
            nn.ModuleList(GatedAdapter(head.channels) for _ in STRIDES) for head in heads
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        shared = self.neck(features)
        return [
            adapter(feature)
            for adapters in self.tasks
            for adapter, feature in zip(cast(nn.ModuleList, adapters), shared, strict=True)
        ]
