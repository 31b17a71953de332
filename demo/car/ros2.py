"""A ROS 2 node: python -m demo.car.ros2 --ros-args -p model:=model.onnx -r image:=/camera/image_raw

Publishes one topic per output, by its kind, with the stamp and frame_id of the image
(docs/car.md). rclpy and the message packages come with ROS and are imported only at start.
"""

import re
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from demo.car.ros2_messages import Ros, boxes_message, class_messages, image_message, to_bgr
from demo.pipeline import BoundedQueue
from perception.errors import UserError, cli
from perception.runtime.runner import Runner, default_model
from perception.runtime.scene import Boxes, Labels, Map, Mask, Scene

NAME = "perceive"
LOG_EVERY_S = 5.0


@dataclass(frozen=True)
class Parameters:
    """The node's parameters and their defaults."""

    model: str = ""  # empty: the pretrained model
    provider: str = "auto"
    threads: int = 0
    score: float = 0.3


class Perceive:
    """Runs the model on the newest image and publishes its outputs.

    Images arrive in ROS's thread and are processed in another, so that a slow model drops old
    images instead of queueing them; `dropped` counts them.
    """

    def __init__(self, ros: Ros, node: Any, runner: Runner, score: float) -> None:
        self.ros, self.node, self.runner, self.score = ros, node, runner, score
        self.newest: BoundedQueue[Any] = BoundedQueue(1, newest=True)
        self.processed = self.refused = 0
        self.error: BaseException | None = None
        self.publishers: dict[str, Any] = {}
        self.thread = threading.Thread(target=self._work, daemon=True)
        node.create_subscription(ros.Image, "image", self.newest.put, ros.newest_only())
        self.describe()

    @property
    def dropped(self) -> int:
        """Images replaced by a newer one before they were processed."""
        return self.newest.dropped

    def describe(self) -> None:
        """Publishes the model's JSON description once, kept for late subscribers."""
        text = self.ros.String(data=self.runner.description.to_json())
        self._publisher("~/description", self.ros.String, self.ros.latched()).publish(text)

    def _publisher(self, topic: str, kind: Any, quality: Any = 10) -> Any:
        if topic not in self.publishers:
            self.publishers[topic] = self.node.create_publisher(kind, topic, quality)
        return self.publishers[topic]

    def _work(self) -> None:
        try:
            for message in self.newest:
                self.process(message)
        except BaseException as error:  # raised again by run()
            self.error = error
            self.ros.rclpy.try_shutdown()

    def process(self, message: Any) -> None:
        """One image. One that cannot be read is logged (throttled) and skipped."""
        try:
            scene = self.runner(to_bgr(message))
        except UserError as error:
            self.refused += 1
            self.node.get_logger().warning(str(error), throttle_duration_sec=LOG_EVERY_S)
            return
        self.publish(scene, message.header)
        self.processed += 1
        ms = sum(scene.timings_ms.values())
        line = f"{self.processed} images, {self.dropped} dropped, {ms:.0f} ms"
        self.node.get_logger().info(line, throttle_duration_sec=LOG_EVERY_S)

    def publish(self, scene: Scene, header: Any) -> None:
        """Every output on its own topic, all with the image's header."""
        ros = self.ros
        for name, output in scene.outputs.items():
            name = topic(name)
            if isinstance(output, Boxes):
                found = boxes_message(ros, output.above(self.score), header)
                self._publisher(f"~/{name}", ros.Detection2DArray).publish(found)
            elif isinstance(output, Labels):
                for group, message in class_messages(ros, output, header).items():
                    self._publisher(f"~/{name}/{topic(group)}", ros.Classification).publish(message)
            elif isinstance(output, Mask | Map):
                picture = image_message(ros, output.full, header)
                self._publisher(f"~/{name}", ros.Image).publish(picture)
        self._publisher("~/dropped", ros.UInt64).publish(ros.UInt64(data=self.dropped))

    def run(self) -> None:
        """Runs until ROS shuts down. Raises the error that ended the processing, if any."""
        self.thread.start()
        try:
            self.ros.rclpy.spin(self.node)
        except (KeyboardInterrupt, self.ros.ExternalShutdownException):
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
    ros = Ros.load()
    ros.rclpy.init(args=arguments)
    node = ros.rclpy.create_node(NAME)
    try:
        given = Parameters(
            *(node.declare_parameter(key, value).value for key, value in vars(Parameters()).items())
        )
        if not 0 <= given.score <= 1:
            raise UserError(f"parameter score is {given.score}; give a number from 0 to 1")
        model = Path(given.model) if given.model else default_model()
        runner = make(model, given.provider, given.threads)
        runner(np.zeros((*runner.description.size_hw, 3), np.uint8))  # warm up
        because = f"{runner.description.name} on {runner.provider}: {runner.chosen_because}"
        node.get_logger().info(because)
        Perceive(ros, node, runner, given.score).run()
        return 0
    finally:
        node.destroy_node()
        ros.rclpy.try_shutdown()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. A user's mistake is one line and exit code 2."""
    return cli(lambda: perceive(arguments))


if __name__ == "__main__":
    sys.exit(main())
