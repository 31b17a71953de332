"""MTAN (Liu et al., CVPR 2019): one trunk, and for each task attention over its maps."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.layers import ConvBlock
from perception.trunk import Trunk


class Attention(nn.Module):
    """A mask in 0..1 over one map, from that map and the attended map of the level before."""

    def __init__(self, before: int, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 4, 16)
        self.squeeze = ConvBlock(before + channels, hidden)
        self.mask = nn.Conv2d(hidden, channels, 1)
        # Masks of about 1 at the start (sigmoid of 3 is 0.95): training begins as hard sharing.
        nn.init.zeros_(self.mask.weight)
        nn.init.constant_(cast(Tensor, self.mask.bias), 3.0)

    def forward(self, shared: Tensor, before: Tensor | None) -> Tensor:
        seen = shared if before is None else torch.cat([shared, F.max_pool2d(before, 2)], 1)
        return shared * torch.sigmoid(self.mask(self.squeeze(seen)))


class MTAN(nn.Module):
    """Four attended maps for each task, task after task."""

    def __init__(self, make_trunk: Callable[[], Trunk], tasks: int) -> None:
        super().__init__()
        self.trunk = make_trunk()
        self.channels, self.strides = self.trunk.channels, self.trunk.strides
        pairs = list(zip((0, *self.channels[:-1]), self.channels, strict=True))
        self.tasks = nn.ModuleList(
            nn.ModuleList(Attention(before, channels) for before, channels in pairs)
            for _ in range(tasks)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        shared = self.trunk(image)
        found: list[Tensor] = []
        for attentions in self.tasks:
            kept: Tensor | None = None
            for attention, feature in zip(cast(nn.ModuleList, attentions), shared, strict=True):
                kept = attention(feature, kept)
                found.append(kept)
        return found
