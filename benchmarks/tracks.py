"""BDD100K's MOT 2020 labels (`labels/box_track_20/SPLIT/VIDEO.json`): boxes with identities.

Any Scalabel file whose frames have `videoName` and `frameIndex`, and whose labels keep their `id`
through a video, is read. Categories are named as in bdd_names.py.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from perception.classes import DETECTION
from perception.errors import NoFramesError, UserError
from training.data import stream
from training.data.bdd_names import BOXES, IGNORED


@dataclass(frozen=True)
class TrackedFrame:
    """The labels of one frame of a video."""

    name: str  # of the image, e.g. b1c66a42-6f7d68ca-0000001.jpg
    index: int
    attributes: dict[str, str]
    boxes_xyxy: np.ndarray  # float32 (N, 4), pixels
    classes: np.ndarray  # int64 (N,), indices of perception.classes.DETECTION
    ids: np.ndarray  # int64 (N,), equal for one object through its video
    ignored: np.ndarray  # bool (N,): crowds and categories that are not evaluated


def read_tracks(path: Path) -> dict[str, list[TrackedFrame]]:
    """{video: frames in order} of a label file or of all label files in a folder.

    Raises UserError naming file and frame where something is missing or impossible, NoFramesError
    where there is no frame at all.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    videos: dict[str, list[TrackedFrame]] = {}
    for file in files:
        numbers: dict[tuple[str, str], int] = {}
        for position, entry in enumerate(stream.frames(file)):
            try:
                video = str(entry.get("videoName") or file.stem)
                frame = _frame(entry, video, numbers)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise UserError(
                    f"{file} frame {position}: no box tracks ({error!r:.100}); "
                    "give labels/box_track_20/SPLIT of BDD100K"
                ) from None
            videos.setdefault(video, []).append(frame)
    if not videos:
        raise NoFramesError(f"{path}: no Scalabel frames in it")
    for video, frames in videos.items():
        frames.sort(key=lambda frame: frame.index)
        for before, after in pairwise(frames):
            if before.index == after.index:
                raise UserError(f"{path}: video {video} has frame {after.index} twice; remove one")
    return videos


def _frame(entry: dict[str, Any], video: str, numbers: dict[tuple[str, str], int]) -> TrackedFrame:
    """`numbers` counts the identities: label ids are any text, unique within their video."""
    rows: list[tuple[list[float], int, int, bool]] = []
    for label in entry.get("labels") or ():
        category = str(label["category"])
        if category not in BOXES or not label.get("box2d"):
            continue
        box = [float(label["box2d"][key]) for key in ("x1", "y1", "x2", "y2")]
        if not (np.isfinite(box).all() and box[2] >= box[0] and box[3] >= box[1]):
            raise ValueError(f"box2d {box} of label {label['id']}")
        attributes = label.get("attributes") or {}
        ignored = category in IGNORED or bool(attributes.get("crowd") or attributes.get("ignored"))
        identity = numbers.setdefault((video, str(label["id"])), len(numbers))
        rows.append((box, DETECTION.index(BOXES[category]), identity, ignored))
    given = list(zip(*rows, strict=True)) or [(), (), (), ()]
    if len(set(given[2])) < len(given[2]):
        raise ValueError("one id on two boxes")
    return TrackedFrame(
        str(entry["name"]),
        int(entry["frameIndex"]),
        {key: str(value) for key, value in (entry.get("attributes") or {}).items()},
        np.array(given[0], np.float32).reshape(-1, 4),
        np.array(given[1], np.int64),
        np.array(given[2], np.int64),
        np.array(given[3], bool),
    )
