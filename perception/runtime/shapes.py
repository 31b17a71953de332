"""What a scene shows as annotation formats have it: boxes, areas as polygons, lines."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from perception.classes import LANE_BACKGROUND_BIT
from perception.images import IMAGE_SUFFIXES
from perception.runtime.colours import BACKGROUND
from perception.runtime.distance import Ranges
from perception.runtime.lanes import Lane, lane_mask, named
from perception.runtime.road import Road, RoadGeometry
from perception.runtime.scene import Boxes, Mask, Scene

MAX_AREAS = 300  # per mask; the largest are kept
MAX_HOLES = 20  # per area; the largest are kept
MIN_HOLE_PIXELS = 10
MIN_PIXELS = 2  # of the model's resolution, of one area
TOLERANCE = 0.2  # of a polygon's simplification, in pixels of the model's resolution


@dataclass(frozen=True)
class Shape:
    """A box (two corners), an area (closed) or a line, in frame pixels."""

    kind: str  # "box", "area" or "line"
    category: str
    points: np.ndarray  # float (N, 2) xy
    score: float | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""  # of a track

    @property
    def size(self) -> float:
        """Area in square pixels."""
        return float(cv2.contourArea(self.points.astype(np.float32)))


@dataclass
class Annotated:
    """One frame as annotation formats see it."""

    name: str
    size_hw: tuple[int, int]
    shapes: list[Shape]
    attributes: dict[str, Any]

    @property
    def stem(self) -> str:
        """The name without an image's suffix."""
        path = Path(self.name)
        return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name


def annotate(
    name: str, scene: Scene, road: Road | None = None, outlined: bool = False
) -> Annotated:
    """What is in a scene: boxes that count, areas, and the lanes and numbers of `road`, or,
    for a frame by itself, the lanes of this frame; `outlined`: the markings' areas instead."""
    shapes: list[Shape] = []
    attributes: dict[str, Any] = {}
    for output, values in scene.outputs.items():
        attributes |= values.attributes(output)
    for output, boxes in scene.of(Boxes):
        ranges = road.ranges.get(output) if road is not None else None
        shapes += [_box(boxes, i, ranges) for i in np.flatnonzero(boxes.counted).tolist()]
    attributes |= road.attributes() if road is not None else {}
    if lane_mask(scene) is not None and not outlined:
        lanes = (road or RoadGeometry().update(scene, 0.0)).lanes
        shapes += [_line(lane) for lane in lanes if lane.category]
    for _, mask in scene.of(Mask):
        if outlined or not mask.is_lane_byte:
            shapes += _areas(mask)
    return Annotated(name, scene.frame_hw, shapes, attributes)


def _box(boxes: Boxes, i: int, ranges: Ranges | None) -> Shape:
    number = -1 if boxes.track_ids is None else int(boxes.track_ids[i])
    corners, attributes = boxes.xyxy[i].reshape(2, 2), ranges.attributes(i) if ranges else {}
    score, track = float(boxes.scores[i]), str(number) if number >= 0 else ""
    return Shape("box", boxes.name(i), corners, score, attributes, track)


def _line(lane: Lane) -> Shape:
    attributes = _present(side=lane.side, laneStyle=lane.style, laneDirection=lane.direction)
    if lane.ground is not None and len(lane.ground):
        right, forward = lane.ground.T.round(2).tolist()
        attributes |= {"right_m": right, "forward_m": forward}
    number = f"lane-{lane.id}" if lane.id >= 0 else ""
    return Shape("line", lane.category, lane.points, lane.score, attributes, number)


def _areas(mask: Mask) -> list[Shape]:
    """Largest first: a reader draws them in this order, and small areas lie inside large ones."""
    shapes = [
        Shape("area", named[0], outline, attributes=named[1])
        for value in np.flatnonzero(mask.counts).tolist()
        if (named := _named(mask, value))
        for outline in outlines(mask, value)
    ]
    return sorted(shapes, key=lambda shape: -shape.size)[:MAX_AREAS]


def _named(mask: Mask, value: int) -> tuple[str, dict[str, Any]] | None:
    """Class and attributes of a mask's value; None for background and values without a class."""
    view = mask.view
    if not mask.is_lane_byte:
        known = value < len(view.classes) and view.classes[value] != BACKGROUND
        return (view.classes[value], {}) if known else None
    category, style, direction = named(view, np.array([value]))
    if value & LANE_BACKGROUND_BIT or not category:
        return None
    return category, _present(laneStyle=style, laneDirection=direction)


def _present(**attributes: str) -> dict[str, Any]:
    """Those that are not empty."""
    return {name: value for name, value in attributes.items() if value}


def outlines(mask: Mask, value: int) -> list[np.ndarray]:
    """Outlines float (N, 2) in frame pixels of the areas of one value, largest first: along the
    edges of their pixels, so that they give the mask where they are drawn filled.

    Holes are cut open to the outline, so that each area is one polygon.
    """
    areas = (mask.small == value).astype(np.uint8)
    height, width = areas.shape
    # On a grid where pixel (y, x) is (2 y + 1, 2 x + 1), an area grown by one point ends on the
    # edges of its pixels, which contours then follow.
    grid = np.zeros((2 * height + 1, 2 * width + 1), np.uint8)
    grid[1::2, 1::2] = areas
    grid = cv2.dilate(grid, np.ones((3, 3), np.uint8))
    rings, hierarchy = cv2.findContours(grid, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    scale = np.array([mask.frame_hw[1] / width, mask.frame_hw[0] / height])
    sized = [(cv2.contourArea(ring) / 4, i) for i, ring in enumerate(rings)]
    sized = sorted((pair for pair in sized if pair[0] >= MIN_PIXELS), reverse=True)
    holes: dict[int, list[int]] = {}
    for size, i in sized:
        if size < MIN_HOLE_PIXELS:
            break
        holes.setdefault(int(hierarchy[0, i, 3]), []).append(i)
    found = []
    for _, i in [pair for pair in sized if hierarchy[0, pair[1], 3] < 0][:MAX_AREAS]:
        outline = _simplified(rings[i])
        for hole in holes.get(i, [])[:MAX_HOLES]:
            outline = _with_hole(outline, _simplified(rings[hole]))
        found.append((outline / 2 * scale).round(1))
    return found


def _simplified(ring: np.ndarray) -> np.ndarray:
    """float (N, 2), N >= 3."""
    fewer = cv2.approxPolyDP(ring, 2 * TOLERANCE, True)
    return (fewer if len(fewer) > 2 else ring).reshape(-1, 2).astype(float)


def _with_hole(outline: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """One polygon: the outline, cut open to the hole at the nearest pair of their vertices."""
    distances = np.linalg.norm(outline[:, None] - hole[None], axis=2)
    i, j = np.unravel_index(distances.argmin(), distances.shape)
    around = np.concatenate([hole[j:], hole[: j + 1]])
    return np.concatenate([outline[: i + 1], around, outline[i:]])
