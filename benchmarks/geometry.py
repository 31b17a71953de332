"""Errors of lanes, distances, lead vehicle and warnings on rendered drives with exact truth.

    python benchmarks/geometry.py --drives 20 --frames 30 --inputs truth model

`truth` uses the true lane byte and boxes as input, `model` those of the shipped model (or --model);
each with the true camera and with one estimated from the lanes, given the true height and a field
of view of 60 degrees. Prints Markdown tables.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from demo.temporal import BoxTracker
from perception.classes import (
    DETECTION,
    LANE_BACKGROUND_BIT,
    LANE_CATEGORIES,
    LANE_DIRECTIONS,
    LANE_STYLES,
)
from perception.metrics.lane_lines import LaneLineMetric
from perception.runtime.camera import Camera
from perception.runtime.camera_file import CameraFile
from perception.runtime.description import LANE_BYTE, View
from perception.runtime.distance import ROAD_USERS, VEHICLES, WARN_TTC_S
from perception.runtime.road import Road, RoadGeometry
from perception.runtime.runner import Runner, default_model
from perception.runtime.scene import Boxes, Mask, Scene
from training.data.labels import LaneMask
from training.data.roads.frame import RenderedFrame, render
from training.data.roads.ground import Viewpoint
from training.data.roads.mesh import Thing
from training.data.roads.world import Drive, build

DRIVE = 1_000_003
RANGES = ((0, 10), (10, 20), (20, 40), (40, 60), (60, 100))
LINE_RANGE_M = np.arange(4.0, 50.0, 0.5)
LEAD_M = 60.0
NIGHT = ("night",)
LANE_VIEW = View(
    "mask",
    encoding=LANE_BYTE,
    categories=LANE_CATEGORIES,
    styles=LANE_STYLES,
    directions=LANE_DIRECTIONS,
)


@dataclass
class Truth:
    """One frame's exact geometry."""

    boxes_xyxy: np.ndarray  # (N, 4) labelled road users
    kinds: list[int]
    tracks: list[int]
    distance: np.ndarray  # (N,) forward to the nearest point of the footprint
    occluded: np.ndarray
    lead: int  # index, -1
    lines_ground: list[np.ndarray]
    lines_pixels: list[np.ndarray]
    offset: float | None
    bend: float


@dataclass
class Frame:
    """A rendered frame, its truth, its drive's camera, and the time."""

    rendered: RenderedFrame
    truth: Truth
    camera: Camera
    seconds: float
    night: bool


def frames(seed: int, count: int, fps: float, size_hw: tuple[int, int]) -> Iterator[Frame]:
    """Consecutive frames of one drive."""
    drive = build(seed, DRIVE, size_hw, 600.0 * math.ceil(count / fps * 30.0 / 600.0))
    own, at = drive.camera, 0.0
    camera = Camera(size_hw, (own.focal, own.focal), own.centre_xy, own.height, own.pitch, own.roll)
    for number in range(count):
        moment = drive.moment(at)
        rendered = render(moment, ("lane",), np.random.default_rng((seed, DRIVE, number)))
        truth = true_geometry(drive, moment.view, rendered, camera)
        night = drive.attributes["timeofday"] in NIGHT
        yield Frame(rendered, truth, camera, number / fps, night)
        at = drive.step(1 / fps, at)


def footprint(thing: Thing, view: Viewpoint) -> np.ndarray:
    """(4, 2) corners on the ground, right and forward."""
    place = view.curve.place(np.array([thing.s - view.s]), np.array([thing.t - view.t]))[0]
    length, width, _ = thing.shadow or (0.4, 0.4, 1.0)
    turn = view.curve.heading(float(place[2])) + (thing.yaw or 0.0)
    along = np.array([np.sin(turn), np.cos(turn)])
    across = np.array([np.cos(turn), -np.sin(turn)])
    corners = [(i * length / 2, j * width / 2) for i in (-1, 1) for j in (-1, 1)]
    return np.array([place[[0, 2]] + a * along + b * across for a, b in corners])


