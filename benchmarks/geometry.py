"""Errors of lanes, distances and vehicle ahead on rendered drives with exact truth.

    python benchmarks/geometry.py --drives 20 --frames 30 --inputs truth model

`truth` uses the true lane byte, drivable area and boxes as input, `model` the outputs of the
shipped model (or --model), its boxes from 0.3 tracked; each with the true camera and with one that
is estimated, given the true height and a field of view of 60 degrees. Prints Markdown tables.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from drives import Frame, frames
from scipy.optimize import linear_sum_assignment

from demo.temporal import BoxTracker
from perception.metrics.panoptic import box_iou
from perception.runtime.camera_file import CameraFile
from perception.runtime.distance import VEHICLES
from perception.runtime.road import Road, RoadGeometry
from perception.runtime.runner import Runner, default_model
from perception.runtime.scene import Boxes, Scene

SCORE = 0.3
RANGES = ((0, 10), (10, 20), (20, 40), (40, 60), (60, 100), (0, 40))
LEAD_M = 60.0
NEAR_M = 1.5  # OpenLane's threshold (arXiv 2203.11089, section 5.1)
POINT_SHARE = 0.75  # of a line's points that must be within it, in OpenLane
STEP_M = 1.0


class Tally:
    """The frames of one configuration."""

    def __init__(self) -> None:
        self.errors: list[tuple[float, float, float]] = []  # true, relative error, relative sigma
        self.lists: defaultdict[str, list[Any]] = defaultdict(list)
        self.lines = np.zeros(3, np.int64)  # matched, predicted, true

    def add(self, frame: Frame, scene: Scene, road: Road) -> None:
        """Adds one frame."""
        name, boxes = next(scene.of(Boxes))
        ranges, lists = road.ranges[name], self.lists
        lists["camera"].append(road.camera is not None)
        real = frame.boxes.xyxy
        overlap = box_iou(real, boxes.xyxy)
        for i in np.flatnonzero(~frame.occluded & (frame.distance >= 1)):
            at = int(overlap[i].argmax()) if len(boxes) else -1
            if at < 0 or overlap[i, at] < 0.5:
                continue
            found, true = float(ranges.distance_m[at]), float(frame.distance[i])
            if true < 40:
                lists["given"].append(np.isfinite(found))
            if np.isfinite(found):
                sigma = float(ranges.distance_sigma_m[at])
                self.errors.append((true, found / true - 1, sigma / found))
        same = min(ranges.lead, frame.lead) >= 0 and overlap[frame.lead, ranges.lead] >= 0.5
        if frame.lead >= 0 and frame.distance[frame.lead] < LEAD_M:
            lists["lead"].append(same)
            kinds = np.isin([boxes.name(i) for i in range(len(boxes))], list(VEHICLES))
            if (kinds & (overlap[frame.lead] >= 0.5)).any():
                lists["detected"].append(same)
        lists["wrong lead"].append(ranges.lead >= 0 and not same)
        if road.ego_offset_m is not None and frame.offset is not None:
            lists["offset"].append(abs(road.ego_offset_m - frame.offset))
        if road.curvature is not None:
            lists["bend"].append(abs(road.curvature - frame.bend))
        if road.camera is not None:
            along = [lane.ground for lane in road.lanes if lane.curve is not None]
            near = [g[(g[:, 1] >= 4) & (g[:, 1] <= 50)] for g in along if g is not None]
            self.add_lines([g for g in near if len(g) > 1], frame.lines)

    def add_lines(self, found: Sequence[np.ndarray], real: Sequence[np.ndarray]) -> None:
        """One frame's lines as (N, 2) right and forward in metres, matched one to one so that the
        most pairs are within NEAR_M."""
        off = [[ground_distances(a, b) for b in real] for a in found]
        good = [[len(d) > 0 and (d <= NEAR_M).mean() >= POINT_SHARE for d in row] for row in off]
        fits = np.array(good, bool).reshape(len(found), len(real))
        pairs = [pair for pair in zip(*linear_sum_assignment(~fits), strict=True) if fits[pair]]
        for i, j in pairs:
            self.lists["apart"] += off[i][j][np.isfinite(off[i][j])].tolist()
        self.lines += (len(pairs), len(found), len(real))

    def cells(self) -> list[list[str]]:
        """The cells of each table."""
        errors, lists = np.array(self.errors).reshape(-1, 3), self.lists
        by_range = []
        for low, high in RANGES:
            part = errors[(errors[:, 0] >= low) & (errors[:, 0] < high), 1]
            by_range.append(f"{100 * np.median(abs(part)):.1f} ({len(part)})" if len(part) else "-")
        near = errors[errors[:, 0] < 40, 1]
        signed = f"{100 * np.median(near):+.1f}" if len(near) else "-"
        matched, predicted, true = self.lines.tolist()
        f1 = 200 * matched / (predicted + true) if predicted + true else np.nan
        return [
            [*by_range, signed, _share(np.abs(errors[:, 1]) < 2 * errors[:, 2]),
             _share(lists["given"])],
            [f"{sum(lists['camera'])} of {len(lists['camera'])}",
             f"{_share(lists['lead'])} of {len(lists['lead'])}",
             f"{_share(lists['detected'])} of {len(lists['detected'])}",
             str(sum(lists["wrong lead"])),
             _median(lists["offset"], 2), _median(lists["bend"], 5)],
            [f"{f1:.1f}", _median(lists["apart"], 2)],
        ]  # fmt: skip


TABLES = {
    "Median relative error of distance in percent (boxes that are not occluded)":
        [*(f"{low}-{high} m" for low, high in RANGES), "signed < 40 m", "within 2 sigma",
         "given < 40 m"],
    "Frames with a camera, vehicle ahead within 60 m, own place":
        ["camera", "lead found", "lead found where its box is", "frames with a wrong lead",
         "ego offset m", "curvature 1/m"],
    "Lines": ["F1@1.5m", "point distance m"],
}  # fmt: skip


def run(args: argparse.Namespace) -> dict[tuple[str, str, str], Tally]:
    """{(input, camera, time of day): tally}."""
    runner = None
    if "model" in args.inputs:
        runner = Runner(args.model or default_model(), "cpu", score=SCORE)
    tallies: defaultdict[tuple[str, str, str], Tally] = defaultdict(Tally)
    for seed in range(args.seed, args.seed + args.drives):
        evaluate(frames(seed, args.frames, args.fps), args.inputs, runner, args.fps, tallies)
        print(f"drive {seed} done", flush=True)
    return tallies


def evaluate(
    drive: Iterator[Frame],
    inputs: Sequence[str],
    runner: Any,
    fps: float,
    tallies: defaultdict[tuple[str, str, str], Tally],
    cameras: Sequence[str] = ("true", "estimated"),
) -> None:
    """Adds one drive."""
    states: dict[tuple[str, str], RoadGeometry] = {}
    tracker = BoxTracker(fps)
    for frame in drive:
        scenes = {"truth": frame.scene} if "truth" in inputs else {}
        if runner is not None:
            scenes["model"] = scene = runner(frame.image)
            tracker.update(scene, frame.image, frame.seconds)
            for name, boxes in list(scene.of(Boxes)):
                scene.outputs[name] = boxes.take(boxes.counted)
        for source, scene in scenes.items():
            for kind in cameras:
                file = CameraFile(frame.camera, True, Path("true")) if kind == "true" else None
                new = RoadGeometry(file, frame.camera.height)
                road = states.setdefault((source, kind), new).update(scene, frame.seconds)
                tally = tallies[source, kind, "night" if frame.night else "day"]
                tally.add(frame, scene, road)


def report(tallies: dict[tuple[str, str, str], Tally]) -> str:
    """Markdown tables."""
    out = []
    for i, (title, columns) in enumerate(TABLES.items()):
        head = ["input", "camera", "time", *columns]
        out += [f"{title}:", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        out += [f"| {' | '.join((*key, *tally.cells()[i]))} |"
                for key, tally in sorted(tallies.items(), reverse=True)]  # fmt: skip
        out.append("")
    return "\n".join(out)


def ground_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Lateral distances in metres at every STEP_M of the range that either line covers; inf where
    only one does, empty where they share nothing. As in OpenLane, a line that is too short fails
    by its missing points."""
    first, last = ([float(edge(line[:, 1])) for line in (a, b)] for edge in (np.min, np.max))
    if min(last) <= max(first):
        return np.zeros(0)
    z = np.arange(min(first), max(last) + 1e-6, STEP_M)
    return np.abs(_at(a, z) - _at(b, z))


def _at(line: np.ndarray, z: np.ndarray) -> np.ndarray:
    order = np.argsort(line[:, 1])
    return np.interp(z, line[order, 1], line[order, 0], left=np.inf, right=-np.inf)


def _share(flags: Sequence[bool] | np.ndarray) -> str:
    return f"{100 * np.mean(flags):.1f} %" if len(flags) else "-"


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
