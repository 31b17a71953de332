"""perceive-archive --pick: the frames of an archive that are most worth labelling.

Three parts make the value of a frame: box scores near the middle; boxes, areas and lanes that the
model does not find again in the mirrored frame (consistency-based active learning, Yu et al., CVPR
2022 workshops, arXiv 2103.10374); and rare classes. The label files give candidates; the model is
then applied to these and their mirror images. Frames are taken by value times the distance to the
pictures already taken (as in core-set selection, Sener and Savarese, ICLR 2018, arXiv 1708.00489),
near-duplicates never.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from demo.archive_jobs import Job, Settings
from demo.pipeline import SourceFrame
from demo.video import VideoFile
from perception.classes import LANE_BACKGROUND_BIT
from perception.errors import MALFORMED, UserError
from perception.files import write_atomic
from perception.metrics.panoptic import box_iou
from perception.runtime.annotations import FORMATS, Export
from perception.runtime.colours import BACKGROUND
from perception.runtime.runner import Runner
from perception.runtime.scene import Boxes, Mask, Scene

CANDIDATES: Final = 8  # frames that the model is applied to again, per picked frame
SPREAD: Final = 0.5  # share of the candidates that is spread evenly over the archive
MATCH_IOU: Final = 0.3
GRID_HW: Final = (24, 40)
THUMBNAIL_WH: Final = (16, 9)
# Mean difference of two thumbnails (0 to 255, mean brightness removed) of near-duplicates.
ALIKE: Final = 6.0
CAP: Final = 5.0  # of a part of the value, in units of its mean
# Corners of a box in the mirrored frame: x of FLIP is -1, and the left side becomes the right one.
MIRROR: Final = (2, 1, 0, 3)
FLIP: Final = (-1, 1, -1, 1)


@dataclass
class Seen:
    """What the model found in one frame. `parts`: what makes it worth labelling, by name."""

    job: int
    index: int
    scores: np.ndarray  # (N,) of its boxes
    shown: set[str]  # classes and attributes, such as "weather=rainy"
    parts: dict[str, float] = field(default_factory=dict)
    picture: np.ndarray | None = None  # float THUMBNAIL_WH, of a candidate


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
    chosen_by = (settings.provider, settings.threads)
    runner = Runner(settings.model, *chosen_by, score=settings.score)
    first_parts(frames)
    some = candidates(frames, CANDIDATES * count)
    places = {(frame.job, frame.index): frame for frame in some}
    for number, frame in decoded(jobs, some):
        examine(places[number, frame.index], frame.image, runner)
    chosen = distinct([frame for frame in some if frame.picture is not None], count)
    views = runner.description.views
    target = folder / FORMATS[kind].place
    with Export(kind, target, views, subset="train") as export:
        for number, frame in decoded(jobs, chosen):
            # With its suffix: drive.mp4 and drive.mkv may lie in one folder.
            name = f"{jobs[number].name.replace('/', '_')}-{frame.index + 1:07d}.jpg"
            _, encoded = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, 95])
            write_atomic(folder / "images" / "train" / name, encoded.tobytes())
            export.add(name, runner(frame.image))
    fewer = "" if len(chosen) == count else f" (fewer than {count}: the others look like these)"
    return f"picked {len(chosen)} of {len(frames)} frames{fewer}: {folder}"


# Label files ------------------------------------------------------------------------------------


def read_frames(job: int, labels: Path) -> Iterator[Seen]:
    """The frames of a label file of perceive-archive."""
    with open(labels, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                entry = json.loads(line)
                boxes = [label for label in entry["labels"] if label.get("box2d")]
                areas = [label for label in entry["labels"] if label.get("poly2d")]
                scores = np.array([float(label["score"]) for label in boxes])
                shown = {str(label["category"]) for label in [*boxes, *areas]}
                for name, value in (entry.get("attributes") or {}).items():
                    if isinstance(value, str):
                        shown.add(f"{name}={value}")
                yield Seen(job, int(entry["frameIndex"]), scores, shown)
            except MALFORMED as error:
                raise UserError(
                    f"{labels} line {number}: not a line of perceive-archive ({error!r:.100}); "
                    "run with --redo"
                ) from None


# Parts of a frame's value -----------------------------------------------------------------------


def first_parts(frames: Sequence[Seen]) -> None:
    """Sets the parts that the label files give: box scores and rare classes."""
    shown = Counter(name for frame in frames for name in frame.shown)
    for frame in frames:
        rare = sum((len(frames) / shown[name]) ** 0.5 - 1 for name in frame.shown)
        frame.parts = {"scores": uncertainty(frame.scores), "rare": rare}


def examine(frame: Seen, image: np.ndarray, runner: Runner) -> None:
    """Sets the parts for which the model is applied again, and the thumbnail."""
    small = cv2.resize(image, THUMBNAIL_WH, interpolation=cv2.INTER_AREA).astype(np.float32)
    frame.picture = small - small.mean()
    scene, mirrored = runner(image), runner(np.ascontiguousarray(image[:, ::-1]))
    frame.parts["scores"] = sum(uncertainty(boxes.scores) for _, boxes in scene.of(Boxes))
    frame.parts |= mirror_parts(scene, mirrored)


def mirror_parts(scene: Scene, mirrored: Scene) -> dict[str, float]:
    """The shares of boxes that count, and of masks, that differ in the mirrored frame."""
    boxes, masks = [], []
    width = scene.frame_hw[1]
    for name, output in scene.outputs.items():
        other = mirrored.outputs[name]
        if isinstance(output, Boxes) and isinstance(other, Boxes):
            back = replace(other, xyxy=[width, 0, width, 0] + other.xyxy[:, MIRROR] * FLIP)
            boxes.append(unmatched(output.take(output.counted), back.take(back.counted)))
        elif isinstance(output, Mask) and isinstance(other, Mask):
            masks.append(mask_difference(output, other.small[:, ::-1]))
    parts = {"mirrored boxes": boxes, "mirrored masks": masks}
    return {name: float(np.mean(values)) for name, values in parts.items() if values}


def mask_difference(mask: Mask, other: np.ndarray) -> float:
    """Share of the pixels with another class, where either has one that is not background.

    Lanes are compared in cells of GRID_HW, because lines a pixel apart are the same line.
    """
    one = mask.small
    if mask.is_lane_byte:
        marked = [(m & LANE_BACKGROUND_BIT == 0).astype(np.float32) for m in (one, other)]
        one, other = (
            cv2.resize(m, GRID_HW[::-1], interpolation=cv2.INTER_AREA) > 0 for m in marked
        )
        shown = one | other
    else:
        names = mask.view.classes
        background = names.index(BACKGROUND) if BACKGROUND in names else len(names)
        shown = (one != background) | (other != background)
    return float((one != other)[shown].mean()) if shown.any() else 0.0


def uncertainty(scores: np.ndarray) -> float:
    """Sum over boxes of 4 s (1 - s), which is 1 at a score of 0.5; the largest ten count."""
    return float(np.sort(4 * scores * (1 - scores))[-10:].sum())


def unmatched(one: Boxes, two: Boxes) -> float:
    """Share of boxes that overlap none of their class in the other list by MATCH_IOU."""
    overlap = box_iou(one.xyxy, two.xyxy)
    match = (overlap >= MATCH_IOU) & (one.classes[:, None] == two.classes)
    return float((~match.any(1)).sum() + (~match.any(0)).sum()) / max(len(one) + len(two), 1)


# Choice -----------------------------------------------------------------------------------------


def values(frames: Sequence[Seen]) -> np.ndarray:
    """float (N,): the sum of each frame's parts, each scaled to a mean of 1 and at most CAP."""
    names = dict.fromkeys(name for frame in frames for name in frame.parts)
    parts = np.array([[frame.parts.get(name, 0.0) for name in names] for frame in frames])
    return np.minimum(parts / np.maximum(parts.mean(0), 1e-9), CAP).sum(1)


