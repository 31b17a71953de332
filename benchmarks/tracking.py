"""Compares trackers: HOTA, IDF1 and identity switches on rendered drives or BDD100K MOT.

    python benchmarks/tracking.py DIR --render 24      # writes 24 drives there, then compares
    python benchmarks/tracking.py bdd100k --fps 5      # BDD100K MOT

DIR holds labels/box_track_20/SPLIT/VIDEO.json and images/track/SPLIT/VIDEO/NAME.jpg. The model's
boxes are kept in DIR/detections. Metrics are those of the `trackers` library (TrackEval's
definitions) over the eight classes of BDD100K MOT without regard to the class, as identities are
given without it; predictions inside ignored regions do not count.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from supervision import Detections
from trackers import BoTSORTTracker, ByteTrackTracker, CBIoUTracker, OCSORTTracker
from trackers.eval import (
    aggregate_clear_metrics,
    aggregate_hota_metrics,
    aggregate_identity_metrics,
    box_ioa,
    box_iou,
    compute_clear_metrics,
    compute_hota_metrics,
    compute_identity_metrics,
)
from trackers.utils.iou import BIoU
from tracks import TrackedFrame, read_tracks

from perception.classes import DETECTION
from perception.files import replacing, write_atomic
from perception.runtime.runner import Runner, default_model
from perception.runtime.scene import Boxes
from training.data.rendered import drive
from training.data.roads.frame import RenderedFrame

CLASSES = DETECTION[:8]  # of BDD100K MOT: without traffic lights and signs
LABELS, IMAGES = "labels/box_track_20", "images/track"


def write_drives(args: argparse.Namespace) -> None:
    """`--render`: drives in the layout of BDD100K MOT; those that are there already are kept."""
    for seed in range(args.seed, args.seed + args.render):
        video = f"drive-{seed}"
        path = args.folder / LABELS / args.split / f"{video}.json"
        if path.exists():
            continue
        frames = []
        rendered = drive(seed, args.frames, args.fps, tuple(args.size), ())
        for index, frame in enumerate(rendered):
            name = f"{video}-{index + 1:07d}.jpg"
            _, data = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, 95])
            write_atomic(args.folder / IMAGES / args.split / video / name, data.tobytes())
            frames.append(scalabel(frame, video, name, index))
        write_atomic(path, json.dumps(frames))
        print(f"{path} written", flush=True)


def scalabel(frame: RenderedFrame, video: str, name: str, index: int) -> dict[str, Any]:
    """A frame of BDD100K's MOT labels."""
    labels = [
        {
            "id": str(item.track),
            "category": DETECTION[item.kind],
            "attributes": {
                "occluded": item.occluded,
                "truncated": item.truncated,
                "crowd": False,
            },
            "box2d": dict(zip(("x1", "y1", "x2", "y2"), item.box_xyxy, strict=True)),
        }
        for item in frame.found
        if item.track >= 0 and item.kind < len(CLASSES)
    ]
    return {"name": name, "videoName": video, "frameIndex": index, "labels": labels,
            "attributes": frame.moment.attributes}  # fmt: skip


def _botsort(fps: float, score: float, **options: Any) -> BoTSORTTracker:
    return BoTSORTTracker(
        frame_rate=fps, track_activation_threshold=score, high_conf_det_threshold=score, **options
    )


def _scaled(fps: float, score: float, **options: Any) -> BoTSORTTracker:
    """Similarities are IoU times score: limits as for a detector whose boxes score 0.7 and more."""
    share = score / 0.7
    return _botsort(
        fps,
        score,
        minimum_iou_threshold_first_assoc=0.2 * share,
        minimum_iou_threshold_unconfirmed_assoc=0.3 * share,
        **options,
    )


# Name: the tracker for a frame rate and the least score of a new track.
TRACKERS: dict[str, Callable[[float, float], Any]] = {
    "ByteTrack": lambda fps, score: ByteTrackTracker(
        frame_rate=fps, track_activation_threshold=score, high_conf_det_threshold=score
    ),
    "BoT-SORT": _botsort,
    "BoT-SORT, no camera motion": lambda fps, score: _botsort(fps, score, enable_cmc=False),
    "BoT-SORT, scaled limits": _scaled,
    "BoT-SORT, scaled limits, buffered IoU": lambda fps, score: _scaled(
        fps, score, iou=BIoU(buffer_ratio=0.3)
    ),
    "OC-SORT": lambda fps, score: OCSORTTracker(frame_rate=fps, high_conf_det_threshold=score),
    "C-BIoU": lambda fps, score: CBIoUTracker(
        frame_rate=fps, track_activation_threshold=score, high_conf_det_threshold=score
    ),
}
LOWEST_SCORE = 0.1  # weaker boxes do not even continue a track


