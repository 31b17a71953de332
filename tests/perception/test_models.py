"""The packaged ONNX files and the packaged weights describe the same models."""

from pathlib import Path

import numpy as np
import pytest

from perception import checkpoint
from perception.errors import UserError
from perception.hub import CHECKPOINT, ONNX, PACKAGED, local_file, packaged_name
from perception.runtime.runner import Runner

NETWORKS = {"default": "hydranet-lite0", "fast": "hydranet-lite0", "pvt": "pvt-hydranet-b0"}
SIZES = {"default": (480, 832), "fast": (384, 640)}


@pytest.mark.parametrize("name", SIZES)
def test_it_runs_and_describes_itself(name: str) -> None:
    runner = Runner(local_file(name, ONNX), provider="cpu", threads=1)
    scene = runner(np.full((180, 320, 3), 90, np.uint8))
    assert runner.description.name == NETWORKS[name]
    assert runner.description.size_hw == SIZES[name]
    assert list(scene.outputs) == list(runner.description.views)
    assert "not-for-profit" in runner.description.licence
    assert packaged_name(local_file(name, ONNX)) == name


@pytest.mark.parametrize("name", PACKAGED)
def test_it_can_be_trained_on(name: str) -> None:
    path: Path = local_file(name, CHECKPOINT)
    model, meta = checkpoint.load(path)
    assert meta.model == NETWORKS[name]
    assert list(model.tasks) == meta.tasks
    assert meta.scores["det"]["mAP50"] > 20
    assert local_file(name, ONNX, CHECKPOINT).suffix == (
        ".onnx" if name in SIZES else ".safetensors"
    )


def test_without_an_onnx_the_message_says_how_to_make_it() -> None:
    with pytest.raises(UserError, match="weights only: export-onnx pvt"):
        local_file("pvt", ONNX)
    assert packaged_name(Path("fast.onnx")) == ""
