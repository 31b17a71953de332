"""MTI-Net (Vandenhende et al., ECCV 2020, "Multi-Scale Task Interaction Networks"): PAD-Net's
distillation at every scale, and features of all tasks propagated from each scale to the next finer.

Departures, in addition to those of pad_net.py: the scales are the four maps of the neck, and their
aggregation is the head's own. Non-linear functions are a convolution with batch norm and ReLU.
"""

from collections.abc import Sequence
from typing import cast

import torch
from timm.layers import SqueezeExcite
from torch import Tensor, nn

from perception.layers import ConvBlock, SeparableBlock, upsample
from perception.sharing.pad_net import PADNet
from perception.tasks.base import Task
from perception.trunk import STRIDES


class Propagation(nn.Module):
    """The feature propagation module (section 3.3): every task's map (B, C, H, W) of one scale ->
    every task's map (B, C, 2H, 2W) for the next finer scale.

    Harmonisation: attention over the tasks, a softmax for each pixel and channel, weighs the tasks'
    maps; from these a shared map is computed. Refinement: each task adds the shared map to its
    own, its channels weighted by squeeze-and-excitation.
    """

    def __init__(self, channels: int, tasks: int) -> None:
        super().__init__()
        self.tasks = tasks
        self.attention = nn.Sequential(
            ConvBlock(tasks * channels, channels), nn.Conv2d(channels, tasks * channels, 1)
        )
        self.shared = ConvBlock(tasks * channels, channels)
        self.refine = nn.ModuleList(SqueezeExcite(channels, rd_ratio=0.25) for _ in range(tasks))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        joined = torch.cat([*maps], 1)  # (B, T*C, H, W)
        weights = self.attention(joined).unflatten(1, (self.tasks, -1)).softmax(1)
        shared = self.shared(joined * weights.flatten(1, 2))  # (B, C, H, W)
        refined = [own + refine(shared) for own, refine in zip(maps, self.refine, strict=True)]
        return [upsample(x) for x in refined]


class MTINet(PADNet):
    """PAD-Net whose initial maps of a task are made of the shared map and, but for the coarsest
    scale, of what is propagated from the next coarser scale."""

    def __init__(self, neck: nn.Module, heads: Sequence[Task]) -> None:
        super().__init__(neck, heads)
        width = heads[0].channels
        for blocks in self.initial:
            for level in range(len(STRIDES) - 1):
                cast(nn.ModuleList, blocks)[level] = SeparableBlock(2 * width, width)
        self.propagate = nn.ModuleList(Propagation(width, len(heads)) for _ in STRIDES[1:])

    def initial_maps(self, shared: Sequence[Tensor]) -> list[list[Tensor]]:
        found: list[list[Tensor]] = [[] for _ in self.initial]
        carried: list[Tensor] = []
        for level in reversed(range(len(shared))):
            inputs = [torch.cat([shared[level], x], 1) for x in carried]
            inputs = inputs or [shared[level]] * len(found)
            blocks = [cast(nn.ModuleList, own)[level] for own in self.initial]
            maps = [block(x) for block, x in zip(blocks, inputs, strict=True)]
            for own, x in zip(found, maps, strict=True):
                own.insert(0, x)
            if level:
                carried = self.propagate[level - 1](maps)
        return found
