"""Stand-ins for rclpy, with message classes made from the real definitions."""

import sys
import threading
from array import array
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed (extra car)")


@pytest.fixture(scope="session")
def ros_types() -> ModuleType:
    """Message classes; see ros_types.py."""
    sys.path.insert(0, str(Path(__file__).parent))
    import ros_types

    sys.path.pop(0)
    return ros_types


@pytest.fixture(scope="session")
def messages_of(ros_types: ModuleType) -> Callable:
    """Makes the message classes of a release by name: the node's, Header and Time."""
    from demo.car.ros2.node import MESSAGES

    def make(release):
        found = ros_types.message_classes(release, MESSAGES)
        more = {"std_msgs": ["Header"], "builtin_interfaces": ["Time"]}
        vars(found).update(vars(ros_types.message_classes(release, more)))
        return found

    return make


@pytest.fixture
def msg(messages_of: Callable) -> SimpleNamespace:
    """The message classes of Humble."""
    return messages_of("humble")


@pytest.fixture
def picture(msg: SimpleNamespace) -> Callable:
    """Makes a sensor_msgs/Image with `padding` bytes after every row."""

    def make(frame, encoding="bgr8", padding=0, sec=5):
        height, width = frame.shape[:2]
        rows = np.ascontiguousarray(frame).view(np.uint8).reshape(height, -1)
        data = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
        return msg.Image(
            header=msg.Header(stamp=msg.Time(sec=sec, nanosec=7), frame_id="front"),
            height=height,
            width=width,
            encoding=encoding,
            step=data.shape[1],
            data=array("B", data.tobytes()),
        )

    return make


class ExternalShutdownException(Exception):  # noqa: N818
    pass


class Node:
    """Records what is asked of it."""

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
            sent.cdr()
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

    def wait_for_line(self, text):
        with self.arrived:
            assert self.arrived.wait_for(lambda: any(text in line for line in self.lines), 60)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, msg: SimpleNamespace) -> SimpleNamespace:
    """The stand-ins, in sys.modules. `world.script(node)` is what happens while ROS spins."""
    from demo.car.ros2.node import MESSAGES

    made = SimpleNamespace(nodes=[], parameters={}, script=lambda node: None, down=0, args=None)
    made.Shutdown = ExternalShutdownException

    def create_node(name):
        made.nodes.append(Node(made.parameters))
        return made.nodes[-1]

    def try_shutdown():
        made.down += 1

    rclpy, qos, executors = (ModuleType(f"rclpy{name}") for name in ("", ".qos", ".executors"))
    rclpy.init = lambda args=None: setattr(made, "args", args)
    rclpy.create_node, rclpy.try_shutdown = create_node, try_shutdown
    rclpy.spin = lambda node: made.script(node)
    qos.QoSProfile = lambda **given: SimpleNamespace(**given)
    qos.ReliabilityPolicy = SimpleNamespace(BEST_EFFORT="best effort")
    qos.DurabilityPolicy = SimpleNamespace(TRANSIENT_LOCAL="kept")
    executors.ExternalShutdownException = ExternalShutdownException
    modules = {module.__name__: module for module in (rclpy, qos, executors)}
    for package, names in MESSAGES.items():
        module = modules[f"{package}.msg"] = ModuleType(f"{package}.msg")
        modules[package] = ModuleType(package)
        vars(module).update({name: getattr(msg, name) for name in names})
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    made.node, made.msg = lambda: Node({}), msg
    return made
