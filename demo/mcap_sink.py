"""perceive --mcap: a log for Foxglove with image, annotations and masks of every frame; with a
camera also lanes, distances and a grid in metres. demo/car/foxglove-layout.json shows it."""

import time
from pathlib import Path
from typing import Any

import cv2
import foxglove
import numpy as np
from foxglove.channels import CompressedImageChannel, ImageAnnotationsChannel
from foxglove.messages import (
    Color,
    CompressedImage,
    ImageAnnotations,
    Point2,
    PointsAnnotation,
    PointsAnnotationType,
    TextAnnotation,
    Timestamp,
)

from demo.mcap_road import RoadChannels
from demo.overlay import EGO_COLOUR
from demo.pipeline import Packet
from demo.sinks import FileSink
from perception.runtime.colours import BGR, colour
from perception.runtime.distance import Ranges
from perception.runtime.scene import Boxes, Labels, Mask

CAMERA = "camera"
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 88]


class McapSink(FileSink):
    """One image message and one annotations message per frame, and one PNG per mask; the road in
    metres where the frame has it.

    Times are the source's own for a file and the wall clock's for a live source.
    """

    def __init__(self, path: Path, live: bool, score: float) -> None:
        super().__init__(path)
        self.score, self.epoch_ns = score, time.time_ns() if live else 0

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
        now = self.epoch_ns + round(1e9 * packet.frame.seconds)
        stamp = Timestamp(sec=now // 10**9, nsec=now % 10**9)
        self._picture(self.image, packet.frame.image, ".jpg", stamp, now)
        points, texts = [], []
        for name, boxes in scene.of(Boxes):
            ranges = packet.road.ranges[name] if packet.road else None
            for i in np.flatnonzero(boxes.scores >= self.score).tolist():
                points.append(_outline(boxes, i, stamp))
                texts.append(_caption(boxes, i, ranges, stamp))
        for _, labels in scene.of(Labels):
            texts += _lines(labels, stamp)
        strip = PointsAnnotationType.LineStrip
        for lane in packet.road.lanes if packet.road else ():
            points.append(_points(lane.points, colour(lane.category), strip, stamp))
        for path in packet.ego.values():
            points.append(_points(path, EGO_COLOUR, strip, stamp))
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
        outline_color=_colour(ink),
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
        background_color=_colour(paper),
    )


def _colour(ink: BGR) -> Color:
    blue, green, red = (value / 255 for value in ink)
    return Color(r=red, g=green, b=blue, a=1.0)