def candidates(frames: Sequence[Seen], limit: int) -> list[Seen]:
    """The frames of the highest value by the label files, and some spread evenly over the others:
    a label file does not say how sure a mask is."""
    order = np.argsort(-values(frames), kind="stable")
    best, rest = order[: round(limit * (1 - SPREAD))], np.sort(order[round(limit * (1 - SPREAD)) :])
    spread = rest[np.linspace(0, len(rest) - 1, min(limit - len(best), len(rest))).astype(int)]
    return [frames[i] for i in sorted({*best.tolist(), *spread.tolist()})]


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


def distinct(frames: Sequence[Seen], count: int) -> list[Seen]:
    """Up to `count` frames with a picture, by value times distance to those already taken.

    The distance counts up to the median of all; below ALIKE a frame is never taken.
    """
    if not frames:
        return []
    worth = values(frames) + 1e-3
    pictures = np.stack([frame.picture for frame in frames if frame.picture is not None])
    nearest = np.full(len(frames), np.inf)
    chosen: list[int] = []
    typical = 0.0
    while len(chosen) < min(count, len(frames)):
        gain = worth * np.minimum(1, nearest / max(typical, ALIKE))
        best = int(np.argmax(np.where(nearest >= ALIKE, gain, -1)))
        if nearest[best] < ALIKE:
            break
        chosen.append(best)
        apart = np.abs(pictures - pictures[best]).mean((1, 2, 3))
        typical = typical or float(np.median(apart))
        nearest = np.minimum(nearest, apart)
    return [frames[i] for i in chosen]
