"""perceive --mcap: a log for Foxglove with image, annotations and masks of every frame; with a
camera also lanes, distances and a grid in metres. demo/car/foxglove-layout.json shows it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import foxglove
import foxglove.messages as fox
import numpy as np
from foxglove import channels

from demo.pipeline import Packet, Source
from demo.sinks import FileSink
from perception.runtime.birds_eye import (
    CELL_M,
    FREE,
    LINE,
    OCCUPIED,
    SIDE_M,
    UNKNOWN,
    costmap,
    footprints,
    forward_left,
)
from perception.runtime.colours import BGR, colour
from perception.runtime.lanes import Lane
from perception.runtime.road import Road
from perception.runtime.scene import Boxes, Labels, Mask, Scene

CAMERA = "camera"
# Of grid and scene: on the road below the camera, x forward, y left, z up.
FRAME = "road"
HEIGHT_M = 1.5  # of the drawn road users
SHOWN_S = 0.5  # how long lanes and road users stay without a new frame
# Red, green, blue and opacity of a cell.
INKS = {
    UNKNOWN: (0, 0, 0, 0),
    FREE: (76, 96, 84, 255),
    LINE: (235, 235, 235, 255),
    OCCUPIED: (235, 90, 60, 255),
}
FIELDS = [
    *(("red", 0), ("green", 1), ("blue", 2), ("alpha", 3)),
    ("cost", 4),  # as in nav_msgs/OccupancyGrid
]
UPRIGHT = fox.Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 88]


class McapSink(FileSink):
    """One image message and one annotations message per frame, and one PNG per mask; the road in
    metres where the frame has it.

    Times are those of recording where the source knows them, else the video's own from 0 on.
    """

    def __init__(self, path: Path, source: Source) -> None:
        super().__init__(path)
        self.source = source

    def open(self) -> None:
        """Opens the log; topics get their channels when they first come."""
        self.context = foxglove.Context()
        writer = foxglove.open_mcap(self.part, allow_overwrite=True, context=self.context)
        self.on_close(writer.close)
        self.channels: dict[str, Any] = {}

    def append(self, packet: Packet) -> None:
        scene, road = packet.scene, packet.road
        now = self.source.epoch_ns + round(1e9 * packet.frame.seconds)
        stamp = fox.Timestamp(sec=now // 10**9, nsec=now % 10**9)
        messages = {
            f"/{CAMERA}/image": _picture(packet.frame.image, "jpeg", stamp),
            f"/{CAMERA}/annotations": _notes(scene, road, stamp),
        }
        for name, mask in scene.of(Mask):
            messages[f"/{CAMERA}/{name}"] = _picture(mask.small, "png", stamp)
        cells = costmap(scene, road) if road is not None else None
        if road is not None and cells is not None:
            entities = [*_lanes(road.lanes, stamp), *_users(scene, road, stamp)]
            messages["/road/grid"] = _grid(forward_left(cells), stamp)
            messages["/road/scene"] = fox.SceneUpdate(entities=entities)
        for topic, message in messages.items():
            if topic not in self.channels:
                kind = getattr(channels, f"{type(message).__name__}Channel")
                self.channels[topic] = kind(topic, context=self.context)
            self.channels[topic].log(message, log_time=now)


def _picture(image: np.ndarray, kind: str, stamp: fox.Timestamp) -> Any:
    data = cv2.imencode(f".{kind}", image, JPEG if kind == "jpeg" else [])[1].tobytes()
    return fox.CompressedImage(timestamp=stamp, frame_id=CAMERA, data=data, format=kind)


def _notes(scene: Scene, road: Road | None, stamp: fox.Timestamp) -> Any:
    """Boxes, labels and lanes over the image."""
    points, texts, kind = [], [], fox.PointsAnnotationType
    for name, boxes in scene.of(Boxes):
        ranges = road.ranges[name] if road is not None else None
        for i in np.flatnonzero(boxes.counted).tolist():
            x1, y1, x2, y2 = boxes.xyxy[i].tolist()
            ink, text = colour(boxes.name(i)), boxes.text(i)
            corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
            points.append(_points(corners, ink, kind.LineLoop, stamp))
            if ranges is not None and np.isfinite(ranges.distance_m[i]):
                text += f" {ranges.distance_m[i]:.0f} m"
            texts.append(_text(text, x1, y1, ink, stamp))
    for _, labels in scene.of(Labels):
        for row, (group, (name, share)) in enumerate(labels.best().items(), 1):
            text = f"{group}: {name} {100 * share:.0f}%"
            texts.append(_text(text, 8.0, 20.0 * row, (240, 240, 240), stamp))
    for lane in road.lanes if road is not None else ():
        points.append(_points(lane.points, colour(lane.category), kind.LineStrip, stamp))
    return fox.ImageAnnotations(points=points, texts=texts, timestamp=stamp)


def _points(path: np.ndarray, ink: BGR, kind: Any, stamp: Any) -> fox.PointsAnnotation:
    return fox.PointsAnnotation(
        timestamp=stamp,
        type=kind,
        points=[fox.Point2(x=float(x), y=float(y)) for x, y in path],
        outline_color=_ink(ink),
        thickness=2.0,
    )


def _text(text: str, x: float, y: float, paper: BGR, stamp: Any) -> fox.TextAnnotation:
    return fox.TextAnnotation(
        timestamp=stamp,
        position=fox.Point2(x=x, y=y),
        text=text,
        font_size=14.0,
        text_color=fox.Color(r=0.05, g=0.05, b=0.05, a=1.0),
        background_color=_ink(paper),
    )


def _grid(cells: np.ndarray, stamp: fox.Timestamp) -> fox.Grid:
    """Of int8 (y, x) costs."""
    packed = np.empty((*cells.shape, len(FIELDS)), np.uint8)
    for value, ink in INKS.items():
        packed[cells == value, :4] = ink
    packed[..., 4] = cells.view(np.uint8)
    number = fox.PackedElementFieldNumericType
    return fox.Grid(
        timestamp=stamp,
        frame_id=FRAME,
        pose=fox.Pose(position=fox.Vector3(x=0.0, y=-SIDE_M, z=0.0), orientation=UPRIGHT),
        column_count=cells.shape[1],
        cell_size=fox.Vector2(x=CELL_M, y=CELL_M),
        row_stride=packed.strides[0],
        cell_stride=packed.strides[1],
        fields=[
            fox.PackedElementField(
                name=name, offset=offset, type=number.Int8 if name == "cost" else number.Uint8
            )
            for name, offset in FIELDS
        ],
        data=packed.tobytes(),
    )


def _lanes(lanes: Iterable[Lane], stamp: fox.Timestamp) -> Iterable[fox.SceneEntity]:
    for number, lane in enumerate(lanes):
        if lane.ground is not None and len(lane.ground) > 1:
            line = fox.LinePrimitive(
                type=fox.LinePrimitiveLineType.LineStrip,
                pose=_pose(0.0, 0.0, 0.0),
                thickness=0.12,
                points=[fox.Point3(x=float(z), y=float(-x), z=0.02) for x, z in lane.ground],
                color=_ink(colour(lane.category), 1.0),
            )
            name = f"marking {lane.id}" if lane.id >= 0 else f"across {number}"
            yield _entity(name, stamp, lines=[line])


def _users(scene: Scene, road: Road, stamp: fox.Timestamp) -> Iterable[fox.SceneEntity]:
    for number, (name, corners, ranges, i) in enumerate(footprints(scene, road)):
        (wide, long), (x, z) = np.ptp(corners, axis=0).tolist(), corners.mean(axis=0).tolist()
        cube = fox.CubePrimitive(
            pose=_pose(z, -x, HEIGHT_M / 2),
            size=fox.Vector3(x=long, y=wide, z=HEIGHT_M),
            color=_ink(colour(name), 0.7),
        )
        text = fox.TextPrimitive(
            pose=_pose(z, -x, HEIGHT_M + 0.5),
            billboard=True,
            font_size=0.8,
            color=_ink((255, 255, 255), 1.0),
            text=f"{name} {ranges.distance_m[i]:.0f} m",
        )
        yield _entity(f"user {number}", stamp, cubes=[cube], texts=[text])


def _entity(name: str, stamp: fox.Timestamp, **primitives: Any) -> fox.SceneEntity:
    lifetime = fox.Duration(sec=0, nsec=round(1e9 * SHOWN_S))
    return fox.SceneEntity(
        timestamp=stamp, frame_id=FRAME, id=name, lifetime=lifetime, **primitives
    )


def _pose(x: float, y: float, z: float) -> fox.Pose:
    return fox.Pose(position=fox.Vector3(x=x, y=y, z=z), orientation=UPRIGHT)


def _ink(ink: BGR, opacity: float = 1.0) -> fox.Color:
    blue, green, red = (value / 255 for value in ink)
    return fox.Color(r=red, g=green, b=blue, a=opacity)
