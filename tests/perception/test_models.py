"""The shipped ONNX file and the shipped weights describe the same model."""

from pathlib import Path

import numpy as np

import perception
from perception import checkpoint
from perception.runtime.runner import Runner

MODELS = Path(perception.__path__[0]) / "models"


def test_it_runs_and_describes_itself():
    runner = Runner(MODELS / "pvt-hydranet-b0.onnx", provider="cpu", threads=1)
    scene = runner(np.full((180, 320, 3), 90, np.uint8))
    assert runner.description.size_hw == (384, 640)
    assert list(scene.outputs) == list(runner.description.views)
    assert "not-for-profit" in runner.description.licence


def test_it_can_be_trained_on():
    model, meta = checkpoint.load(MODELS / "pvt-hydranet-b0.safetensors")
    assert list(model.tasks) == meta.tasks
    assert meta.scores["det"]["mAP50"] > 5
