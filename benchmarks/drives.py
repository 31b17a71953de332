"""Rendered drives with their exact boxes, distances, lines and vehicle ahead."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from perception.classes import DETECTION, LANE_BACKGROUND_BIT
from perception.runtime.adapters import VIEWS
from perception.runtime.camera import Camera
from perception.runtime.distance import ROAD_USERS, VEHICLES
from perception.runtime.scene import Boxes, Mask, Output, Scene
from training.data.labels import LaneMask
from training.data.labels import Mask as MaskLabel
from training.data.rendered import drive
from training.data.roads import layout
from training.data.roads.camera import Viewpoint
from training.data.roads.frame import RenderedFrame
from training.data.roads.mesh import Thing
from training.data.roads.truth import LabelledObject

SIZE_HW = (384, 640)
LINE_RANGE_M = np.arange(4.0, 50.0, 0.5)


@dataclass
class Frame:
    """One frame of a drive and its exact geometry."""

    image: np.ndarray
    scene: Scene  # what a perfect model would output
    camera: Camera
    seconds: float
    night: bool
    distance: np.ndarray  # (N,) per box: forward to the nearest point of the footprint
    occluded: np.ndarray  # bool (N,)
    lead: int  # index of the nearest vehicle in the own lane, -1
    lines: list[np.ndarray]  # each (N, 2) right and forward in metres
    offset: float | None  # of the camera from the middle of its lane
    bend: float

    @property
    def boxes(self) -> Boxes:
        return next(boxes for _, boxes in self.scene.of(Boxes))


def frames(seed: int, count: int, fps: float) -> Iterator[Frame]:
    """Consecutive frames of one drive."""
    rendered = drive(seed, count, fps, SIZE_HW, ("lane", "drivable"))
    for number, frame in enumerate(rendered):
        yield with_truth(frame, number / fps)


def with_truth(rendered: RenderedFrame, seconds: float) -> Frame:
    """Distances from the footprints, lines from the road, the vehicle ahead from the own lane."""
    world, view, road = rendered.drive, rendered.view, rendered.drive.road
    made = view.camera
    focal_xy = (made.focal, made.focal)
    camera = Camera(SIZE_HW, focal_xy, made.centre_xy, made.height, made.pitch, made.roll)
    by_track = {track: thing for thing in world.things for track in thing.tracks.values()}
    users = [
        item for item in rendered.found
        if item.track in by_track and DETECTION[item.kind] in ROAD_USERS
    ]  # fmt: skip
    things = [by_track[item.track] for item in users]
    distance = np.array([footprint(thing, view)[:, 1].min() for thing in things])
    own = next((lane for lane in road.lanes if lane.kind == "direct"), None)
    ahead = [
        i for i, (item, thing) in enumerate(zip(users, things, strict=True))
        if own is not None and own.left < thing.t < own.right and thing.s > view.s
        and thing.speed >= 0 and abs(math.sin(thing.yaw or 0)) <= 0.5 and not thing.drift
        and DETECTION[item.kind] in VEHICLES and distance[i] > 0
    ]  # fmt: skip
    lane, area = rendered.labels["lane"], rendered.labels["drivable"]
    assert isinstance(lane, LaneMask)
    assert isinstance(area, MaskLabel)
    outputs: dict[str, Output] = {
        "boxes": true_boxes(users),
        "area": Mask(area.mask, SIZE_HW, VIEWS["area"]),
        "paint": Mask(lane.lane, SIZE_HW, VIEWS["line"]),
    }
    return Frame(
        rendered.image,
        Scene(SIZE_HW, outputs),
        camera,
        seconds,
        world.attributes["timeofday"] == "night",
        distance,
        np.array([item.occluded for item in users], bool),
        min(ahead, key=lambda i: distance[i], default=-1),
        list(true_lines(road, view, (lane.lane & LANE_BACKGROUND_BIT) == 0)),
        view.t - own.centre if own is not None else None,
        view.curve.bend,
    )


def true_boxes(items: Sequence[LabelledObject]) -> Boxes:
    """Boxes of score 1 with the identities of the rendered things as track ids."""
    return Boxes(
        np.array([item.box_xyxy for item in items], np.float32).reshape(-1, 4),
        np.ones(len(items), np.float32),
        np.array([item.kind for item in items], np.int64),
        DETECTION,
        np.array([item.track for item in items], np.int64),
    )


def footprint(thing: Thing, view: Viewpoint) -> np.ndarray:
    """(4, 2) corners on the ground, right and forward."""
    place = view.curve.place(np.array([thing.s - view.s]), np.array([thing.t - view.t]))[0]
    length, width, _ = thing.size
    turn = view.curve.heading(place[2:])[0] + (thing.yaw or 0.0)
    along = np.array([np.sin(turn), np.cos(turn)]) * length / 2
    across = np.array([np.cos(turn), -np.sin(turn)]) * width / 2
    return np.array([place[[0, 2]] + i * along + j * across for i in (-1, 1) for j in (-1, 1)])


def true_lines(road: layout.Road, view: Viewpoint, marks: np.ndarray) -> Iterator[np.ndarray]:
    """Lines along the road on the ground where the lane byte shows them."""
    height, width = marks.shape
    kerbs = zip((road.left, road.right), road.curbs, strict=True)
    for t in [line.t for line in road.lines] + [t for t, kerb in kerbs if kerb]:
        seen = view.project(LINE_RANGE_M + view.s, np.full(len(LINE_RANGE_M), t))
        column, row = np.floor(seen).astype(int).T
        inside = (column >= 1) & (column < width - 1) & (row >= 0) & (row < height)
        where = [i for i in np.flatnonzero(inside)
                 if marks[row[i], column[i] - 1 : column[i] + 2].any()]  # fmt: skip
        if len(where) >= 6 and np.ptp(LINE_RANGE_M[where]) >= 5:
            part = slice(where[0], where[-1] + 1)
            z = LINE_RANGE_M[part]
            yield np.column_stack([t - view.t + view.curve.shift(z), z])
