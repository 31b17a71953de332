"""The ROS 2 node, with stand-ins for rclpy and message classes made from the real definitions."""

import json
import sys
import threading
from array import array

import cv2
import numpy as np
import pytest

from demo.car.ros2.node import Parameters, Perceive, Ros, main, topic
from perception.runtime.runner import Runner
from perception.runtime.scene import Mask


def some_frame(shape=(60, 100, 3)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a_1", "a_1"), ("a b/c-é", "a_b_c__"), ("1", "output_1"), ("", "output_")],
)
def test_topics_have_only_characters_that_ros_allows(name, expected):
    assert topic(name) == expected


# The node


def start(world, model, *images, **parameters):
    """Runs the command over images, each published before the next one comes."""
    world.parameters = {"model": str(model), "provider": "cpu", "threads": 1} | parameters

    def script(node):
        for count, image in enumerate(images):
            node.callback(image)
            node.wait_for("~/dropped", count + 1)
        raise world.Shutdown

    world.script = script
    assert main([]) == 0
    return world.nodes[-1]


def test_every_output_is_published_with_the_header_of_the_image(world, tiny_onnx, picture):
    frame = some_frame((96, 160, 3))
    node = start(world, tiny_onnx, picture(frame, padding=5))
    scene = Runner(tiny_onnx, "cpu", 1)(frame)
    assert set(node.qualities) == {
        "~/description",
        "~/things",
        "~/area",
        "~/paint",
        "~/mood/light",
        "~/mood/sky",
        "~/far",
        "~/way",
        "~/dropped",
    }
    (things,) = node.of("~/things")
    assert [(d.results[0].hypothesis.class_id) for d in things.detections] == ["car", "pedestrian"]
    first, box = things.detections[0], scene.outputs["things"].xyxy[0]
    place, size = first.bbox.center.position, (first.bbox.size_x, first.bbox.size_y)
    np.testing.assert_allclose((place.x, place.y), (box[:2] + box[2:]) / 2)
    np.testing.assert_allclose(size, box[2:] - box[:2])
    assert first.results[0].hypothesis.score == pytest.approx(0.9)
    for name, mask in scene.of(Mask):
        (sent,) = node.of(f"~/{name}")
        assert (sent.encoding, sent.step, sent.is_bigendian) == ("mono8", 160, 0)
        np.testing.assert_array_equal(
            np.frombuffer(sent.data, np.uint8).reshape(96, 160), mask.full
        )
    (sky,) = node.of("~/mood/sky")
    assert [guess.class_id for guess in sky.results] == ["c", "b", "a"]
    assert sky.results[0].score == pytest.approx(0.6)
    assert node.of("~/far")[0].encoding == "32FC1"
    for _, sent in node.sent:
        if hasattr(sent, "header"):
            assert (sent.header.stamp.sec, sent.header.stamp.nanosec) == (5, 7)
            assert sent.header.frame_id == "front"


def test_the_description_is_kept_for_late_subscribers(world, tiny_onnx):
    node = start(world, tiny_onnx)
    (said,) = node.of("~/description")
    assert json.loads(said.data)["name"] == "tiny"
    assert node.qualities["~/description"].durability == "kept"
    kind, name, quality = node.subscribed
    assert (kind, name) == (world.msg.Image, "image")
    assert (quality.depth, quality.reliability) == (1, "best effort")


def test_the_score_is_a_parameter(world, tiny_onnx, picture):
    node = start(world, tiny_onnx, picture(some_frame()), score=0.5)
    assert len(node.of("~/things")[0].detections) == 1
    assert node.declared == vars(Parameters())


def test_boxes_have_the_id_of_their_track(world, tiny_onnx, picture):
    pytest.importorskip("trackers", reason="trackers is not installed (extra demo)")
    images = [picture(some_frame(), sec=sec) for sec in range(5)]
    node = start(world, tiny_onnx, *images, fps=1.0)
    ids = [{found.id for found in sent.detections} for sent in node.of("~/things")]
    assert len(ids[-1] - {""}) >= 1
    assert ids[-1] - {""} == ids[-2] - {""}
    alone = start(world, tiny_onnx, *images, track=False)
    assert {found.id for sent in alone.of("~/things") for found in sent.detections} == {""}


def test_compressed_images(world, tiny_onnx, msg, picture):
    frame = some_frame((96, 160, 3))
    data = array("B", cv2.imencode(".png", frame)[1].tobytes())
    header = picture(frame).header
    sent = msg.CompressedImage(header=header, format="bgr8; png compressed bgr8", data=data)
    node = start(world, tiny_onnx, sent, compressed=True)
    kind, name, _ = node.subscribed
    assert (kind, name) == (msg.CompressedImage, "image")
    (area,) = node.of("~/area")
    expected = Runner(tiny_onnx, "cpu", 1)(frame).outputs["area"].full
    np.testing.assert_array_equal(np.frombuffer(area.data, np.uint8).reshape(96, 160), expected)


