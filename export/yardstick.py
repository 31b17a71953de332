"""A timm trunk as an ONNX file: the public yardstick a latency is divided by."""

import onnx
import torch
from torch import Tensor, nn

from export.to_onnx import trace
from perception.trunk import Trunk


def yardstick(name: str, size_hw: tuple[int, int]) -> onnx.ModelProto:
    """The trunk as timm writes it, untrained: float image (1, 3, H, W) -> four feature maps.

    Exported by the same call as our networks. Raises UserError where timm has no such model.
    """
    trunk = Trunk(name)
    return trace(_Maps(trunk), torch.zeros(1, 3, *size_hw), [f"stride{s}" for s in trunk.strides])


class _Maps(nn.Module):
    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.trunk(image))
