"""The function of docs/onnx.md, which readers without this package copy, against Runner."""

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from perception.runtime.runner import Runner, default_model
from perception.runtime.scene import Boxes, Labels, Mask

PAGE = Path(__file__).resolve().parents[3] / "docs" / "onnx.md"


@pytest.fixture(scope="module")
def function():
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S).group(1)
    body = code[code.index("def read") :]
    assert len(body.splitlines()) <= 30
    names: dict = {}
    exec(code, names)
    return names["read"]


@pytest.fixture(scope="module")
def shipped():
    session = onnxruntime.InferenceSession(str(default_model()))
    return session, Runner(default_model(), "cpu", 1)


def road(size_hw) -> np.ndarray:
    """A picture with texture, so that boxes and masks come out."""
    rng = np.random.default_rng(0)
    frame = np.full((*size_hw, 3), 120, np.uint8)
    frame[: size_hw[0] // 2] = (220, 180, 140)
    height, width = size_hw
    for _ in range(12):
        y, x = int(rng.integers(height // 3, height - 40)), int(rng.integers(0, width - 40))
        frame[y : y + height // 8, x : x + width // 8] = rng.integers(0, 255, 3)
    return frame


@pytest.mark.parametrize("size_hw", [(720, 1280), (1280, 720), (333, 517), (100, 90)])
def test_the_function_gives_what_the_runner_gives(size_hw, function, shipped):
    session, runner = shipped
    frame = road(size_hw)
    outputs, scene = function(session, frame), runner(frame)
    for name, output in scene.outputs.items():
        array = outputs[name]
        if isinstance(output, Boxes):
            x1, y1, x2, y2, score, label = array[(array[:, 2] > array[:, 0])].T
            valid = y2 > y1
            np.testing.assert_allclose(np.stack([x1, y1, x2, y2], 1)[valid], output.xyxy, atol=1e-2)
            np.testing.assert_allclose(score[valid], output.scores, atol=1e-4)
            assert (label[valid] == output.classes).all()
        elif isinstance(output, Mask):
            assert array.shape == size_hw
            assert (array == output.full).mean() > 0.9999
        elif isinstance(output, Labels):
            for row, classes in zip(array, output.groups.values(), strict=True):
                np.testing.assert_allclose(row[: len(classes)], list(classes.values()), atol=1e-5)
