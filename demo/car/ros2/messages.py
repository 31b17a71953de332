"""Outputs as ROS 2 messages, by kind. `msg` holds the message classes by name (see `Ros`).

What has metres is given in the camera's optical frame (x right, y down, z forward), that of the
image's header; or, with `ground`, in a frame on the road below the camera (x forward, y left,
z up), which navigation expects.
"""

from array import array
from typing import Any

import cv2
import numpy as np

from perception.runtime.birds_eye import CELL_M, SIDE_M, forward_left
from perception.runtime.camera import Camera
from perception.runtime.colours import colour
from perception.runtime.distance import Ranges
from perception.runtime.lanes import Lane
from perception.runtime.scene import Boxes, Labels

LINE_STRIP, ADD, DELETE_ALL = 4, 0, 3  # of visualization_msgs/Marker
LANE_WIDTH_M = 0.12
UNKNOWN = -1.0  # as in sensor_msgs: a covariance that begins with it belongs to no value


class Place:
    """Positions on the road, as numbers of one coordinate frame."""

    def __init__(self, camera: Camera, ground: bool) -> None:
        # Rows: axes of the frame; columns: right, up and forward of the vehicle frame (camera.py).
        self.axes = np.array([[0, 0, 1], [-1, 0, 0], [0, 1, 0.0]]) if ground else camera.rotation.T
        self.below = 0.0 if ground else -camera.height

    def points(self, road: np.ndarray) -> np.ndarray:
        """(N, 3) of (N, 2) right and forward in metres."""
        up = np.full(len(road), self.below)
        return np.column_stack([road[:, 0], up, road[:, 1]]) @ self.axes.T

    def covariance(self, sigma_right: float, sigma_forward: float) -> np.ndarray:
        """(3, 3) of a point on the road."""
        return self.axes @ np.diag([sigma_right**2, 0, sigma_forward**2]) @ self.axes.T

    def quaternion(self) -> tuple[float, float, float, float]:
        """x, y, z, w of axes that lie on the road: x forward, y left, z up."""
        forward, left, up = self.axes[:, 2], -self.axes[:, 0], self.axes[:, 1]
        vector = cv2.Rodrigues(np.column_stack([forward, left, up]))[0].ravel()
        angle = float(np.linalg.norm(vector))
        x, y, z = (vector * (np.sin(angle / 2) / angle if angle else 0.5)).tolist()
        return x, y, z, float(np.cos(angle / 2))


def image_message(msg: Any, values: np.ndarray, header: Any) -> Any:
    """sensor_msgs/Image: mono8 of a uint8 (H, W) mask, whose pixels are its values; 32FC1 of a
    float32 (H, W) map; 32FC3 of (3, H, W) vectors."""
    if values.ndim == 3:
        values = values.transpose(1, 2, 0)
    depth = 1 if values.ndim == 2 else values.shape[2]
    is_mask = values.dtype == np.uint8
    values = np.ascontiguousarray(values, np.uint8 if is_mask else np.dtype("<f4"))
    return msg.Image(
        header=header,
        height=values.shape[0],
        width=values.shape[1],
        encoding="mono8" if is_mask else f"32FC{depth}",
        is_bigendian=0,
        step=values.strides[0],
        # rclpy checks any other type byte by byte, which takes longer than the model.
        data=array("B", values.tobytes()),
    )


def boxes_message(
    msg: Any, boxes: Boxes, header: Any, ranges: Ranges | None = None, place: Place | None = None
) -> Any:
    """vision_msgs/Detection2DArray of the boxes that count, best first.

    Boxes are in pixels of the image; `id` is that of the track, empty where there is none. The
    pose of the hypothesis is the object's foot on the road, with its covariance, where the geometry
    supports a distance; elsewhere the covariance begins with UNKNOWN.
    """
    found = []
    for i in np.flatnonzero(boxes.counted).tolist():
        x1, y1, x2, y2 = map(float, boxes.xyxy[i])
        made = msg.Detection2D(header=header)
        made.bbox.center.position.x, made.bbox.center.position.y = (x1 + x2) / 2, (y1 + y2) / 2
        made.bbox.size_x, made.bbox.size_y = x2 - x1, y2 - y1
        if boxes.track_ids is not None and boxes.track_ids[i] >= 0:
            made.id = str(boxes.track_ids[i])
        guess = msg.ObjectHypothesisWithPose()
        guess.hypothesis.class_id = boxes.name(i)
        guess.hypothesis.score = float(boxes.scores[i])
        covariance = np.zeros((6, 6))
        if ranges is None or place is None or not np.isfinite(ranges.distance_m[i]):
            covariance[0, 0] = UNKNOWN
        else:
            road = np.array([[ranges.offset_m[i], ranges.distance_m[i]]])
            guess.pose.pose.position = _point(msg, place.points(road)[0])
            covariance[:3, :3] = place.covariance(
                ranges.offset_sigma_m[i], ranges.distance_sigma_m[i]
            )
        guess.pose.covariance = covariance.ravel()
        made.results = [guess]
        found.append(made)
    return msg.Detection2DArray(header=header, detections=found)


def class_messages(msg: Any, labels: Labels, header: Any) -> dict[str, Any]:
    """{group: vision_msgs/Classification} with all probabilities, highest first."""
    return {
        group: msg.Classification(
            header=header,
            results=[
                msg.ObjectHypothesis(class_id=name, score=float(share))
                for name, share in sorted(classes.items(), key=lambda item: -item[1])
            ],
        )
        for group, classes in labels.groups.items()
    }


def lanes_message(msg: Any, lanes: list[Lane], header: Any, place: Place) -> Any:
    """visualization_msgs/MarkerArray: one line strip in metres per lane, near to far.

    `ns` is the side ("ego left"), `id` the lane's own, `text` category, style and direction, and
    the colour's alpha the score. A first marker removes those of the last message from displays.
    """
    markers = [msg.Marker(header=header, action=DELETE_ALL)]
    for number, lane in enumerate(lanes):
        if lane.ground is None or len(lane.ground) < 2:
            continue
        marker = msg.Marker(header=header, ns=lane.side, type=LINE_STRIP, action=ADD)
        marker.id = lane.id if lane.id >= 0 else -1 - number
        marker.pose.orientation.w = 1.0
        marker.scale.x = LANE_WIDTH_M
        blue, green, red = (value / 255 for value in colour(lane.category))
        marker.color = msg.ColorRGBA(r=red, g=green, b=blue, a=min(max(lane.score, 0.0), 1.0))
        marker.points = [_point(msg, xyz) for xyz in place.points(lane.ground)]
        marker.text = ", ".join(filter(None, (lane.category, lane.style, lane.direction)))
        markers.append(marker)
    return msg.MarkerArray(markers=markers)


def grid_message(msg: Any, costmap: np.ndarray, header: Any, place: Place) -> Any:
    """nav_msgs/OccupancyGrid: x forward, y left, from the right-hand corner next to the camera."""
    cells = forward_left(costmap)
    grid = msg.OccupancyGrid(header=header)
    grid.info.map_load_time = header.stamp
    grid.info.resolution = CELL_M
    grid.info.height, grid.info.width = cells.shape
    grid.info.origin.position = _point(msg, place.points(np.array([[SIDE_M, 0.0]]))[0])
    x, y, z, w = place.quaternion()
    grid.info.origin.orientation = msg.Quaternion(x=x, y=y, z=z, w=w)
    grid.data = array("b", cells.tobytes())
    return grid


def _point(msg: Any, xyz: np.ndarray) -> Any:
    x, y, z = map(float, xyz)
    return msg.Point(x=x, y=y, z=z)
