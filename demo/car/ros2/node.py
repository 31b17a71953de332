"""A ROS 2 node: python -m demo.car.ros2.node --ros-args -r image:=/camera/image_raw

Publishes one topic per output, by its kind, with the header of the image; with a camera also
lanes and an occupancy grid in metres (docs/car.md). rclpy and the message packages come with ROS
and are imported only at start.
"""

import json
import re
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from demo.car.ros2.images import to_bgr
from demo.car.ros2.messages import (
    Place,
    boxes_message,
    class_messages,
    grid_message,
    image_message,
    lanes_message,
)
from demo.pipeline import BoundedQueue
from demo.temporal import BoxTracker, tracking_available
from perception.errors import UserError, cli
from perception.hub import DEFAULT, ONNX, local_file
from perception.runtime.birds_eye import costmap
from perception.runtime.camera_file import read_camera
from perception.runtime.road import Road, RoadGeometry
from perception.runtime.runner import Runner
from perception.runtime.scene import Boxes, Labels, Map, Mask, Scene

NAME = "perceive"
LOG_EVERY_S = 5.0
MESSAGES = {
    "geometry_msgs": ("Point", "Quaternion"),
    "nav_msgs": ("OccupancyGrid",),
    "sensor_msgs": ("CompressedImage", "Image"),
    "std_msgs": ("ColorRGBA", "String", "UInt64"),
    "vision_msgs": (
        *("Classification", "Detection2D", "Detection2DArray"),
        *("ObjectHypothesis", "ObjectHypothesisWithPose"),
    ),
    "visualization_msgs": ("Marker", "MarkerArray"),
}


@dataclass(frozen=True)
class Parameters:
    """The node's parameters and their defaults."""

    model: str = DEFAULT  # the pretrained model; also a file or hf://OWNER/NAME
    provider: str = "auto"
    threads: int = 0
    score: float = 0.3
    compressed: bool = False  # whether images come as sensor_msgs/CompressedImage
    track: bool = True  # ids of boxes over time, with the extra demo
    fps: float = 10.0  # of the images, for tracking
    camera: str = ""  # calibration file; empty with camera_height 0: nothing in metres
    camera_height: float = 0.0  # metres over the road
    ground_frame: str = ""  # frame on the road below the camera; empty: the image's frame

    def check(self) -> None:
        """Raises UserError for values that are not possible."""
        if not 0 <= self.score <= 1:
            raise UserError(f"parameter score is {self.score}; give a number from 0 to 1")
        if not 0 < self.fps <= 1000:
            raise UserError(f"parameter fps is {self.fps}; give the images per second")
        if self.camera_height and not 0.2 <= self.camera_height <= 6:
            raise UserError(
                f"parameter camera_height is {self.camera_height}; give metres from 0.2 to 6"
            )


class Ros:
    """The parts of ROS that are used: rclpy, and `msg`, the message classes by name. The only place
    that imports them. Raises UserError where ROS or a message package is missing."""

    def __init__(self) -> None:
        self.msg: Any = SimpleNamespace()
        try:
            self.rclpy, self.qos = import_module("rclpy"), import_module("rclpy.qos")
            self.ended = import_module("rclpy.executors").ExternalShutdownException
            for package, names in MESSAGES.items():
                module = import_module(f"{package}.msg")
                vars(self.msg).update({name: getattr(module, name) for name in names})
        except ImportError as error:
            raise UserError(
                f"{error}: source a ROS 2 setup.bash (Humble or newer) and install its "
                "vision-msgs package; neither is on PyPI"
            ) from None


