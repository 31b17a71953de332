"""Outputs as ROS 2 messages, by kind, and ROS images as frames."""

from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np

from perception.errors import UserError
from perception.runtime.scene import Boxes, Labels

# Encoding of sensor_msgs/Image: channels, and the order that makes them blue, green, red.
ENCODINGS: dict[str, tuple[int, tuple[int, ...]]] = {
    "bgr8": (3, (0, 1, 2)),
    "rgb8": (3, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
    "bgra8": (4, (0, 1, 2)),
    "rgba8": (4, (2, 1, 0)),
}


@dataclass(frozen=True)
class Ros:
    """The parts of ROS that are used; the only place that imports it."""

    rclpy: Any
    qos: Any
    ExternalShutdownException: Any
    Image: Any
    String: Any
    UInt64: Any
    Classification: Any
    Detection2D: Any
    Detection2DArray: Any
    ObjectHypothesis: Any
    ObjectHypothesisWithPose: Any

    @staticmethod
    def load() -> "Ros":
        """Raises UserError where ROS or a message package is missing."""
        try:
            import rclpy
            from rclpy import qos
            from rclpy.executors import ExternalShutdownException
            from sensor_msgs.msg import Image
            from std_msgs.msg import String, UInt64
            from vision_msgs.msg import (
                Classification,
                Detection2D,
                Detection2DArray,
                ObjectHypothesis,
                ObjectHypothesisWithPose,
            )
        except ImportError as error:
            raise UserError(
                f"{error}: source a ROS 2 setup.bash (Humble or newer) and install its "
                "vision-msgs package; neither is on PyPI"
            ) from None
        return Ros(
            rclpy,
            qos,
            ExternalShutdownException,
            Image,
            String,
            UInt64,
            Classification,
            Detection2D,
            Detection2DArray,
            ObjectHypothesis,
            ObjectHypothesisWithPose,
        )

    def newest_only(self) -> Any:
        """Quality of the image subscription: only the last image, from any camera driver."""
        return self.qos.QoSProfile(depth=1, reliability=self.qos.ReliabilityPolicy.BEST_EFFORT)

    def latched(self) -> Any:
        """Quality of a topic whose last message late subscribers receive too."""
        return self.qos.QoSProfile(depth=1, durability=self.qos.DurabilityPolicy.TRANSIENT_LOCAL)


def to_bgr(message: Any) -> np.ndarray:
    """uint8 (H, W, 3) BGR of a sensor_msgs/Image, without padding at the end of rows (`step`).

    Raises UserError on an unsupported encoding, and on sizes that do not fit the data.
    """
    height, width, step = message.height, message.width, message.step
    if message.encoding not in ENCODINGS:
        raise UserError(f"image encoding {message.encoding!r}: supported: {', '.join(ENCODINGS)}")
    channels, order = ENCODINGS[message.encoding]
    data = np.frombuffer(message.data, np.uint8)
    if not (height and width) or step < width * channels or len(data) < height * step:
        raise UserError(
            f"image of {width}x{height} {message.encoding} with step {step}: its {len(data)} bytes "
            "do not fit"
        )
    rows = data[: height * step].reshape(height, step)[:, : width * channels]
    return np.ascontiguousarray(rows.reshape(height, width, channels)[..., order])


def image_message(ros: Ros, values: np.ndarray, header: Any) -> Any:
    """sensor_msgs/Image: mono8 of a uint8 (H, W) mask, whose pixels are its values; 32FC1 of a
    float32 (H, W) map; 32FC3 of (3, H, W) vectors."""
    if values.ndim == 3:
        values = values.transpose(1, 2, 0)
    depth = 1 if values.ndim == 2 else values.shape[2]
    is_mask = values.dtype == np.uint8
    values = np.ascontiguousarray(values, np.uint8 if is_mask else np.dtype("<f4"))
    return ros.Image(
        header=header,
        height=values.shape[0],
        width=values.shape[1],
        encoding="mono8" if is_mask else f"32FC{depth}",
        is_bigendian=0,
        step=values.strides[0],
        # rclpy checks any other type byte by byte, which takes longer than the model.
        data=array("B", values.tobytes()),
    )


def boxes_message(ros: Ros, boxes: Boxes, header: Any) -> Any:
    """vision_msgs/Detection2DArray in pixels of the image; class names, best first."""
    return ros.Detection2DArray(
        header=header, detections=[_detection(ros, boxes, i, header) for i in range(len(boxes))]
    )


def _detection(ros: Ros, boxes: Boxes, i: int, header: Any) -> Any:
    x1, y1, x2, y2 = map(float, boxes.xyxy[i])
    made = ros.Detection2D(header=header)
    made.bbox.center.position.x, made.bbox.center.position.y = (x1 + x2) / 2, (y1 + y2) / 2
    made.bbox.size_x, made.bbox.size_y = x2 - x1, y2 - y1
    guess = ros.ObjectHypothesisWithPose()
    guess.hypothesis.class_id = boxes.name(i)
    guess.hypothesis.score = float(boxes.scores[i])
    made.results = [guess]
    return made


def class_messages(ros: Ros, labels: Labels, header: Any) -> dict[str, Any]:
    """{group: vision_msgs/Classification} with all probabilities, highest first."""
    return {
        group: ros.Classification(
            header=header,
            results=[
                ros.ObjectHypothesis(class_id=name, score=float(share))
                for name, share in sorted(classes.items(), key=lambda item: -item[1])
            ],
        )
        for group, classes in labels.groups.items()
    }
