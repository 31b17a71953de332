"""The packaged ONNX files and the packaged weights describe the same models."""

from pathlib import Path

import numpy as np
import pytest

from perception import checkpoint
from perception.hub import CHECKPOINT, ONNX, PACKAGED, local_file
from perception.runtime.runner import Runner


@pytest.mark.parametrize("name", PACKAGED)
def test_it_runs_and_describes_itself(name: str) -> None:
    runner = Runner(local_file(name, ONNX), provider="cpu", threads=1)
    scene = runner(np.full((180, 320, 3), 90, np.uint8))
    assert runner.description.name == PACKAGED[name]
    assert runner.description.size_hw == (384, 640)
    assert list(scene.outputs) == list(runner.description.views)
    assert "not-for-profit" in runner.description.licence


@pytest.mark.parametrize("name", PACKAGED)
def test_it_can_be_trained_on(name: str) -> None:
    path: Path = local_file(name, CHECKPOINT)
    model, meta = checkpoint.load(path)
    assert meta.model == PACKAGED[name]
    assert list(model.tasks) == meta.tasks
    assert meta.scores["det"]["mAP50"] > 20
