"""perceive-archive --pick: the frames of an archive that are most worth labelling.

A frame's value is high where the model is unsure (box scores near the middle, boxes and areas that
the neighbouring frames do not confirm) and where it shows rare classes. Frames are taken best
first, leaving out those that look like one already taken.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from demo.archive_worker import Job, Settings
from demo.pipeline import SourceFrame
from demo.sources import VideoFile
from perception.errors import UserError
from perception.files import write_atomic
from perception.runtime.annotations import FORMATS, Export
from perception.runtime.runner import Runner

CANDIDATES: Final = 8  # frames that are compared by their pictures, per picked frame
MATCH_IOU: Final = 0.3
GRID_HW: Final = (24, 40)
THUMBNAIL_WH: Final = (16, 9)
# Mean difference of two thumbnails (0 to 255, mean brightness removed) of near-duplicates.
ALIKE: Final = 6.0


@dataclass
class Seen:
    """What the model found in one frame."""

    job: int
    index: int
    shape_hw: tuple[int, int]
    boxes: np.ndarray  # float (N, 4)
    scores: np.ndarray  # float (N,)
    classes: list[str]
    grids: dict[str, np.ndarray] = field(default_factory=dict)  # category: bool GRID_HW
    value: float = 0.0


def pick(jobs: Sequence[Job], count: int, kind: str, folder: Path, settings: Settings) -> str:
    """Writes the `count` best frames to `folder`: images/train/ and their labels.

    Returns a line on what was written. Raises UserError where there is no labelled frame.
    """
    frames = [
        frame
        for number, job in enumerate(jobs)
        if Path(job.labels).is_file()
        for frame in read_frames(number, Path(job.labels))
    ]
    if not frames:
        raise UserError("--pick: none of the videos has labels")
    rate(frames)
    best = sorted(frames, key=lambda frame: -frame.value)[: CANDIDATES * count]
    thumbnails = {
        (number, frame.index): thumbnail(frame.image) for number, frame in decoded(jobs, best)
    }
    chosen = distinct(best, thumbnails, count)
    runner = Runner(settings.model, settings.provider, settings.threads)
    views = runner.description.views
    target = folder / FORMATS[kind].place
    with Export(kind, target, views, settings.score, subset="train") as export:
        for number, frame in decoded(jobs, chosen):
            stem = jobs[number].name.replace("/", "_").rpartition(".")[0]
            name = f"{stem}-{frame.index + 1:07d}.jpg"
            _, encoded = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, 95])
            write_atomic(folder / "images" / "train" / name, encoded.tobytes())
            export.add(name, runner(frame.image))
    fewer = "" if len(chosen) == count else f" (fewer than {count}: the others look like these)"
    return f"picked {len(chosen)} of {len(frames)} frames{fewer}: {folder}"


def read_frames(job: int, labels: Path) -> Iterator[Seen]:
    """The frames of a label file of perceive-archive."""
    with open(labels, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield _seen(job, json.loads(line))
            except (ValueError, LookupError, TypeError) as error:
                raise UserError(
                    f"{labels} line {number}: not a line of perceive-archive ({error!r:.100}); "
                    "run with --redo"
                ) from None


def _seen(job: int, entry: dict[str, Any]) -> Seen:
    size = (int(entry["size"]["height"]), int(entry["size"]["width"]))
    boxes, scores, classes = [], [], []
    grids: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(GRID_HW, np.uint8))
    scale = np.array(GRID_HW[::-1]) / size[::-1]
    for label in entry["labels"]:
        if box := label.get("box2d"):
            boxes.append([box[side] for side in ("x1", "y1", "x2", "y2")])
            scores.append(label["score"])
            classes.append(label["category"])
        for polygon in label.get("poly2d") or ():
            points = (np.array(polygon["vertices"]) * scale).round().astype(np.int32)
            cv2.fillPoly(grids[label["category"]], [points], 1)
    return Seen(
        job,
        int(entry["frameIndex"]),
        size,
        np.array(boxes, float).reshape(-1, 4),
        np.array(scores, float),
        classes,
        {name: grid.astype(bool) for name, grid in grids.items()},
    )


def rate(frames: Sequence[Seen]) -> None:
    """Sets the value of every frame; each part is scaled to a mean of 1 over the archive."""
    by_job: dict[int, list[Seen]] = defaultdict(list)
    for frame in frames:
        by_job[frame.job].append(frame)
    shown = Counter(name for frame in frames for name in {*frame.classes, *frame.grids})
    parts = np.zeros((len(frames), 3))
    place = {id(frame): row for row, frame in enumerate(frames)}
    for others in by_job.values():
        for number, frame in enumerate(others):
            near = others[max(number - 1, 0) : number] + others[number + 1 : number + 2]
            parts[place[id(frame)]] = (
                uncertainty(frame),
                sum(disagreement(frame, other) for other in near) / max(len(near), 1),
                sum(
                    (len(frames) / shown[name]) ** 0.5 - 1
                    for name in {*frame.classes, *frame.grids}
                ),
            )
    values = (parts / np.maximum(parts.mean(0), 1e-9)).sum(1)
    for frame, value in zip(frames, values.tolist(), strict=True):
        frame.value = value


def uncertainty(frame: Seen) -> float:
    """Sum over boxes of 4 s (1 - s), which is 1 at a score of 0.5; the largest ten count."""
    return float(np.sort(4 * frame.scores * (1 - frame.scores))[-10:].sum())


def disagreement(frame: Seen, other: Seen) -> float:
    """Share of boxes without a counterpart, plus 1 - IoU of each area, between two frames."""
    parts = []
    if count := len(frame.classes) + len(other.classes):
        overlap = _ious(frame.boxes, other.boxes)
        same = np.array(frame.classes, object)[:, None] == np.array(other.classes, object)[None]
        match = (overlap >= MATCH_IOU) & same.reshape(overlap.shape)
        parts.append(((~match.any(1)).sum() + (~match.any(0)).sum()) / count)
    none = np.zeros(GRID_HW, bool)
    for name in {*frame.grids, *other.grids}:
        one, two = frame.grids.get(name, none), other.grids.get(name, none)
        parts.append(1 - (one & two).sum() / max((one | two).sum(), 1))
    return float(np.mean(parts)) if parts else 0.0


def _ious(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    low = np.maximum(one[:, None, :2], two[None, :, :2])
    high = np.minimum(one[:, None, 2:], two[None, :, 2:])
    shared = (high - low).clip(0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (one, two)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)


def decoded(jobs: Sequence[Job], wanted: Sequence[Seen]) -> Iterator[tuple[int, SourceFrame]]:
    """(number of the job, frame) of the wanted frames, video after video."""
    by_job: dict[int, set[int]] = defaultdict(set)
    for seen in wanted:
        by_job[seen.job].add(seen.index)
    for number, indices in sorted(by_job.items()):
        for frame in VideoFile(Path(jobs[number].video)):
            if frame.index in indices:
                yield number, frame
            if frame.index >= max(indices):
                break


def thumbnail(image: np.ndarray) -> np.ndarray:
    """float (H, W, 3): the picture, tiny, without its mean brightness."""
    small = cv2.resize(image, THUMBNAIL_WH, interpolation=cv2.INTER_AREA).astype(np.float32)
    return small - small.mean()


def distinct(
    best: Sequence[Seen], thumbnails: dict[tuple[int, int], np.ndarray], count: int
) -> list[Seen]:
    """The first `count` frames without near-duplicates of earlier ones."""
    chosen: list[Seen] = []
    pictures: list[np.ndarray] = []
    for frame in best:
        picture = thumbnails.get((frame.job, frame.index))
        if picture is None or len(chosen) == count:
            continue
        if all(np.abs(picture - other).mean() >= ALIKE for other in pictures):
            chosen.append(frame)
            pictures.append(picture)
    return chosen
