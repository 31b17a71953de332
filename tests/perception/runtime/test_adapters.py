"""Stand-in .onnx files with the documented inputs and outputs of other networks."""

import numpy as np
import pytest

from perception.classes import DETECTION
from perception.errors import UserError
from perception.runtime.adapters import IMAGENET_DEVIATION, IMAGENET_MEAN
from perception.runtime.runner import Runner

HEIGHT, WIDTH = 48, 80


def write(path, outputs):
    """An .onnx whose outputs are constants."""
    onnx = pytest.importorskip("onnx", reason="pip install 'pvt-hydranet[export]'")
    from onnx import TensorProto, helper, numpy_helper

    nodes, infos = [], []
    for name, value in outputs.items():
        tensor = numpy_helper.from_array(value.astype(np.float32), f"{name}_value")
        nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
    frame = helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, HEIGHT, WIDTH))
    graph = helper.make_graph(nodes, "peer", [frame], infos)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(path))
    return path


def masks():
    """Left half drivable, column 60 lane."""
    area, line = np.zeros((1, 2, HEIGHT, WIDTH)), np.zeros((1, 2, HEIGHT, WIDTH))
    area[0, 0], line[0, 0] = 0.5, 0.5
    area[0, 1, :, :40] = line[0, 1, :, 60] = 1
    return area, line


def test_yolop_is_read(tmp_path):
    area, line = masks()
    boxes = np.zeros((1, 7, 6))
    boxes[0, 0] = (20, 24, 16, 8, 0.9, 1.0)
    boxes[0, 1] = (21, 24, 16, 8, 0.8, 1.0)  # overlaps the first by 0.88
    boxes[0, 2] = (60, 24, 10, 10, 0.5, 0.5)
    boxes[0, 3] = (60, 24, 10, 10, 0.5, 0.001)
    path = write(
        tmp_path / "yolop.onnx", {"det_out": boxes, "drive_area_seg": area, "lane_line_seg": line}
    )
    scene = Runner(path, "auto")(np.zeros((96, 160, 3), np.uint8))
    found = scene.outputs["det"]
    assert found.array().tolist() == [
        [24, 40, 56, 56, pytest.approx(0.9), DETECTION.index("car")],
        [110, 38, 130, 58, pytest.approx(0.25), DETECTION.index("car")],
    ]
    drivable, lane = scene.outputs["drivable"].array(), scene.outputs["lane"].array()
    assert (drivable[:, :80] == 0).all()
    assert (drivable[:, 80:] == 2).all()
    assert np.flatnonzero(lane[0] != 255).tolist() == [120, 121]
    assert scene.outputs["lane"].is_lane_byte


def test_twinlitenet_is_read(tmp_path):
    area, line = masks()
    runner = Runner(write(tmp_path / "twin.onnx", {"da": area, "ll": line}), "cpu")
    scene = runner(np.zeros((96, 160, 3), np.uint8))
    assert list(scene.outputs) == ["drivable", "lane"]
    assert (runner.description.name, runner.description.size_hw) == ("twinlitenet", (48, 80))


def test_inputs_are_rgb_and_normalised(tmp_path):
    area, line = masks()
    blue = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    blue[..., 0] = 255
    twin = Runner(write(tmp_path / "twin.onnx", {"da": area, "ll": line}), "cpu")
    image = twin.engine.adapter.prepare(blue)
    assert image.shape == (1, 3, HEIGHT, WIDTH)
    assert image[0, :, 0, 0].tolist() == [0, 0, 1]
    outputs = {"det_out": np.zeros((1, 7, 6)), "drive_area_seg": area, "lane_line_seg": line}
    yolop = Runner(write(tmp_path / "yolop.onnx", outputs), "cpu")
    expected = (np.array([0, 0, 1]) - IMAGENET_MEAN) / IMAGENET_DEVIATION
    assert yolop.engine.adapter.prepare(blue)[0, :, 0, 0] == pytest.approx(expected)
    assert len(yolop(np.zeros((96, 160, 3), np.uint8)).outputs["det"]) == 0


def test_other_graphs_are_refused_in_one_line(tmp_path):
    area, _ = masks()
    with pytest.raises(UserError, match="without our metadata"):
        Runner(write(tmp_path / "x.onnx", {"a": area}), "cpu")


def test_peers_are_scored_by_the_panoptic_protocol(tmp_path):
    pytest.importorskip("torch")
    from training.data.sources import open_dataset
    from training.evaluation.predictor import open_predictor
    from training.evaluation.scores import evaluate

    area, line = masks()
    outputs = {"det_out": np.zeros((1, 7, 6)), "drive_area_seg": area, "lane_line_seg": line}
    predictor = open_predictor(write(tmp_path / "yolop.onnx", outputs))
    dataset = open_dataset("rendered:1/2", "val", tuple(predictor.views), (48, 80), exact=True)
    scores = evaluate(predictor, dataset)["scores"]["panoptic"]
    assert set(scores) == {"det", "drivable", "lane"}
    assert 0 < scores["drivable"]["mIoU_set"] < 100
