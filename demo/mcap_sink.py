"""perceive --mcap: a log for Foxglove with image, annotations and masks of every frame; with a
camera also lanes, distances and a grid in metres. demo/car/foxglove-layout.json shows it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import foxglove
import numpy as np
from foxglove.channels import (
    CompressedImageChannel,
    GridChannel,
    ImageAnnotationsChannel,
    SceneUpdateChannel,
)
from foxglove.messages import (
    Color,
    CompressedImage,
    CubePrimitive,
    Duration,
    Grid,
    ImageAnnotations,
    LinePrimitive,
    LinePrimitiveLineType,
    PackedElementField,
    PackedElementFieldNumericType,
    Point2,
    Point3,
    PointsAnnotation,
    PointsAnnotationType,
    Pose,
    Quaternion,
    SceneEntity,
    SceneUpdate,
    TextAnnotation,
    TextPrimitive,
    Timestamp,
    Vector2,
    Vector3,
)

from demo.pipeline import Packet, Source
from demo.sinks import FileSink
from perception.runtime.birds_eye import FREE, LINE, OCCUPIED, SIDE_M, UNKNOWN, costmap, footprints
from perception.runtime.colours import BGR, colour
from perception.runtime.distance import Ranges
from perception.runtime.lanes import Lane
from perception.runtime.road import Road
from perception.runtime.scene import Boxes, Labels, Mask, Scene, Score, least_score

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
UPRIGHT = Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 88]


class McapSink(FileSink):
    """One image message and one annotations message per frame, and one PNG per mask; the road in
    metres where the frame has it.

    Times are those of recording where the source knows them, else the video's own from 0 on.
    """

    def __init__(self, path: Path, source: Source, score: Score) -> None:
        super().__init__(path)
        self.source, self.score = source, score

    def open(self) -> None:
        """Opens the log and its channels; masks get theirs when they first come."""
        self.context = foxglove.Context()
        writer = foxglove.open_mcap(self.part, allow_overwrite=True, context=self.context)
        self.on_close(writer.close)
        self.image = CompressedImageChannel(f"/{CAMERA}/image", context=self.context)
        self.notes = ImageAnnotationsChannel(f"/{CAMERA}/annotations", context=self.context)
        self.masks: dict[str, CompressedImageChannel] = {}
        self.road: RoadChannels | None = None

    def append(self, packet: Packet) -> None:
        """Logs a frame."""
        scene = packet.scene
        assert scene is not None
        now = self.source.epoch_ns + round(1e9 * packet.frame.seconds)
        stamp = Timestamp(sec=now // 10**9, nsec=now % 10**9)
        self._picture(self.image, packet.frame.image, ".jpg", stamp, now)
        points, texts = [], []
        for name, boxes in scene.of(Boxes):
            ranges = packet.road.ranges[name] if packet.road else None
            for i in np.flatnonzero(boxes.counted(least_score(self.score, name))).tolist():
                points.append(_outline(boxes, i, stamp))
                texts.append(_caption(boxes, i, ranges, stamp))
        for _, labels in scene.of(Labels):
            texts += _lines(labels, stamp)
        strip = PointsAnnotationType.LineStrip
        for lane in packet.road.lanes if packet.road else ():
            points.append(_points(lane.points, colour(lane.category), strip, stamp))
        self.notes.log(ImageAnnotations(points=points, texts=texts, timestamp=stamp), log_time=now)
        for name, mask in scene.of(Mask):
            if name not in self.masks:
                topic = f"/{CAMERA}/{name}"
                self.masks[name] = CompressedImageChannel(topic, context=self.context)
            self._picture(self.masks[name], mask.small, ".png", stamp, now)
        if packet.road is not None and packet.road.camera is not None:
            self.road = self.road or RoadChannels(self.context)
            self.road.log(scene, packet.road, self.score, stamp, now)

    def _picture(
        self, channel: CompressedImageChannel, image: np.ndarray, kind: str, stamp: Any, now: int
    ) -> None:
        data = cv2.imencode(kind, image, JPEG if kind == ".jpg" else [])[1].tobytes()
        name = "jpeg" if kind == ".jpg" else "png"
        channel.log(
            CompressedImage(timestamp=stamp, frame_id=CAMERA, data=data, format=name), log_time=now
        )


def _points(path: np.ndarray, ink: BGR, kind: Any, stamp: Any) -> PointsAnnotation:
    return PointsAnnotation(
        timestamp=stamp,
        type=kind,
        points=[Point2(x=float(x), y=float(y)) for x, y in path],
        outline_color=_ink(ink),
        thickness=2.0,
    )


def _outline(boxes: Boxes, i: int, stamp: Any) -> PointsAnnotation:
    x1, y1, x2, y2 = boxes.xyxy[i]
    corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    return _points(corners, colour(boxes.name(i)), PointsAnnotationType.LineLoop, stamp)


def _caption(boxes: Boxes, i: int, ranges: Ranges | None, stamp: Any) -> TextAnnotation:
    x, y = (float(value) for value in boxes.xyxy[i, :2])
    text = boxes.text(i)
    if ranges is not None and np.isfinite(ranges.distance_m[i]):
        text += f" {ranges.distance_m[i]:.0f} m"
    return _text(text, x, y, colour(boxes.name(i)), stamp)


def _lines(labels: Labels, stamp: Any) -> list[TextAnnotation]:
    return [
        _text(f"{group}: {name} {100 * share:.0f}%", 8.0, 20.0 * (row + 1), (240, 240, 240), stamp)
        for row, (group, (name, share)) in enumerate(labels.best().items())
    ]


def _text(text: str, x: float, y: float, paper: BGR, stamp: Any) -> TextAnnotation:
    return TextAnnotation(
        timestamp=stamp,
        position=Point2(x=x, y=y),
        text=text,
        font_size=14.0,
        text_color=Color(r=0.05, g=0.05, b=0.05, a=1.0),
        background_color=_ink(paper),
    )


class RoadChannels:
    """The topics /road/grid and /road/scene; created with the first frame that has a camera."""

    def __init__(self, context: foxglove.Context) -> None:
        self.grid = GridChannel("/road/grid", context=context)
        self.scene = SceneUpdateChannel("/road/scene", context=context)

    def log(self, scene: Scene, road: Road, score: Score, stamp: Timestamp, now: int) -> None:
        """Logs a frame at `now`, in nanoseconds. Nothing where the frame has no camera."""
        found = costmap(scene, road, score)
        if found is None:
            return
        self.grid.log(_grid(found.forward_left(), found.cell_m, stamp), log_time=now)
        entities = [*_lanes(road.lanes, stamp), *_users(scene, road, score, stamp)]
        self.scene.log(SceneUpdate(entities=entities), log_time=now)


def _grid(cells: np.ndarray, cell_m: float, stamp: Timestamp) -> Grid:
    """Of int8 (y, x) costs."""
    packed = np.empty((*cells.shape, len(FIELDS)), np.uint8)
    for value, ink in INKS.items():
        packed[cells == value, :4] = ink
    packed[..., 4] = cells.view(np.uint8)
    number = PackedElementFieldNumericType
    return Grid(
        timestamp=stamp,
        frame_id=FRAME,
        pose=Pose(position=Vector3(x=0.0, y=-SIDE_M, z=0.0), orientation=UPRIGHT),
        column_count=cells.shape[1],
        cell_size=Vector2(x=cell_m, y=cell_m),
        row_stride=packed.strides[0],
        cell_stride=packed.strides[1],
        fields=[
            PackedElementField(
                name=name, offset=offset, type=number.Int8 if name == "cost" else number.Uint8
            )
            for name, offset in FIELDS
        ],
        data=packed.tobytes(),
    )


def _lanes(lanes: Iterable[Lane], stamp: Timestamp) -> Iterable[SceneEntity]:
    for number, lane in enumerate(lanes):
        if lane.ground is not None and len(lane.ground) > 1:
            line = LinePrimitive(
                type=LinePrimitiveLineType.LineStrip,
                pose=_pose(0.0, 0.0, 0.0),
                thickness=0.12,
                points=[Point3(x=float(z), y=float(-x), z=0.02) for x, z in lane.ground],
                color=_ink(colour(lane.category), 1.0),
            )
            name = f"marking {lane.id}" if lane.id >= 0 else f"across {number}"
            yield _entity(name, stamp, lines=[line])


def _users(scene: Scene, road: Road, score: Score, stamp: Timestamp) -> Iterable[SceneEntity]:
    for number, (name, corners, ranges, i) in enumerate(footprints(scene, road, score)):
        (wide, long), (x, z) = np.ptp(corners, axis=0).tolist(), corners.mean(axis=0).tolist()
        cube = CubePrimitive(
            pose=_pose(z, -x, HEIGHT_M / 2),
            size=Vector3(x=long, y=wide, z=HEIGHT_M),
            color=_ink(colour(name), 0.7),
        )
        text = TextPrimitive(
            pose=_pose(z, -x, HEIGHT_M + 0.5),
            billboard=True,
            font_size=0.8,
            color=_ink((255, 255, 255), 1.0),
            text=f"{name} {ranges.distance_m[i]:.0f} m",
        )
        yield _entity(f"user {number}", stamp, cubes=[cube], texts=[text])


def _entity(
    name: str,
    stamp: Timestamp,
    lines: list[LinePrimitive] | None = None,
    cubes: list[CubePrimitive] | None = None,
    texts: list[TextPrimitive] | None = None,
) -> SceneEntity:
    return SceneEntity(
        timestamp=stamp,
        frame_id=FRAME,
        id=name,
        lifetime=Duration(sec=0, nsec=round(1e9 * SHOWN_S)),
        lines=lines or [],
        cubes=cubes or [],
        texts=texts or [],
    )


def _pose(x: float, y: float, z: float) -> Pose:
    return Pose(position=Vector3(x=x, y=y, z=z), orientation=UPRIGHT)


def _ink(ink: BGR, opacity: float = 1.0) -> Color:
    blue, green, red = (value / 255 for value in ink)
    return Color(r=red, g=green, b=blue, a=opacity)
