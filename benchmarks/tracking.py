"""Compares trackers on rendered drives, whose identities are known: HOTA, IDF1, identity switches.

    python benchmarks/tracking.py --drives 24 --provider openvino-bf16 --shake 1

`perceive` is the tracker of demo/temporal.py, the others are those of the `trackers` library. The
metrics are the library's (TrackEval's definitions) over the eight classes of BDD100K MOT, without
regard to the class.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from drives import SIZE_HW, true_boxes
from trackers import BoTSORTTracker, ByteTrackTracker, CBIoUTracker, OCSORTTracker
from trackers.eval import (
    aggregate_clear_metrics,
    aggregate_hota_metrics,
    aggregate_identity_metrics,
    box_iou,
    compute_clear_metrics,
    compute_hota_metrics,
    compute_identity_metrics,
)

from demo.temporal import LOWEST_SCORE, BoxTracker, track_ids
from perception.runtime.runner import Runner, default_model
from perception.runtime.scene import Boxes, Scene
from training.data import rendered

CLASSES = 8  # of BDD100K MOT: without traffic lights and signs
COLUMNS = ("boxes", "light", "drives", "tracker", "HOTA", "DetA", "AssA", "IDF1", "MOTA",
           "identity switches", "fragments", "time / first")  # fmt: skip


class LibraryTracker:
    """A tracker of the library behind the interface of BoxTracker, for one output."""

    def __init__(self, tracker: Any) -> None:
        self.tracker = tracker

    def update(self, scene: Scene, image: np.ndarray, seconds: float) -> None:
        """Sets the track ids of the scene's boxes."""
        ((name, boxes),) = scene.of(Boxes)
        frame = image if getattr(self.tracker, "enable_cmc", False) else None
        rows = np.arange(len(boxes))
        ids = track_ids(self.tracker, boxes, rows, boxes.scores, frame, seconds)
        scene.outputs[name] = replace(boxes, track_ids=ids)


def _library(kind: Any, options: Sequence[str]) -> Callable[[float, float], LibraryTracker]:
    return lambda fps, score: LibraryTracker(kind(frame_rate=fps, **dict.fromkeys(options, score)))


BOTH = ("track_activation_threshold", "high_conf_det_threshold")
# Name: the tracker for a frame rate and the least score of a new track.
TRACKERS: dict[str, Callable[[float, float], Any]] = {
    "ByteTrack": _library(ByteTrackTracker, BOTH),
    "BoT-SORT": _library(BoTSORTTracker, BOTH),
    "OC-SORT": _library(OCSORTTracker, BOTH[1:]),
    "C-BIoU": _library(CBIoUTracker, BOTH),
    "perceive": lambda fps, score: BoxTracker(fps),
}


@dataclass
class Clip:
    """A drive: its pictures, their times, the true boxes with their identities, day or night."""

    pictures: list[np.ndarray]
    seconds: list[float]
    real: list[Boxes]
    light: str


