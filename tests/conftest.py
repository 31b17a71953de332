"""Fixtures of the torch-free half: a model file of ours, made by hand in a moment."""

from pathlib import Path

import numpy as np
import pytest

from perception.classes import DRIVABLE, LANE_CATEGORIES, LANE_DIRECTIONS, LANE_STYLES
from perception.runtime.description import Description
from perception.runtime.view import LANE_BYTE, Group, View

SIZE_HW = (48, 80)
# Output names are no task's name: the runtime must not care.
VIEWS = {
    "things": View("boxes", classes=("car", "pedestrian")),
    "area": View("mask", classes=DRIVABLE),
    "paint": View(
        "mask",
        encoding=LANE_BYTE,
        categories=LANE_CATEGORIES,
        styles=LANE_STYLES,
        directions=LANE_DIRECTIONS,
    ),
    "mood": View("label", groups=(Group("light", ("day", "night")), Group("sky", ("a", "b", "c")))),
    "far": View("map", unit="m", range=(0, 255)),
    "way": View("normals"),
}


def tiny_model(
    path: Path, views: dict[str, View] | None = None, metadata: str | None = None
) -> Path:
    """Writes an .onnx whose outputs follow from the frame: `area` is 0 where blue is bright and 2
    elsewhere, `far` is the mean brightness, `paint` a line in column 40, the rest constant."""
    from onnx import TensorProto, helper, numpy_helper

    height, width = SIZE_HW
    boxes = np.zeros((1, 100, 6), np.float32)
    boxes[0, 0] = (8, 16, 40, 32, 0.9, 0)  # model pixels
    boxes[0, 1] = (40, 20, 60, 40, 0.4, 1)
    paint = np.full((1, height, width), 255, np.uint8)
    paint[0, :, 40] = 6
    way = np.zeros((1, 3, height, width), np.float32)
    way[0, 1] = -1
    constants = {
        "things": boxes,
        "paint": paint,
        "mood": np.array([[[0.8, 0.2, 0], [0.1, 0.3, 0.6]]], np.float32),
        "way": way,
    }
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
        for name, value in constants.items()
    ]
    blue = np.array([1, 0, 0], np.float32).reshape(1, 1, 1, 3)
    weights = [
        numpy_helper.from_array(blue, "blue"),
        numpy_helper.from_array(np.array([3], np.int64), "last"),
        numpy_helper.from_array(np.array(127, np.float32), "half"),
        numpy_helper.from_array(np.array(0, np.uint8), "zero"),
        numpy_helper.from_array(np.array(2, np.uint8), "two"),
    ]
    nodes += [
        helper.make_node("Cast", ["frame"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "last"], ["far"], keepdims=0),
        helper.make_node("Mul", ["pixels", "blue"], ["only_blue"]),
        helper.make_node("ReduceSum", ["only_blue", "last"], ["blueness"], keepdims=0),
        helper.make_node("Greater", ["blueness", "half"], ["is_blue"]),
        helper.make_node("Where", ["is_blue", "zero", "two"], ["area"]),
    ]
    floats = {
        "things": (1, 100, 6),
        "mood": (1, 2, 3),
        "far": (1, *SIZE_HW),
        "way": (1, 3, *SIZE_HW),
    }
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in floats.items()
    ] + [
        helper.make_tensor_value_info(name, TensorProto.UINT8, (1, *SIZE_HW))
        for name in ("area", "paint")
    ]
    frame = helper.make_tensor_value_info("frame", TensorProto.UINT8, (1, *SIZE_HW, 3))
    graph = helper.make_graph(nodes, "tiny", [frame], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if metadata is None:
        metadata = Description("tiny", SIZE_HW, VIEWS if views is None else views).to_json()
    if metadata:
        helper.set_model_props(model, {"perception": metadata})
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a good model file."""
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="session")
def make_tiny_onnx():
    """tiny_model itself, for files that are wrong on purpose."""
    return tiny_model


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames of 160x120 at 25 fps: a bright blue square moving over grey."""
    import cv2

    path = tmp_path_factory.mktemp("video") / "square.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (160, 120))
    for index in range(30):
        frame = np.full((120, 160, 3), 90, np.uint8)
        frame[40:80, 4 * index : 4 * index + 40] = (250, 60, 60)
        writer.write(frame)
    writer.release()
    return path