class Perceive:
    """Runs the model on the newest image and publishes its outputs.

    Images arrive in ROS's thread and are processed in another, so that a slow model drops old
    images instead of queueing them; `dropped` counts them.
    """

    def __init__(self, ros: Ros, node: Any, runner: Runner, given: Parameters) -> None:
        self.ros, self.node, self.runner, self.given = ros, node, runner, given
        self.newest: BoundedQueue[Any] = BoundedQueue(1, newest=True)
        self.processed = self.refused = 0
        self.error: BaseException | None = None
        self.publishers: dict[str, Any] = {}
        self.thread = threading.Thread(target=self._work, daemon=True)
        height = given.camera_height or None
        file = read_camera(Path(given.camera), height) if given.camera else None
        self.geometry = RoadGeometry(file, height) if file or height else None
        track = given.track and tracking_available()
        self.tracker = BoxTracker(given.fps) if track else None
        kind = ros.msg.CompressedImage if given.compressed else ros.msg.Image
        # Only the last image, best effort: from any camera driver.
        newest = ros.qos.QoSProfile(depth=1, reliability=ros.qos.ReliabilityPolicy.BEST_EFFORT)
        node.create_subscription(kind, "image", self.newest.put, newest)
        kept = ros.qos.QoSProfile(depth=1, durability=ros.qos.DurabilityPolicy.TRANSIENT_LOCAL)
        description = ros.msg.String(data=runner.description.to_json())
        self._publish("~/description", description, kept)  # once, for late subscribers too

    @property
    def dropped(self) -> int:
        """Images replaced by a newer one before they were processed."""
        return self.newest.dropped

    def _publish(self, topic_name: str, message: Any, quality: Any = 10) -> None:
        """Quality 10: reliable, as subscribers ask for by default, and a queue of ten."""
        if topic_name not in self.publishers:
            made = self.node.create_publisher(type(message), topic_name, quality)
            self.publishers[topic_name] = made
        self.publishers[topic_name].publish(message)

    def _work(self) -> None:
        try:
            for message in self.newest:
                self.process(message)
        except BaseException as error:  # raised again by run()
            self.error = error
            self.ros.rclpy.try_shutdown()

    def process(self, message: Any) -> None:
        """One image. One that cannot be read is logged (throttled) and skipped."""
        stamp = message.header.stamp
        try:
            image = to_bgr(message)
            scene, seconds = self.runner(image), stamp.sec + 1e-9 * stamp.nanosec
            if self.tracker is not None:
                self.tracker.update(scene, image, seconds)
            road = self.geometry.update(scene, seconds) if self.geometry is not None else None
        except UserError as error:
            self.refused += 1
            self.node.get_logger().warning(str(error), throttle_duration_sec=LOG_EVERY_S)
            return
        self.publish(scene, message.header, road)
        self.processed += 1
        ms = sum(scene.timings_ms.values())
        line = f"{self.processed} images, {self.dropped} dropped, {ms:.0f} ms"
        self.node.get_logger().info(line, throttle_duration_sec=LOG_EVERY_S)

    def publish(self, scene: Scene, header: Any, road: Road | None = None) -> None:
        """Every output on its own topic, all with the image's header."""
        msg = self.ros.msg
        place = None
        if road is not None and road.camera is not None:
            place = Place(road.camera, bool(self.given.ground_frame))
        for name, output in scene.outputs.items():
            plain = topic(name)
            if isinstance(output, Boxes):
                ranges = road.ranges[name] if road is not None else None
                self._publish(f"~/{plain}", boxes_message(msg, output, header, ranges, place))
            elif isinstance(output, Labels):
                for group, message in class_messages(msg, output, header).items():
                    self._publish(f"~/{plain}/{topic(group)}", message)
            elif isinstance(output, Mask | Map):
                self._publish(f"~/{plain}", image_message(msg, output.full, header))
        if road is not None and place is not None:
            if self.given.ground_frame:
                header = type(header)(stamp=header.stamp, frame_id=self.given.ground_frame)
            self._publish("~/lanes", lanes_message(msg, road.lanes, header, place))
            grid = costmap(scene, road)
            if grid is not None:
                self._publish("~/grid", grid_message(msg, grid, header, place))
            numbers = json.dumps(road.attributes(), allow_nan=False)
            self._publish("~/road", msg.String(data=numbers))
        self._publish("~/dropped", msg.UInt64(data=self.dropped))

    def run(self) -> None:
        """Runs until ROS shuts down. Raises the error that ended the processing, if any."""
        self.thread.start()
        try:
            self.ros.rclpy.spin(self.node)
        except (KeyboardInterrupt, self.ros.ended):
            pass  # ordinary ways to end a node
        finally:
            self.newest.abort()
            self.thread.join(timeout=5)
        if self.error is not None:
            raise self.error


def topic(name: str) -> str:
    """An output's name as a valid ROS topic name."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return plain if plain[:1].isalpha() else f"output_{plain}"


def perceive(arguments: Sequence[str] | None, make: Callable[..., Runner] = Runner) -> int:
    """Starts ROS and the node; ends when ROS does."""
    ros = Ros()
    ros.rclpy.init(args=arguments)
    node = ros.rclpy.create_node(NAME)
    try:
        given = Parameters(
            *(node.declare_parameter(key, value).value for key, value in vars(Parameters()).items())
        )
        given.check()
        model = local_file(given.model, ONNX)
        runner = make(model, given.provider, given.threads, score=given.score)
        runner(np.zeros((*runner.description.size_hw, 3), np.uint8))  # warm up
        because = f"{runner.description.name} on {runner.provider}: {runner.chosen_because}"
        node.get_logger().info(because)
        Perceive(ros, node, runner, given).run()
        return 0
    finally:
        node.destroy_node()
        ros.rclpy.try_shutdown()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. A user's mistake is one line and exit code 2."""
    return cli(lambda: perceive(arguments))


if __name__ == "__main__":
    sys.exit(main())
