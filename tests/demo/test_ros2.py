"""The ROS 2 node against stand-ins for rclpy and the message packages: no ROS was here. The
stand-in messages know the fields and types of the real ones and refuse everything else."""

import json
import sys
import threading
from array import array
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest

from demo.car.ros2 import Perceive, main, topic
from demo.car.ros2_messages import Ros, boxes_message, image_message, to_bgr
from perception.errors import UserError
from perception.runtime.runner import Runner
from perception.runtime.scene import Boxes, Mask

MODULES = ("rclpy", "rclpy.qos", "rclpy.executors", "sensor_msgs", "sensor_msgs.msg")
MODULES += ("std_msgs", "std_msgs.msg", "vision_msgs", "vision_msgs.msg")


def message(name: str, **fields):
    """A message class: `fields` maps a name to its type; a class is made anew for each message."""

    def start(self, **given):
        for key, kind in fields.items():
            default = array("B") if kind is array else kind()
            setattr(self, key, given.pop(key, default))
        assert not given, f"{name} has no field {given}"

    def put(self, key, value):
        assert key in fields, f"{name} has no field {key}"
        assert type(value) is fields[key], f"{name}.{key} is {fields[key]}, not {type(value)}"
        object.__setattr__(self, key, value)

    return type(name, (), {"__init__": start, "__setattr__": put})


Time = message("Time", sec=int, nanosec=int)
Header = message("Header", stamp=Time, frame_id=str)
Image = message(
    "Image",
    header=Header,
    height=int,
    width=int,
    encoding=str,
    is_bigendian=int,
    step=int,
    data=array,
)
Point2D = message("Point2D", x=float, y=float)
Pose2D = message("Pose2D", position=Point2D, theta=float)
BoundingBox2D = message("BoundingBox2D", center=Pose2D, size_x=float, size_y=float)
ObjectHypothesis = message("ObjectHypothesis", class_id=str, score=float)
PoseWithCovariance = message("PoseWithCovariance")
ObjectHypothesisWithPose = message(
    "ObjectHypothesisWithPose", hypothesis=ObjectHypothesis, pose=PoseWithCovariance
)
Detection2D = message("Detection2D", header=Header, results=list, bbox=BoundingBox2D, id=str)
Detection2DArray = message("Detection2DArray", header=Header, detections=list)
Classification = message("Classification", header=Header, results=list)
String = message("String", data=str)
UInt64 = message("UInt64", data=int)


class ExternalShutdownException(Exception):  # noqa: N818
    pass


class Node:
    """Notes what is asked of it."""

    def __init__(self, parameters):
        self.parameters, self.declared, self.destroyed = parameters, {}, False
        self.sent, self.qualities, self.lines = [], {}, []
        self.arrived = threading.Condition()

    def declare_parameter(self, name, default):
        self.declared[name] = default
        return SimpleNamespace(value=self.parameters.get(name, default))

    def create_subscription(self, kind, name, callback, quality):
        self.subscribed = (kind, name, quality)
        self.callback = callback

    def create_publisher(self, kind, name, quality):
        assert name not in self.qualities, f"{name} has a publisher already"
        self.qualities[name] = quality

        def publish(sent):
            assert type(sent) is kind
            with self.arrived:
                self.sent.append((name, sent))
                self.arrived.notify_all()

        return SimpleNamespace(publish=publish)

    def get_logger(self):
        def note(text, throttle_duration_sec=0.0):
            with self.arrived:
                self.lines.append(text)
                self.arrived.notify_all()

        return SimpleNamespace(info=note, warning=note)

    def destroy_node(self):
        self.destroyed = True

    def of(self, name):
        return [sent for at, sent in self.sent if at == name]

    def wait_for(self, name, count):
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.of(name)) >= count, timeout=60)

    def wait_for_line(self, words):
        with self.arrived:
            assert self.arrived.wait_for(lambda: any(words in line for line in self.lines), 60)