def true_geometry(drive: Drive, view: Viewpoint, rendered: RenderedFrame, camera: Camera) -> Truth:
    """Distances from the footprints, lines from the road, lead from the own lane."""
    by_track = {track: thing for thing in drive.things for track in thing.tracks}
    users = [
        item for item in rendered.found
        if item.track in by_track and DETECTION[item.kind] in ROAD_USERS
    ]  # fmt: skip
    things = [by_track[item.track] for item in users]
    distance = np.array([footprint(thing, view)[:, 1].min() for thing in things])
    own = next((lane for lane in drive.road.lanes if lane.kind == "direct"), None)
    lead, nearest = -1, LEAD_M
    for i, (item, thing) in enumerate(zip(users, things, strict=True)):
        inside = own is not None and own.left < thing.t < own.right
        ahead = thing.s > view.s and thing.speed >= 0 and not abs(math.sin(thing.yaw or 0)) > 0.5
        vehicle = DETECTION[item.kind] in VEHICLES
        if inside and ahead and vehicle and 0 < distance[i] < nearest and not thing.drift:
            lead, nearest = i, float(distance[i])
    ground, pixels = true_lines(drive, view, rendered, camera)
    return Truth(
        np.array([item.box_xyxy for item in users]).reshape(-1, 4),
        [item.kind for item in users],
        [item.track for item in users],
        distance,
        np.array([item.occluded for item in users], bool),
        lead,
        ground,
        pixels,
        view.t - own.centre if own is not None else None,
        view.curve.bend,
    )


