"""The cost of a network, counted; never how fast this machine is."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from export import bench_onnx
from export.bench_onnx import multiply_adds


def test_attention_is_counted(exported: SimpleNamespace) -> None:
    model = exported.model
    whole = multiply_adds(model, exported.size_hw)
    height, width = exported.size_hw
    # First stage by hand: 2 blocks, one head of 32, keys from a grid 8 times coarser each way.
    tokens, keys = (height // 4) * (width // 4), (height // 32) * (width // 32)
    products = 2 * 2 * tokens * keys * 32
    seen: list[int] = []

    def count(_: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        seen.append(inputs[0].numel() // 32)

    hook = model.trunk.body.stages_0.blocks[0].attn.register_forward_hook(count)
    with torch.no_grad():
        model.trunk(torch.zeros(1, 3, height, width))
    hook.remove()
    assert seen == [tokens]
    assert whole > products
    # A larger frame costs more than its pixels: attention grows with their square.
    assert multiply_adds(model, (4 * height, 4 * width)) > 16.2 * whole


class OneConvolution(nn.Module):
    """Frames through a 3x3 convolution of three channels to eight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.tasks = nn.Conv2d(3, 8, 3, padding=1), {}

    def forward(self, frames: torch.Tensor) -> dict:
        self.conv(frames.permute(0, 3, 1, 2).float())
        return {}


def test_multiply_adds_of_a_convolution_by_hand() -> None:
    assert multiply_adds(OneConvolution(), (10, 20)) == 10 * 20 * 8 * 3 * 3 * 3


@pytest.mark.slow
def test_command_prints_and_writes_the_zoo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("export.bench.pin", lambda threads: [])
    out = tmp_path / "models.json"
    arguments = ["timm:resnet18", "zoo:pvt-hydranet-b0", "--size", "64x96", "--warmup", "1"]
    arguments += ["--rounds", "2", "--threads", "1", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", ["bench-onnx", *arguments])
    assert bench_onnx.main() == 0
    reference, row = json.loads(out.read_text())["subjects"]
    assert reference["ratio"]["median"] == 1
    assert reference["cost"] == {}
    assert 3.5e6 < row["cost"]["parameters"] < 3.8e6
    assert row["cost"]["multiply_adds"] > 5e7
    assert "pvt-hydranet-b0" in capsys.readouterr().out
