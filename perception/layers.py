"""Blocks used by necks and heads."""

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