def true_lines(
    drive: Drive, view: Viewpoint, rendered: RenderedFrame, camera: Camera
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Lines along the road where the lane byte shows them: on the ground and in pixels."""
    label = rendered.labels["lane"]
    assert isinstance(label, LaneMask)
    height, width = camera.size_hw
    marks = (label.lane & LANE_BACKGROUND_BIT) == 0
    offsets = [line.t for line in drive.road.lines]
    offsets += [t for t, curb in zip((drive.road.left, drive.road.right), drive.road.curbs,
                                     strict=True) if curb]  # fmt: skip
    ground, pixels = [], []
    for t in offsets:
        points = np.column_stack([t - view.t + view.curve.shift(LINE_RANGE_M), LINE_RANGE_M])
        seen = view.project(LINE_RANGE_M + view.s, np.full(len(LINE_RANGE_M), t))
        column, row = np.floor(seen).astype(int).T
        inside = (column >= 1) & (column < width - 1) & (row >= 0) & (row < height)
        inside[inside] &= [marks[r, c - 1 : c + 2].any() for r, c in zip(
            row[inside], column[inside], strict=True)]  # fmt: skip
        where = np.flatnonzero(inside)
        if len(where) < 6 or np.ptp(LINE_RANGE_M[where]) < 5:
            continue
        between = slice(where[0], where[-1] + 1)
        ground.append(points[between])
        pixels.append(seen[between].astype(np.float64))
    return ground, pixels


def true_scene(frame: Frame) -> Scene:
    """What a perfect model would output."""
    label, truth = frame.rendered.labels["lane"], frame.truth
    assert isinstance(label, LaneMask)
    boxes = Boxes(
        truth.boxes_xyxy.astype(np.float32),
        np.ones(len(truth.kinds), np.float32),
        np.array(truth.kinds, np.int64),
        DETECTION,
        np.array(truth.tracks, np.int64),
    )
    size = frame.camera.size_hw
    return Scene(size, {"boxes": boxes, "lane": Mask(label.lane, size, LANE_VIEW)})


@dataclass
class Tally:
    """Everything that is counted over the frames of one configuration."""

    errors: list[tuple[float, float, float]] = field(default_factory=list)  # true, relative, sigma
    given: list[tuple[float, bool]] = field(default_factory=list)  # true distance, has a number
    lead: list[bool] = field(default_factory=list)
    wrong_lead: int = 0
    frames: int = 0
    camera_frames: int = 0
    minutes: float = 0.0
    false_collision: int = 0
    false_departure: int = 0
    offsets: list[float] = field(default_factory=list)
    bends: list[float] = field(default_factory=list)
    lines: LaneLineMetric = field(default_factory=LaneLineMetric)


def iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) IoU of one box with others."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=1)
    area = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1)
    return both / np.maximum(area - both, 1e-9)


class Warnings:
    """Counts the starts of warnings that the truth does not support."""

    def __init__(self) -> None:
        self.gaps: dict[int, list[tuple[float, float]]] = {}
        self.collision = self.departure = False

    def add(self, frame: Frame, road: Road, tally: Tally) -> None:
        truth = frame.truth
        for track, distance in zip(truth.tracks, truth.distance, strict=True):
            self.gaps.setdefault(track, []).append((frame.seconds, float(distance)))
        if road.collision and not self.collision:
            tally.false_collision += not self._closing(truth)
        self.collision = road.collision
        near = truth.offset is not None and abs(truth.offset) > 0.35
        if road.departure and not self.departure:
            tally.false_departure += not near
        self.departure = bool(road.departure)

    def _closing(self, truth: Truth) -> bool:
        """Whether any road user ahead is truly within twice the warning's time."""
        for track in truth.tracks:
            past = [g for g in self.gaps[track] if g[0] >= self.gaps[track][-1][0] - 0.55]
            (t0, d0), (t1, d1) = past[0], past[-1]
            if t1 > t0 and (d0 - d1) / (t1 - t0) * 2 * WARN_TTC_S > d1:
                return True
        return False


def score(frame: Frame, scene: Scene, road: Road, tally: Tally) -> None:
    """Adds one frame."""
    truth = frame.truth
    tally.frames += 1
    tally.camera_frames += road.camera is not None
    name, boxes = next(scene.of(Boxes))
    ranges = road.ranges[name]
    for i, real in enumerate(truth.boxes_xyxy):
        overlap = iou(real, boxes.xyxy) if len(boxes) else np.zeros(0)
        at = int(overlap.argmax()) if len(overlap) else -1
        if at < 0 or overlap[at] < 0.5 or truth.occluded[i] or truth.distance[i] < 1:
            continue
        found, sigma = ranges.distance_m[at], ranges.distance_sigma_m[at]
        true = float(truth.distance[i])
        tally.given.append((true, bool(np.isfinite(found))))
        if np.isfinite(found):
            tally.errors.append((true, float(found - true) / true, float(sigma / found)))
    if truth.lead >= 0:
        same = ranges.lead >= 0 and (
            iou(truth.boxes_xyxy[truth.lead], boxes.xyxy[[ranges.lead]])[0] >= 0.5
        )
        tally.lead.append(bool(same))
    elif ranges.lead >= 0 and ranges.distance_m[ranges.lead] < LEAD_M * 0.9:
        tally.wrong_lead += 1
    if road.ego_offset_m is not None and truth.offset is not None:
        tally.offsets.append(abs(road.ego_offset_m - truth.offset))
    if road.curvature is not None:
        tally.bends.append(abs(road.curvature - truth.bend))
    along = [lane for lane in road.lanes if lane.curve is not None]
    tally.lines.update_pixels([lane.points for lane in along], truth.lines_pixels,
                              frame.camera.size_hw)  # fmt: skip
    if road.camera is not None:
        ground = [
            lane.ground[(lane.ground[:, 1] >= 4) & (lane.ground[:, 1] <= 50)]
            for lane in along if lane.ground is not None
        ]  # fmt: skip
        tally.lines.update_ground([g for g in ground if len(g) > 1], truth.lines_ground)


def run(args: argparse.Namespace) -> dict[tuple[str, str, str], Tally]:
    """{(input, camera, time of day): tally}."""
    runner = Runner(args.model or default_model(), "cpu") if "model" in args.inputs else None
    tallies: dict[tuple[str, str, str], Tally] = {}
    for seed in range(args.seed, args.seed + args.drives):
        states: dict[tuple[str, str], tuple[RoadGeometry, Warnings]] = {}
        tracker = BoxTracker(args.fps, 0.3)
        for frame in frames(seed, args.frames, args.fps, (384, 640)):
            scenes = {"truth": true_scene(frame)} if "truth" in args.inputs else {}
            if runner is not None:
                scenes["model"] = runner(frame.rendered.image)
                tracker.update(scenes["model"], frame.rendered.image, frame.seconds)
                for name, boxes in list(scenes["model"].of(Boxes)):
                    scenes["model"].outputs[name] = boxes.above(0.3)
            for source, scene in scenes.items():
                for kind in ("true", "estimated"):
                    if (source, kind) not in states:
                        states[source, kind] = (_geometry(kind, frame.camera), Warnings())
                    geometry, warnings = states[source, kind]
                    road = geometry.update(scene, frame.seconds)
                    key = (source, kind, "night" if frame.night else "day")
                    tally = tallies.setdefault(key, Tally())
                    score(frame, scene, road, tally)
                    warnings.add(frame, road, tally)
                    tally.minutes += 1 / args.fps / 60
        print(f"drive {seed} done", flush=True)
    return tallies


def _geometry(kind: str, camera: Camera) -> RoadGeometry:
    if kind == "true":
        return RoadGeometry(CameraFile(camera, True, Path("true")))
    return RoadGeometry(height_m=camera.height)


def report(tallies: dict[tuple[str, str, str], Tally]) -> str:
    """Markdown tables."""
    edges = [f"{low}-{high} m" for low, high in RANGES]
    out = ["Median relative error of distance (boxes that are not occluded; n), percent:", ""]
    out += ["| input | camera | time | " + " | ".join(edges) + " | within 40 m | signed |"]
    out += ["|---" * (len(edges) + 5) + "|"]
    for key, tally in sorted(tallies.items()):
        errors = np.array(tally.errors).reshape(-1, 3)
        cells = []
        for low, high in (*RANGES, (0, 40)):
            inside = (errors[:, 0] >= low) & (errors[:, 0] < high)
            part = 100 * np.abs(errors[inside, 1])
            cells.append(f"{np.median(part):.1f} ({len(part)})" if len(part) else "-")
        near = errors[errors[:, 0] < 40, 1]
        cells.append(f"{100 * np.median(near):+.1f}" if len(near) else "-")
        out.append("| " + " | ".join((*key, *cells)) + " |")
    out += ["", "| input | camera | time | frames | with camera | lead found | wrong lead "
            "| false collision per min | false departure per min | ego offset m | curvature 1/m "
            "| given share < 40 m | error within 2 sigma |", "|---" * 13 + "|"]  # fmt: skip
    for key, tally in sorted(tallies.items()):
        errors = np.array(tally.errors).reshape(-1, 3)
        given = [given for true, given in tally.given if true < 40]
        cells = [
            str(tally.frames),
            str(tally.camera_frames),
            f"{100 * np.mean(tally.lead):.1f} % of {len(tally.lead)}" if tally.lead else "-",
            str(tally.wrong_lead),
            f"{tally.false_collision / tally.minutes:.2f}",
            f"{tally.false_departure / tally.minutes:.2f}",
            _median(tally.offsets, 2),
            _median(tally.bends, 5),
            _share(given),
            _share(np.abs(errors[:, 1]) < 2 * errors[:, 2]),
        ]  # fmt: skip
        out.append("| " + " | ".join((*key, *cells)) + " |")
    out += ["", "| input | camera | time | F1@1.5m | F1@IoU0.5 | point distance m |",
            "|---|---|---|---|---|---|"]  # fmt: skip
    for key, tally in sorted(tallies.items()):
        scores = tally.lines.compute()
        cells = [f"{scores['F1@1.5m']:.1f}", f"{scores['F1@IoU0.5']:.1f}",
                 f"{scores['point distance']:.2f}"]  # fmt: skip
        out.append("| " + " | ".join((*key, *cells)) + " |")
    return "\n".join(out)


def _share(flags: Sequence[bool] | np.ndarray) -> str:
    return f"{100 * np.mean(flags):.0f} %" if len(flags) else "-"


def _median(values: list[float], digits: int) -> str:
    return f"{np.median(values):.{digits}f} ({len(values)})" if values else "-"


def main() -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--drives", type=int, default=20)
    made.add_argument("--frames", type=int, default=30, help="per drive")
    made.add_argument("--fps", type=float, default=10.0)
    made.add_argument("--seed", type=int, default=500, help="of the first drive")
    made.add_argument("--inputs", nargs="+", default=["truth"], choices=["truth", "model"])
    made.add_argument("--model", type=Path)
    print(report(run(made.parse_args())), flush=True)


if __name__ == "__main__":
    main()
