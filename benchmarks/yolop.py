"""YOLOP's network (arXiv 2108.11250), untrained, as an ONNX file: what its latency depends on.

    python benchmarks/yolop.py yolop.onnx
    bench-onnx yolop.onnx default --providers cpu,openvino-bf16

Layers and widths are those of MCnet_0 in hustvl/YOLOP (7.94 M parameters); boxes are decoded,
without NMS.
"""

import argparse
from pathlib import Path
from typing import Final

import onnx
import onnxslim
import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

ANCHORS: Final = {
    8: ((3, 9), (5, 11), (4, 20)),
    16: ((7, 18), (6, 39), (12, 31)),
    32: ((19, 50), (38, 81), (68, 157)),
}


class Conv(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, size: int = 1, stride: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.Hardswish())


class Bottleneck(nn.Module):
    def __init__(self, width: int, shortcut: bool) -> None:
        super().__init__()
        self.block = nn.Sequential(Conv(width, width), Conv(width, width, 3))
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.shortcut else self.block(x)


class CSP(nn.Module):
    def __init__(self, inputs: int, outputs: int, count: int = 1, shortcut: bool = False) -> None:
        super().__init__()
        width = outputs // 2
        deep = [Bottleneck(width, shortcut) for _ in range(count)]
        self.deep = nn.Sequential(
            Conv(inputs, width), *deep, nn.Conv2d(width, width, 1, bias=False)
        )
        self.short = nn.Conv2d(inputs, width, 1, bias=False)
        self.norm, self.merge = nn.BatchNorm2d(outputs), Conv(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([self.deep(x), self.short(x)], 1)
        return self.merge(leaky_relu(self.norm(both), 0.1))


class SPP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.shrink, self.merge = Conv(width, width // 2), Conv(2 * width, width)
        self.pools = nn.ModuleList(nn.MaxPool2d(size, 1, size // 2) for size in (5, 9, 13))

    def forward(self, x: Tensor) -> Tensor:
        x = self.shrink(x)
        return self.merge(torch.cat([x, *(pool(x) for pool in self.pools)], 1))


class Focus(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = Conv(12, 32, 3)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x[..., i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.conv(torch.cat(parts, 1))


def segmentation() -> nn.Sequential:
    """From stride 8 to two sigmoid maps at the input's size."""
    up = nn.Upsample(scale_factor=2)
    return nn.Sequential(
        Conv(256, 128, 3), up, CSP(128, 64), Conv(64, 32, 3), up, Conv(32, 16, 3), CSP(16, 8), up,
        Conv(8, 2, 3), nn.Sigmoid(),
    )  # fmt: skip


class YOLOP(nn.Module):
    """float (1, 3, H, W) -> boxes (1, A, 6), drivable area and lanes (1, 2, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.stride8 = nn.Sequential(
            Focus(), Conv(32, 64, 3, 2), CSP(64, 64, 1, True), Conv(64, 128, 3, 2),
            CSP(128, 128, 3, True),
        )  # fmt: skip
        self.stride16 = nn.Sequential(Conv(128, 256, 3, 2), CSP(256, 256, 3, True))
        self.stride32 = nn.Sequential(Conv(256, 512, 3, 2), SPP(512), CSP(512, 512), Conv(512, 256))
        self.up = nn.Upsample(scale_factor=2)
        self.middle = nn.Sequential(CSP(512, 256), Conv(256, 128))
        self.fine, self.fine_down = CSP(256, 128), Conv(128, 128, 3, 2)
        self.medium, self.medium_down = CSP(256, 256), Conv(256, 256, 3, 2)
        self.coarse = CSP(512, 512)
        self.boxes = nn.ModuleList(nn.Conv2d(width, 18, 1) for width in (128, 256, 512))
        self.drivable, self.lane = segmentation(), segmentation()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x8 = self.stride8(x)
        x16 = self.stride16(x8)
        x32 = self.stride32(x16)
        middle = self.middle(torch.cat([self.up(x32), x16], 1))
        shared = torch.cat([self.up(middle), x8], 1)
        fine = self.fine(shared)
        medium = self.medium(torch.cat([self.fine_down(fine), middle], 1))
        coarse = self.coarse(torch.cat([self.medium_down(medium), x32], 1))
        found = [
            decode(head(level), stride)
            for head, level, stride in zip(self.boxes, (fine, medium, coarse), ANCHORS, strict=True)
        ]
        return torch.cat(found, 1), self.drivable(shared), self.lane(shared)


def decode(raw: Tensor, stride: int) -> Tensor:
    """(1, 18, h, w) -> (1, 3 * h * w, 6): centre, size, objectness, class."""
    height, width = raw.shape[2:]
    raw = raw.view(1, 3, 6, height, width).permute(0, 1, 3, 4, 2).sigmoid()
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centre = (raw[..., :2] * 2 - 0.5 + torch.stack([x, y], -1)) * stride
    size = (raw[..., 2:4] * 2) ** 2 * torch.tensor(ANCHORS[stride]).view(1, 3, 1, 1, 2)
    return torch.cat([centre, size, raw[..., 4:]], -1).view(1, -1, 6)


def main() -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("path", type=Path)
    made.add_argument("--size", type=int, nargs=2, default=(384, 640), metavar=("H", "W"))
    args = made.parse_args()
    network = YOLOP().eval()
    outputs = ["boxes", "drivable", "lane"]
    torch.onnx.export(
        network, (torch.zeros(1, 3, *args.size),), args.path, opset_version=20, dynamo=False,
        input_names=["images"], output_names=outputs,
    )  # fmt: skip
    onnx.save(onnxslim.slim(onnx.load(args.path)), args.path)
    print(f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters")


if __name__ == "__main__":
    main()