def clip(seed: int, args: argparse.Namespace) -> Clip:
    """A rendered drive; some frames are left out (`drop`), and the camera shakes (`shake`)."""
    made = Clip([], [], [], "")
    frames = rendered.drive(seed, args.frames, args.fps, SIZE_HW, ())
    for number, frame in enumerate(frames):
        items = [item for item in frame.found if item.track >= 0 and item.kind < CLASSES]
        made.pictures.append(frame.image)
        made.seconds.append(number / args.fps)
        made.real.append(true_boxes(items))
        made.light = "night" if frame.drive.attributes["timeofday"] == "night" else "day"
    kept = np.random.default_rng(3).random(args.frames) >= args.drop
    moves = np.random.default_rng(args.frames).normal(size=(args.frames, 2))
    moves = np.round(moves * (0.4 * args.shake, args.shake)).astype(np.float32)
    warps = (np.array([[1, 0, x], [0, 1, y]], np.float32) for x, y in moves)
    made.pictures = [
        cv2.warpAffine(picture, warp, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
        for picture, warp in zip(made.pictures, warps, strict=True)
    ]
    made.real = [
        replace(boxes, xyxy=boxes.xyxy + np.tile(move, 2))
        for boxes, move in zip(made.real, moves, strict=True)
    ]
    pictures, seconds = compress(made.pictures, kept), compress(made.seconds, kept)
    return Clip([*pictures], [*seconds], [*compress(made.real, kept)], made.light)


def model_boxes(drive: Clip, runner: Runner, score: float) -> list[Boxes]:
    """The model's detections of every frame."""
    scenes = [runner(picture).from_score(score) for picture in drive.pictures]
    every = [next(scene.of(Boxes))[1] for scene in scenes]
    return [one.take((one.scores >= LOWEST_SCORE) & (one.classes < CLASSES)) for one in every]


def follow(drive: Clip, detected: list[Boxes], tracker: Any) -> tuple[list[Boxes], float]:
    """The boxes with their track ids, and the processor time in seconds."""
    tracked, spent = [], 0.0
    for boxes, picture, seconds in zip(detected, drive.pictures, drive.seconds, strict=True):
        scene = Scene(SIZE_HW, {"boxes": boxes})
        before = time.process_time()
        tracker.update(scene, picture, seconds)
        spent += time.process_time() - before
        tracked.append(next(scene.of(Boxes))[1])
    return tracked, spent


def ids_of(boxes: Boxes) -> np.ndarray:
    """(N,) track ids; -1 without one."""
    return np.full(len(boxes), -1) if boxes.track_ids is None else boxes.track_ids


def evaluate(drive: Clip, tracked: list[Boxes], score: float) -> tuple[Any, ...]:
    """HOTA, CLEAR and identity metrics of a drive; boxes without a confirmed track or below
    `score`, which `perceive` does not show, do not count."""
    shown = [one.take((ids_of(one) >= 0) & (one.scores >= score)) for one in tracked]
    similarities = [
        box_iou(real.xyxy, boxes.xyxy) for real, boxes in zip(drive.real, shown, strict=True)
    ]
    ids = (_contiguous([*map(ids_of, one)]) for one in (drive.real, shown))
    given = (*ids, similarities)
    metrics = (compute_hota_metrics, compute_clear_metrics, compute_identity_metrics)
    return tuple(metric(*given) for metric in metrics)


def _contiguous(ids: list[np.ndarray]) -> list[np.ndarray]:
    """The ids of a drive, numbered from 0 without gaps."""
    known = np.unique(np.concatenate(ids))
    return [np.searchsorted(known, one) for one in ids]


def run(args: argparse.Namespace) -> str:
    """Tracks and evaluates every drive with every tracker; a Markdown table."""
    runner = Runner(args.model or default_model(), args.provider, 1)
    score = runner.description.box_score
    results: dict[tuple[str, str, str], list[tuple[Any, ...]]] = {}
    spent = dict.fromkeys(args.trackers, 0.0)
    for seed in range(args.seed, args.seed + args.drives):
        drive = clip(seed, args)
        perfect = [replace(boxes, track_ids=None) for boxes in drive.real]
        for source, detected in {
            "perfect": perfect,
            "model": model_boxes(drive, runner, score),
        }.items():
            for name in args.trackers:
                tracked, seconds = follow(drive, detected, TRACKERS[name](args.fps, score))
                found = evaluate(drive, tracked, score)
                for period in ("all", drive.light):
                    results.setdefault((source, period, name), []).append(found)
                spent[name] += seconds
        print(f"drive {seed} done", flush=True)
    first = spent[args.trackers[0]]
    return report(results, {name: seconds / first for name, seconds in spent.items()})


def report(
    results: dict[tuple[str, str, str], list[tuple[Any, ...]]], times: dict[str, float]
) -> str:
    """One row per kind of boxes, light and tracker."""
    out = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for (source, period, name), found in sorted(results.items(), key=lambda item: item[0][:2]):
        hotas, clears, identities = (list(column) for column in zip(*found, strict=True))
        hota, clear = aggregate_hota_metrics(hotas), aggregate_clear_metrics(clears)
        idf1 = aggregate_identity_metrics(identities)["IDF1"]
        shares = (hota["HOTA"], hota["DetA"], hota["AssA"], idf1, clear["MOTA"])
        cells = [source, period, str(len(found)), name, *(f"{100 * share:.1f}" for share in shares)]
        cells += [str(clear["IDSW"]), str(clear["Frag"]), f"{times[name]:.1f}"]
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out)


def main() -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--drives", type=int, default=24)
    made.add_argument("--frames", type=int, default=60, help="per drive")
    made.add_argument("--seed", type=int, default=500, help="of the first drive")
    made.add_argument("--fps", type=float, default=10.0)
    made.add_argument("--trackers", nargs="+", default=list(TRACKERS), choices=list(TRACKERS))
    made.add_argument("--model", type=Path)
    made.add_argument("--provider", default="cpu", help="for the model's boxes")
    made.add_argument(
        "--shake",
        type=float,
        default=0.0,
        metavar="PIXELS",
        help="moves every picture and its boxes by a random offset of this standard deviation down "
        "and 0.4 of it sideways, as the camera does on a rough road",
    )
    made.add_argument("--drop", type=float, default=0.0, help="share of the frames to leave out")
    print(run(made.parse_args()))


if __name__ == "__main__":
    main()
