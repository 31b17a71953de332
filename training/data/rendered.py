"""Rendered roads: a dataset that needs no download, with exact labels for every task.

`RenderedRoads(count, seed)[i]` depends on (seed, i) alone. `drive` renders consecutive frames;
`write_bdd100k` writes frames in BDD100K's official layout.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from typing_extensions import Self

from perception.classes import DETECTION
from perception.errors import UserError, check_known
from perception.files import WriteError, replacing, write_atomic
from training.data.dataset import Dataset, wanted_tasks
from training.data.roads.frame import RenderedFrame, render
from training.data.roads.world import build
from training.data.sample import Sample

TASKS = ("det", "drivable", "lane", "scene", "semantic", "depth", "normals")
FULL_HW = (720, 1280)
COUNTS = {"train": 8000, "val": 200}
MASK_FOLDERS = {
    "drivable": "labels/drivable/masks",
    "lane": "labels/lane/masks",
    "semantic": "labels/sem_seg/masks",
}
# Validation roads come from another seed than any training road.
VAL_SEED = 1_000_003
# Seeds of a drive's frames are kept apart from those of single frames.
DRIVE = 1_000_003
# A drive is built in units of this many metres, so that a shorter one is the start of a longer one.
STAGE = 600


def render_frame(
    seed: int, index: int, size_hw: tuple[int, int] = (384, 640), tasks: Sequence[str] = TASKS
) -> RenderedFrame:
    """The frame of (seed, index)."""
    return render(build(seed, index, size_hw), 0.0, tasks, np.random.default_rng((seed, index, 1)))


class RenderedRoads(Dataset):
    """`count` frames, each of another road, with labels for `tasks`."""

    labels = TASKS

    def __init__(
        self,
        count: int,
        seed: int = 0,
        size_hw: tuple[int, int] = (384, 640),
        tasks: Sequence[str] = TASKS,
    ) -> None:
        check_known("task of rendered roads", tasks, TASKS)
        self.count, self.seed, self.size_hw = count, seed, size_hw
        self.tasks = tuple(tasks)

    @classmethod
    def reader(cls, *_: object) -> Callable[..., Dataset]:
        return cls.of_text

    @classmethod
    def of_text(
        cls,
        root: Path,
        split: str,
        tasks: Sequence[str] | None,
        size_hw: tuple[int, int] | None,
        **_: Any,
    ) -> Self:
        """`root` is [TRAIN[/VAL]][@SEED], e.g. 2000/100@7: the number of frames of each split."""
        text = "" if root == Path() else str(root)
        found = re.fullmatch(r"(?:([1-9]\d{0,8})(?:/([1-9]\d{0,8}))?)?(?:@(\d{1,9}))?", text)
        if found is None or split not in COUNTS:
            raise UserError(
                f"--data rendered:{text}: write the number of frames, e.g. rendered:2000, or of "
                "both splits and a seed, e.g. rendered:2000/200@7"
            )
        counts = {"train": found[1], "val": found[2]}
        wanted = wanted_tasks(tasks, dict.fromkeys(TASKS, True), f"rendered:{text}")
        seed = int(found[3] or 0) + (VAL_SEED if split == "val" else 0)
        return cls(int(counts[split] or COUNTS[split]), seed, size_hw or FULL_HW, wanted)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(index)
        frame = render_frame(self.seed, index, self.size_hw, self.tasks)
        return Sample(frame.image, frame.labels, self.name(index))

    def name(self, index: int) -> str:
        return f"rendered-{self.seed}-{index:06d}"

    def fingerprint(self) -> str:
        return f"rendered 3 {self.seed} {self.count} {self.size_hw} {self.tasks}"


def drive(
    seed: int,
    frames: int,
    fps: float = 10.0,
    size_hw: tuple[int, int] = (384, 640),
    tasks: Sequence[str] = TASKS,
) -> Iterator[RenderedFrame]:
    """Consecutive frames of one drive."""
    travel = STAGE * math.ceil(frames / fps * 30.0 / STAGE)
    road = build(seed, DRIVE, size_hw, travel)
    at = 0.0
    for number in range(frames):
        yield render(road, at, tasks, np.random.default_rng((seed, DRIVE, number)))
        at = road.step(1 / fps, at)


def write_drive_video(
    path: Path | str,
    seed: int,
    frames: int,
    fps: float = 10.0,
    size_hw: tuple[int, int] = (384, 640),
) -> None:
    """Writes a drive as MP4; the file is whole or absent."""
    with replacing(Path(path)) as temporary:
        code = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(temporary), code, fps, size_hw[::-1])
        if not writer.isOpened():
            raise UserError(f"{path}: this OpenCV cannot write MP4; use a path that ends in .mp4")
        for frame in drive(seed, frames, fps, size_hw, tasks=()):
            writer.write(frame.image)
        writer.release()
        # OpenCV does not report failed writes.
        written = int(cv2.VideoCapture(str(temporary)).get(cv2.CAP_PROP_FRAME_COUNT))
        if written != frames:
            raise WriteError(f"{path}: cannot be written completely; free some space", full=True)


def _scalabel(name: str, frame: RenderedFrame) -> dict[str, object]:
    labels = [
        {
            "id": f"{name[:-4]}-{number}",
            "category": DETECTION[item.kind],
            "attributes": {"occluded": item.occluded, "truncated": item.truncated},
            "box2d": dict(zip(("x1", "y1", "x2", "y2"), item.box_xyxy, strict=True)),
        }
        for number, item in enumerate(frame.found)
    ]
    attributes = frame.drive.attributes
    return {"name": name, "attributes": attributes, "timestamp": 10000, "labels": labels}


def write_bdd100k(
    folder: Path | str,
    count_train: int,
    count_val: int,
    seed: int = 0,
    size_hw: tuple[int, int] = FULL_HW,
) -> None:
    """Writes rendered frames in BDD100K's layout: images, boxes, drivable, lane, semantic masks.

    Train and val come from different seeds; the lane masks hold the official byte, 255 background.
    """
    for split, count, first in (("train", count_train, seed), ("val", count_val, seed + 1)):
        entries = []
        for index in range(count):
            frame = render_frame(first, index, size_hw, ("det", *MASK_FOLDERS))
            stem = f"{first:08x}-{index:08x}"
            _, data = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, 90])
            write_atomic(Path(folder, f"images/100k/{split}/{stem}.jpg"), data.tobytes())
            for task, place in MASK_FOLDERS.items():
                (mask,) = frame.labels[task].arrays().values()
                png = cv2.imencode(".png", mask)[1].tobytes()
                write_atomic(Path(folder, place, split, f"{stem}.png"), png)
            entries.append(_scalabel(f"{stem}.jpg", frame))
        write_atomic(Path(folder, f"labels/det_20/det_{split}.json"), json.dumps(entries))
