"""Mask heads as YOLOP has them (arXiv 2108.11250, section 3.1.2): a decoder that climbs from the
stride-8 map to full resolution by nearest-neighbour enlargement. For the YOLOP-like baseline.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from perception.classes import DRIVABLE
from perception.layers import ConvBlock, upsample
from perception.tasks.base import Raw
from perception.tasks.drivable import Drivable
from perception.tasks.lane import Lane


class Climb(nn.Module):
    """(B, C, H/8, W/8) -> maps at strides 4 and 1, narrower at each doubling."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.first = nn.Sequential(ConvBlock(channels, channels, 3), ConvBlock(channels, half, 3))
        self.second = ConvBlock(half, quarter, 3)
        self.third = ConvBlock(quarter, 16, 3)
        self.outputs = (half, 16)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        quarter = upsample(self.first(feature))  # (B, C/2, H/4, W/4)
        half = upsample(self.second(quarter))  # (B, C/4, H/2, W/2)
        return quarter, upsample(self.third(half))  # (B, 16, H, W)


class NearestDrivable(Drivable):
    """Drivable area at full resolution."""

    def __init__(self, channels: int, strides: tuple[int, ...]) -> None:
        super().__init__(channels, strides)
        self.factor = 1
        self.tower = Climb(channels)
        self.classify = nn.Conv2d(16, len(DRIVABLE), 3, padding=1)

    def forward(self, features: Sequence[Tensor]) -> Raw:
        return {"logits": self.classify(self.tower(features[1])[1])}  # (B, 3, H, W)


class NearestLane(Lane):
    """Lane foreground at full resolution; the types, which YOLOP lacks, from stride 4."""

    def __init__(self, channels: int, strides: tuple[int, ...]) -> None:
        super().__init__(channels, strides)
        self.tower = Climb(channels)
        self.subpixels = nn.Conv2d(16, 1, 3, padding=1)
        self.types = nn.Conv2d(channels // 2, sum(self.kinds), 1)
        nn.init.constant_(self.subpixels.bias, -4.0)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> Raw:
        quarter, whole = self.tower(features[1])
        category, style, direction = self.types(quarter).split(self.kinds, 1)
        foreground = self.subpixels(whole)  # (B, 1, H, W)
        return {
            "foreground": foreground,
            "category": category,
            "style": style,
            "direction": direction,
        }
