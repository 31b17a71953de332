"""Results as files: Scalabel frames, as BDD100K's labels are, and other annotation formats."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from demo.pipeline import Packet
from demo.road import box_attributes, frame_attributes, lane_label
from demo.sinks import FileSink
from perception.classes import (
    LANE_BACKGROUND_BIT,
    LANE_CATEGORY_BITS,
    LANE_DIRECTION_BIT,
    LANE_STYLE_BIT,
)
from perception.runtime.annotations import FIELDS, Export
from perception.runtime.colours import BACKGROUND
from perception.runtime.distance import Ranges
from perception.runtime.polygons import MAX_AREAS, outlines
from perception.runtime.scene import Boxes, Mask


class ScalabelSink(FileSink):
    """One frame per line (.jsonl), or all frames as a list (.json)."""

    def __init__(self, path: Path, video: str, score: float, keep: bool = True) -> None:
        super().__init__(path, keep)
        self.video, self.score, self.frames = video, score, 0
        self.is_list = path.suffix.lower() == ".json"

    def open(self) -> None:
        """Unbuffered: a killed run leaves every line written so far."""
        self.file = self.part.open("wb", buffering=0)
        self.on_close(self.file.close)
        if self.is_list:
            self.on_close(lambda: self.file.write(b"\n]\n" if self.frames else b"[]\n"))

    def append(self, packet: Packet) -> None:
        """Writes a frame; one that the disk has no room for is removed again."""
        frame = scalabel_frame(packet, self.video, self.score)
        text = json.dumps(frame, allow_nan=False, separators=(",", ":"))
        before, after = ("[\n", "") if self.is_list else ("", "\n")
        if self.is_list and self.frames:
            before = ",\n"
        start = self.file.tell() if self.part.is_file() else 0
        try:
            self.file.write((before + text + after).encode())
        except OSError:
            if self.part.is_file():
                self.file.truncate(start)
                self.file.seek(start)
            raise
        self.frames += 1


class ExportSink:
    """Frames as an annotation format, written when the run ends."""

    def __init__(self, export: Export) -> None:
        self.export = export

    def write(self, packet: Packet) -> None:
        """Keeps one frame's results."""
        assert packet.scene is not None
        self.export.add(packet.frame.name, packet.scene)


def scalabel_frame(packet: Packet, video: str, score: float) -> dict[str, Any]:
    """One frame: its attributes, box2d from boxes, poly2d outlines from masks.

    Where the road's geometry is asked for, lane markings are open lines instead of outlines, and
    boxes and frame carry its numbers as attributes (docs/geometry.md)."""
    scene = packet.scene
    assert scene is not None
    road = packet.road
    attributes: dict[str, Any] = {}
    for name, output in scene.outputs.items():
        attributes |= output.attributes(name)
    ranges = road.ranges if road is not None else {}
    labels = [
        label
        for name, boxes in scene.of(Boxes)
        for label in _box_labels(boxes, score, ranges.get(name))
    ]
    if road is not None:
        attributes |= frame_attributes(road)
        labels += [lane_label(lane) for lane in road.lanes]
    labels += [
        label
        for _, mask in scene.of(Mask)
        if road is None or not mask.is_lane_byte
        for label in _mask_labels(mask)
    ]
    height, width = scene.frame_hw
    return {
        "name": packet.frame.name,
        "url": None,
        "videoName": video,
        "frameIndex": packet.frame.index,
        "timestamp": round(1000 * packet.frame.seconds),
        "size": {"width": width, "height": height},
        "attributes": attributes,
        "labels": [
            {"id": f"{packet.frame.index}-{number}"} | dict.fromkeys(FIELDS) | label
            for number, label in enumerate(labels)
        ],
    }


def _box_labels(boxes: Boxes, score: float, ranges: Ranges | None) -> list[dict[str, Any]]:
    labels: list[dict[str, Any]] = []
    for i in np.flatnonzero(boxes.scores >= score).tolist():
        x1, y1, x2, y2 = (round(float(value), 2) for value in boxes.xyxy[i])
        label = {
            "category": boxes.name(i),
            "score": round(float(boxes.scores[i]), 4),
            "box2d": {"x1": x1, "y1": y1, "x2": x2, "y2": y2},
        }
        if boxes.track_ids is not None and boxes.track_ids[i] >= 0:
            label["id"] = str(boxes.track_ids[i])
        if ranges is not None and (numbers := box_attributes(ranges, i)):
            label["attributes"] = numbers
        labels.append(label)
    return labels


def _mask_labels(mask: Mask) -> list[dict[str, Any]]:
    """The largest outlines of each value, as closed polygons."""
    labels: list[dict[str, Any]] = []
    for value in np.unique(mask.small):
        named = _lane_named(mask, int(value)) if mask.is_lane_byte else _class_named(mask, value)
        if named is not None:
            for outline in outlines(mask, int(value)):
                types = "L" * len(outline)
                shape = {"vertices": outline.tolist(), "types": types, "closed": True}
                labels.append(named | {"poly2d": [shape]})
    return labels[:MAX_AREAS]


def _class_named(mask: Mask, value: int) -> dict[str, Any] | None:
    names = mask.view.classes
    if value >= len(names) or names[value] == BACKGROUND:
        return None
    return {"category": names[value]}


def _lane_named(mask: Mask, value: int) -> dict[str, Any] | None:
    view, category = mask.view, value & LANE_CATEGORY_BITS
    if value & LANE_BACKGROUND_BIT or category >= len(view.categories):
        return None
    style, direction = bool(value & LANE_STYLE_BIT), bool(value & LANE_DIRECTION_BIT)
    attributes = {}
    if view.styles:
        attributes["laneStyle"] = view.styles[style]
    if view.directions:
        attributes["laneDirection"] = view.directions[direction]
    return {"category": view.categories[category], "attributes": attributes}
