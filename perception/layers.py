"""The neck (BiFPN), and the blocks of which it and the heads are made."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ConvBlock(nn.Sequential):
    """Convolution, batch norm, ReLU. `kernel` is odd; the size is divided by the stride only."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, active: bool = True
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True) if active else nn.Identity(),
        )


class SeparableBlock(nn.Sequential):
    """Depthwise (3x3 or larger) then pointwise convolution, each with batch norm; then ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, inputs, kernel, stride, kernel // 2, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


def upsample(feature: Tensor, factor: int = 2) -> Tensor:
    """Nearest-neighbour upsampling by an integer factor."""
    return nn.functional.interpolate(feature, scale_factor=float(factor), mode="nearest")


class Fuse(nn.Module):
    """Fast normalised fusion (EfficientDet, arXiv 1911.09070, section 3.3), then one block."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(inputs))
        self.block = SeparableBlock(width, width)

    def forward(self, *features: Tensor) -> Tensor:
        weights = torch.relu(self.weights)
        weights = weights / (weights.sum() + 1e-4)
        return self.block(sum(weight * x for weight, x in zip(weights, features, strict=True)))


class BiFPN(nn.Module):
    """Weighted bidirectional pyramid: top-down, then bottom-up with a skip from the input.

    Maps trunk features of `channels` to as many maps of `width` channels at the same strides.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.width = width
        self.lateral = nn.ModuleList(ConvBlock(c, width, active=False) for c in channels)
        self.down = nn.ModuleList(Fuse(2, width) for _ in channels[:-1])
        self.shrink = nn.ModuleList(nn.MaxPool2d(3, 2, 1) for _ in channels[1:])
        self.up = nn.ModuleList(Fuse(3, width) for _ in channels[1:-1])
        self.top = Fuse(2, width)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        inputs = [block(x) for block, x in zip(self.lateral, features, strict=True)]
        middle = [inputs[-1]]
        for x, fuse in zip(reversed(inputs[:-1]), reversed(self.down), strict=True):
            middle.insert(0, fuse(x, upsample(middle[0])))
        outputs = [middle[0]]
        for level, fuse in enumerate(self.up, start=1):
            below = self.shrink[level - 1](outputs[-1])
            outputs.append(fuse(inputs[level], middle[level], below))
        outputs.append(self.top(inputs[-1], self.shrink[-1](outputs[-1])))
        return outputs