@pytest.fixture
def world(monkeypatch):
    """The stand-ins, in sys.modules. `world.script(node)` is what happens while ROS spins."""
    made = SimpleNamespace(nodes=[], parameters={}, script=lambda node: None, down=0, args=None)
    modules = {name: ModuleType(name) for name in MODULES}

    def create_node(name):
        made.nodes.append(Node(made.parameters))
        return made.nodes[-1]

    def try_shutdown():
        made.down += 1

    rclpy = modules["rclpy"]
    rclpy.init = lambda args=None: setattr(made, "args", args)
    rclpy.create_node, rclpy.try_shutdown = create_node, try_shutdown
    rclpy.spin = lambda node: made.script(node)
    rclpy.qos = modules["rclpy.qos"]
    rclpy.qos.QoSProfile = lambda **given: SimpleNamespace(**given)
    rclpy.qos.ReliabilityPolicy = SimpleNamespace(BEST_EFFORT="best effort")
    rclpy.qos.DurabilityPolicy = SimpleNamespace(TRANSIENT_LOCAL="kept")
    modules["rclpy.executors"].ExternalShutdownException = ExternalShutdownException
    for kind in (Image,):
        setattr(modules["sensor_msgs.msg"], kind.__name__, kind)
    for kind in (String, UInt64):
        setattr(modules["std_msgs.msg"], kind.__name__, kind)
    for kind in (
        Classification,
        Detection2D,
        Detection2DArray,
        ObjectHypothesis,
        ObjectHypothesisWithPose,
    ):
        setattr(modules["vision_msgs.msg"], kind.__name__, kind)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return made


def picture(frame, encoding="bgr8", padding=0, sec=5) -> Image:
    """A sensor_msgs/Image with `padding` bytes after every row."""
    height, width = frame.shape[:2]
    rows = np.ascontiguousarray(frame).reshape(height, -1)
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    header = Header(stamp=Time(sec=sec, nanosec=7), frame_id="front")
    return Image(
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        step=data.shape[1],
        data=array("B", data.tobytes()),
    )


def some_frame(shape=(60, 100, 3)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


# Images in


@pytest.mark.parametrize("padding", [0, 1, 13])
@pytest.mark.parametrize(
    ("encoding", "code"),
    [
        ("bgr8", None),
        ("rgb8", cv2.COLOR_BGR2RGB),
        ("bgra8", cv2.COLOR_BGR2BGRA),
        ("rgba8", cv2.COLOR_BGR2RGBA),
    ],
)
def test_colours_and_padding(encoding, code, padding):
    frame = some_frame()
    sent = frame if code is None else cv2.cvtColor(frame, code)
    got = to_bgr(picture(sent, encoding, padding))
    np.testing.assert_array_equal(got, frame)
    assert got.flags["C_CONTIGUOUS"]


def test_grey():
    grey = some_frame((7, 5))
    got = to_bgr(picture(grey, "mono8", 3))
    np.testing.assert_array_equal(got, np.repeat(grey[..., None], 3, axis=2))


def test_bytes_after_the_last_row_are_allowed():
    sent = picture(some_frame())
    sent.data.extend(b"more")
    np.testing.assert_array_equal(to_bgr(sent), some_frame())


BAD = {
    "encoding": (lambda m: setattr(m, "encoding", "bayer_rggb8"), "bayer_rggb8"),
    "step": (lambda m: setattr(m, "step", 299), "step 299"),
    "short": (lambda m: setattr(m, "height", 61), "100x61"),
    "empty": (lambda m: setattr(m, "height", 0), "100x0"),
    "huge": (lambda m: setattr(m, "height", 2**32 - 1), "do not fit"),
}


@pytest.mark.parametrize("case", BAD)
def test_an_invalid_image_is_a_user_error(case):
    change, words = BAD[case]
    sent = picture(some_frame())
    change(sent)
    with pytest.raises(UserError, match=words):
        to_bgr(sent)


# Messages out


def test_no_boxes_is_an_empty_array(world):
    none = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, int), ("car",))
    sent = boxes_message(Ros.load(), none, picture(some_frame()).header)
    assert sent.detections == []
    assert sent.header.frame_id == "front"