@dataclass
class Clip:
    """A video with its labels."""

    name: str
    frames: list[TrackedFrame]
    images: list[Path]

    @property
    def time_of_day(self) -> str:
        """day, night, or unknown."""
        time_of_day = self.frames[0].attributes.get("timeofday", "unknown")
        return {"daytime": "day", "dawn/dusk": "day"}.get(time_of_day, time_of_day)

    def take(self, kept: np.ndarray) -> "Clip":
        """The frames where `kept` is true."""
        frames, images = compress(self.frames, kept), compress(self.images, kept)
        return Clip(self.name, list(frames), list(images))

    def picture(self, index: int) -> np.ndarray:
        """uint8 (H, W, 3) BGR."""
        image = cv2.imread(str(self.images[index]))
        if image is None:
            raise SystemExit(f"{self.images[index]}: no such image")
        return image


def clips(folder: Path, split: str) -> list[Clip]:
    """All videos of a split."""
    found = read_tracks(folder / LABELS / split)
    images = folder / IMAGES / split
    return [
        Clip(name, frames, [images / name / frame.name for frame in frames])
        for name, frames in found.items()
    ]


def true_boxes(clip: Clip) -> list[Boxes]:
    """Perfect detections."""
    return [
        Boxes(
            frame.boxes_xyxy[~frame.ignored],
            np.ones(int((~frame.ignored).sum()), np.float32),
            frame.classes[~frame.ignored],
            DETECTION,
        )
        for frame in clip.frames
    ]


def model_boxes(clip: Clip, folder: Path, runner: Runner) -> list[Boxes]:
    """The model's detections of every frame, computed once."""
    path = folder / "detections" / f"{runner.path.stem}-{runner.provider}" / f"{clip.name}.npz"
    if not path.exists():
        rows = []
        for index in range(len(clip.frames)):
            boxes = next(runner(clip.picture(index)).of(Boxes))[1]
            rows.append(np.column_stack([np.full(len(boxes), index), boxes.array()]))
        with replacing(path) as temporary:
            np.savez_compressed(temporary, boxes=np.concatenate(rows))
        print(f"{path} written", flush=True)
    table = np.load(path, allow_pickle=False)["boxes"]
    table = table[(table[:, 5] >= LOWEST_SCORE) & (table[:, 6] < len(CLASSES))]
    return [
        Boxes(
            rows[:, 1:5].astype(np.float32),
            rows[:, 5].astype(np.float32),
            rows[:, 6].astype(np.int64),
            DETECTION,
        )
        for rows in (table[table[:, 0] == index] for index in range(len(clip.frames)))
    ]


def shaken(
    clip: Clip, inputs: dict[str, list[Boxes]], pictures: list[np.ndarray], pixels: float
) -> tuple[Clip, dict[str, list[Boxes]], list[np.ndarray]]:
    """The clip, the boxes and the pictures of a camera that shakes."""
    rng = np.random.default_rng(len(pictures))
    moves = np.round(rng.normal(size=(len(pictures), 2)) * (0.4 * pixels, pixels))
    size = pictures[0].shape[1::-1]
    warps = [np.float32([[1, 0, x], [0, 1, y]]) for x, y in moves]
    moved = [
        cv2.warpAffine(picture, warp, size, borderMode=cv2.BORDER_REPLICATE)
        for picture, warp in zip(pictures, warps, strict=True)
    ]
    offsets = np.tile(moves, 2).astype(np.float32)  # (frames, 4)
    frames = [
        replace(frame, boxes_xyxy=frame.boxes_xyxy + offset)
        for frame, offset in zip(clip.frames, offsets, strict=True)
    ]
    boxes = {
        source: [
            replace(one, xyxy=one.xyxy + offset)
            for one, offset in zip(detected, offsets, strict=True)
        ]
        for source, detected in inputs.items()
    }
    return Clip(clip.name, frames, clip.images), boxes, moved


def follow(
    clip: Clip, detected: list[Boxes], tracker: Any, pictures: list[np.ndarray], fps: float | None
) -> tuple[list[np.ndarray], float]:
    """Track ids per frame in the order of its boxes, and the processor time in seconds. With `fps`
    the tracker gets the times of the frames."""
    ids, spent = [], 0.0
    for frame, boxes, picture in zip(clip.frames, detected, pictures, strict=True):
        rows = np.arange(len(boxes))
        given = Detections(
            xyxy=boxes.xyxy, confidence=boxes.scores, class_id=boxes.classes, data={"row": rows}
        )
        before = time.process_time()
        found = tracker.update(
            given,
            frame=picture if getattr(tracker, "enable_cmc", False) else None,
            timestamp=frame.index / fps if fps else None,
        )
        spent += time.process_time() - before
        own = np.full(len(boxes), -1, np.int64)
        if len(found) and found.tracker_id is not None:
            own[np.asarray(found.data["row"], np.int64)] = found.tracker_id
        ids.append(own)
    return ids, spent