CAMERA = """\
width: 160
height: 96
focal: [140, 140]
centre: [80, 40]
height_m: 1.4
pitch_deg: 0
"""


@pytest.mark.parametrize("ground_frame", ["", "road"])
def test_with_a_camera_the_road_is_published(ground_frame, world, tiny_onnx, picture, tmp_path):
    (tmp_path / "camera.yaml").write_text(CAMERA)
    given = {"camera": str(tmp_path / "camera.yaml"), "ground_frame": ground_frame}
    node = start(world, tiny_onnx, picture(some_frame((96, 160, 3))), **given)
    (lanes,), (grid,), (numbers,) = (node.of(f"~/{name}") for name in ("lanes", "grid", "road"))
    assert {lanes.markers[0].header.frame_id, grid.header.frame_id} == {ground_frame or "front"}
    assert (grid.header.stamp.sec, grid.header.stamp.nanosec) == (5, 7)
    assert len(grid.data) == grid.info.width * grid.info.height
    assert isinstance(json.loads(numbers.data), dict)
    assert node.of("~/things")[0].header.frame_id == "front"


def test_an_invalid_image_is_logged_and_skipped(world, tiny_onnx, picture):
    strange = picture(some_frame())
    strange.encoding = "yuv444"
    world.parameters = {"model": str(tiny_onnx), "provider": "cpu", "threads": 1}

    def script(node):
        node.callback(picture(some_frame(), sec=1))
        node.wait_for("~/dropped", 1)
        node.callback(strange)
        node.wait_for_line("yuv444")
        node.callback(picture(some_frame(), sec=2))
        node.wait_for("~/dropped", 2)

    world.script = script
    assert main([]) == 0
    stamps = [sent.header.stamp.sec for sent in world.nodes[0].of("~/things")]
    assert stamps == [1, 2]


def test_the_newest_image_is_processed_and_drops_are_counted(world, tiny_onnx, picture):
    runner, busy, go_on = Runner(tiny_onnx, "cpu", 1), threading.Event(), threading.Event()

    def slow(frame):
        busy.set()
        assert go_on.wait(60)
        return runner(frame)

    slow.description = runner.description
    node = world.node()
    perceive = Perceive(Ros(), node, slow, Parameters())

    def script(node):
        node.callback(picture(some_frame(), sec=0))
        assert busy.wait(60)
        for sec in range(1, 6):
            node.callback(picture(some_frame(), sec=sec))
        go_on.set()
        node.wait_for("~/dropped", 2)

    world.script = script
    perceive.run()
    assert [sent.header.stamp.sec for sent in node.of("~/things")] == [0, 5]
    assert perceive.dropped == 4
    assert node.of("~/dropped")[-1].data == 4
    assert not perceive.thread.is_alive()


def test_an_error_in_the_model_ends_the_node(world, tiny_onnx, picture):
    def broken(frame):
        raise RuntimeError("no memory on the device")

    broken.description = Runner(tiny_onnx, "cpu", 1).description
    node = world.node()
    perceive = Perceive(Ros(), node, broken, Parameters())

    def script(node):
        node.callback(picture(some_frame()))
        perceive.thread.join(timeout=60)

    world.script = script
    with pytest.raises(RuntimeError, match="no memory on the device"):
        perceive.run()
    assert world.down == 1


@pytest.mark.parametrize("end", ["interrupt", "shutdown"])
def test_it_ends_cleanly_on_interrupt_and_shutdown(end, world, tiny_onnx):
    world.parameters = {"model": str(tiny_onnx), "provider": "cpu"}

    def script(node):
        raise KeyboardInterrupt if end == "interrupt" else world.Shutdown

    world.script = script
    assert main(["--ros-args"]) == 0
    assert world.args == ["--ros-args"]
    assert world.nodes[0].destroyed
    assert world.down == 1


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"model": "gone.onnx"}, "gone.onnx"),
        ({"score": 7.0}, "parameter score is 7.0"),
        ({"provider": "cdua"}, "cuda"),
        ({"fps": 0.0}, "parameter fps is 0.0"),
        ({"camera_height": -1.4}, "parameter camera_height is -1.4"),
        ({"camera": "gone.yaml"}, "gone.yaml"),
    ],
)
def test_a_bad_parameter_is_one_line(parameters, words, world, tiny_onnx, capsys):
    world.parameters = {"model": str(tiny_onnx)} | parameters
    assert main([]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1
    assert world.nodes[0].destroyed


def test_without_ros_the_missing_package_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rclpy", None)
    assert main([]) == 2
    assert "setup.bash" in capsys.readouterr().err