def test_floats_go_out_as_little_endian_rows(world):
    values = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    sent = image_message(Ros.load(), values, picture(some_frame()).header)
    assert (sent.encoding, sent.height, sent.width, sent.step) == ("32FC3", 2, 4, 48)
    read = np.frombuffer(sent.data, "<f4").reshape(2, 4, 3)
    np.testing.assert_array_equal(read, values.transpose(1, 2, 0))
    flat = image_message(Ros.load(), values[0], picture(some_frame()).header)
    assert (flat.encoding, flat.step) == ("32FC1", 16)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a_1", "a_1"), ("a b/c-é", "a_b_c__"), ("1", "output_1"), ("", "output_")],
)
def test_topics_have_only_characters_that_ros_allows(name, expected):
    assert topic(name) == expected


# The node


def start(world, model, *images, **parameters) -> Node:
    """Runs the command over images, each published before the next one comes."""
    world.parameters = {"model": str(model), "provider": "cpu", "threads": 1} | parameters

    def script(node):
        for count, image in enumerate(images):
            node.callback(image)
            node.wait_for("~/dropped", count + 1)
        raise ExternalShutdownException

    world.script = script
    assert main([]) == 0
    return world.nodes[0]


def test_every_output_is_published_with_the_header_of_the_image(world, tiny_onnx):
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
    assert (kind, name) == (Image, "image")
    assert (quality.depth, quality.reliability) == (1, "best effort")


def test_the_score_is_a_parameter(world, tiny_onnx):
    node = start(world, tiny_onnx, picture(some_frame()), score=0.5)
    assert len(node.of("~/things")[0].detections) == 1
    assert node.declared == {"model": "", "provider": "auto", "threads": 0, "score": 0.3}


def test_an_invalid_image_is_logged_and_skipped(world, tiny_onnx):
    strange = picture(some_frame())
    strange.encoding = "yuv422"
    world.parameters = {"model": str(tiny_onnx), "provider": "cpu", "threads": 1}

    def script(node):
        node.callback(picture(some_frame(), sec=1))
        node.wait_for("~/dropped", 1)
        node.callback(strange)
        node.wait_for_line("yuv422")
        node.callback(picture(some_frame(), sec=2))
        node.wait_for("~/dropped", 2)

    world.script = script
    assert main([]) == 0
    stamps = [sent.header.stamp.sec for sent in world.nodes[0].of("~/things")]
    assert stamps == [1, 2]


def test_the_newest_image_is_processed_and_drops_are_counted(world, tiny_onnx):
    runner, busy, go_on = Runner(tiny_onnx, "cpu", 1), threading.Event(), threading.Event()

    def slow(frame):
        busy.set()
        assert go_on.wait(60)
        return runner(frame)

    slow.description = runner.description
    node = Node({})
    perceive = Perceive(Ros.load(), node, slow, 0.3)

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


def test_an_error_in_the_model_ends_the_node(world, tiny_onnx):
    def broken(frame):
        raise RuntimeError("no memory on the device")

    broken.description = Runner(tiny_onnx, "cpu", 1).description
    node = Node({})
    perceive = Perceive(Ros.load(), node, broken, 0.3)

    def script(node):
        node.callback(picture(some_frame()))
        perceive.thread.join(timeout=60)

    world.script = script
    with pytest.raises(RuntimeError, match="no memory on the device"):
        perceive.run()
    assert world.down == 1


@pytest.mark.parametrize("end", [KeyboardInterrupt, ExternalShutdownException])
def test_it_ends_cleanly_on_interrupt_and_shutdown(end, world, tiny_onnx):
    world.parameters = {"model": str(tiny_onnx), "provider": "cpu"}

    def script(node):
        raise end

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
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    assert main([]) == 2
    assert "setup.bash" in capsys.readouterr().err