def evaluate(
    clip: Clip, detected: list[Boxes], ids: list[np.ndarray], score: float
) -> dict[str, dict[str, Any]]:
    """The metric families of one clip; boxes without a confirmed track or below `score`, which
    `perceive` does not show, do not count."""
    true_ids, own_ids, similarities = [], [], []
    for frame, boxes, own in zip(clip.frames, detected, ids, strict=True):
        shown = (own >= 0) & (boxes.scores >= score)
        boxes_xyxy, own = boxes.xyxy[shown], own[shown]
        real = frame.boxes_xyxy[~frame.ignored]
        overlap = box_iou(real, boxes_xyxy)
        if frame.ignored.any() and len(own):
            covered = box_ioa(boxes_xyxy, frame.boxes_xyxy[frame.ignored]).max(axis=1) > 0.5
            keep = ~covered | (overlap.max(axis=0, initial=0) >= 0.5)
            own, overlap = own[keep], overlap[:, keep]
        true_ids.append(frame.ids[~frame.ignored])
        own_ids.append(own)
        similarities.append(overlap)
    arguments = (_contiguous(true_ids), _contiguous(own_ids), similarities)
    return {
        "CLEAR": compute_clear_metrics(*arguments),
        "HOTA": compute_hota_metrics(*arguments),
        "Identity": compute_identity_metrics(*arguments),
    }


def _contiguous(ids: list[np.ndarray]) -> list[np.ndarray]:
    """The ids of a clip, numbered from 0 without gaps."""
    known = np.unique(np.concatenate(ids)) if ids else np.zeros(0)
    return [np.searchsorted(known, one) for one in ids]


def run(args: argparse.Namespace) -> str:
    """Tracks and evaluates every clip with every tracker; Markdown tables."""
    runner = Runner(args.model or default_model(), args.provider, 1)
    score = runner.description.box_score
    results: dict[tuple[str, str, str], list[dict[str, dict[str, Any]]]] = {}
    spent = dict.fromkeys(args.trackers, 0.0)
    frames, times = 0, None if args.no_times else args.fps
    for clip in clips(args.folder, args.split):
        inputs = {"perfect": true_boxes(clip), "model": model_boxes(clip, args.folder, runner)}
        pictures = [clip.picture(index) for index in range(len(clip.frames))]
        if args.drop:
            kept = np.random.default_rng(3).random(len(clip.frames)) >= args.drop
            clip = clip.take(kept)
            inputs = {key: list(compress(found, kept)) for key, found in inputs.items()}
            pictures = list(compress(pictures, kept))
        if args.shake:
            clip, inputs, pictures = shaken(clip, inputs, pictures, args.shake)
        for source, detected in inputs.items():
            for name in args.trackers:
                tracker = TRACKERS[name](args.fps, score)
                ids, seconds = follow(clip, detected, tracker, pictures, times)
                found = evaluate(clip, detected, ids, score)
                for period in ("all", clip.time_of_day):
                    results.setdefault((source, period, name), []).append(found)
                spent[name] += seconds
            frames += len(clip.frames)
        print(f"{clip.name} done", flush=True)
    return report(results, {name: seconds / frames for name, seconds in spent.items()})


def report(
    results: dict[tuple[str, str, str], list[dict[str, dict[str, Any]]]], spent: dict[str, float]
) -> str:
    """One row per input, time of day and tracker."""
    first = next(iter(spent.values()))
    columns = ("boxes", "light", "clips", "tracker", "HOTA", "DetA", "AssA", "IDF1", "MOTA",
               "identity switches", "fragments", "time / first")  # fmt: skip
    out = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for (source, period, name), found in sorted(results.items(), key=lambda item: item[0][:2]):
        hota = aggregate_hota_metrics([one["HOTA"] for one in found])
        clear = aggregate_clear_metrics([one["CLEAR"] for one in found])
        identity = aggregate_identity_metrics([one["Identity"] for one in found])
        shares = (hota["HOTA"], hota["DetA"], hota["AssA"], identity["IDF1"], clear["MOTA"])
        cells = [source, period, str(len(found)), name, *(f"{100 * share:.1f}" for share in shares)]
        cells += [str(clear["IDSW"]), str(clear["Frag"]), f"{spent[name] / first:.1f}"]
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out)


def main() -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("folder", type=Path, metavar="DIR")
    made.add_argument("--split", default="val")
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
    made.add_argument("--no-times", action="store_true", help="trackers assume a constant rate")
    group = made.add_argument_group("rendered drives")
    group.add_argument("--render", type=int, default=0, metavar="DRIVES", help="write them first")
    group.add_argument("--frames", type=int, default=60, help="per drive")
    group.add_argument("--seed", type=int, default=500, help="of the first drive")
    group.add_argument("--size", type=int, nargs=2, default=(384, 640), metavar=("H", "W"))
    args = made.parse_args()
    write_drives(args)
    print(run(args))


if __name__ == "__main__":
    main()
