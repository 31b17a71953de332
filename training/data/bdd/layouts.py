"""What a folder holds, found by looking: where frames, label files and masks are, per split.

Each release of BDD100K (and its repackagings) is a few rows of the tables below; a folder may hold
several at once, and of two sources of one label the earlier row wins, frame by frame.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from perception.errors import NoFramesError, UserError
from perception.images import IMAGE_SUFFIXES

SPLITS: Final = ("train", "val", "test")

IMAGE_FOLDERS: Final = (
    "images/100k/{split}",
    "images/10k/{split}",
    "seg/images/{split}",
    "100k/{split}",
    "10k/{split}",
    "images/{split}",
    "{split}/images",
    "{split}",
)


@dataclass(frozen=True)
class MaskSource:
    """A folder with one mask a frame, named after the frame plus `suffix`."""

    task: str
    name: str
    folder: Path
    suffix: str
    encoding: str


@dataclass(frozen=True)
class LabelSource:
    """A JSON file of many frames, or a folder with one file a frame.

    `kinds`: the labels that every frame of it has ("boxes", "drivable", "lane"); empty = those
    that occur in it at all (a file without a single lane does not say that there are none).
    """

    path: Path
    format: str  # "scalabel", "scalabel-folder", "yolo"
    kinds: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Layout:
    """Everything found for one split of a folder."""

    root: Path
    split: str
    images: tuple[Path, ...]
    labels: tuple[LabelSource, ...]
    masks: tuple[MaskSource, ...]


# task, name, folder, suffix, encoding. Typed lanes first, then true markings, then a teacher's.
MASKS: Final = (
    ("drivable", "masks", "labels/drivable/masks/{split}", ".png", "drivable"),
    ("drivable", "2018", "drivable_maps/labels/{split}", "_drivable_id.png", "drivable-2018"),
    ("drivable", "panoptic", "da_seg_annotations/{split}", ".png", "drivable-panoptic"),
    ("lane", "masks", "labels/lane/masks/{split}", ".png", "lane"),
    ("lane", "marking", "labels/lane/marking/{split}", ".png", "lane-binary"),
    ("lane", "panoptic", "ll_seg_annotations/{split}", ".png", "lane-panoptic"),
    ("lane", "teacher", "labels/lane/teacher/{split}", ".png", "lane-binary"),
    ("semantic", "masks", "labels/sem_seg/masks/{split}", ".png", "semantic"),
    ("semantic", "2018", "seg/labels/{split}", "_train_id.png", "semantic"),
)
# path, format, kinds.
LABELS: Final = (
    ("labels/det_20/det_{split}.json", "scalabel", ("boxes",)),
    ("labels/drivable/polygons/drivable_{split}.json", "scalabel", ("drivable",)),
    ("labels/lane/polygons/lane_{split}.json", "scalabel", ("lane",)),
    ("labels/bdd100k_labels_images_{split}.json", "scalabel", ()),
    ("labels/100k/{split}", "scalabel-folder", ()),
    ("100k/{split}", "scalabel-folder", ()),
    ("det_annotations/{split}", "scalabel-folder", ("boxes",)),
)
YOLO_FOLDERS: Final = (
    "labels/{split}",
    "labels/yolo/{split}",
    "labels/100k/{split}",
    "{split}/labels",
)


def find(root: Path, split: str) -> Layout:
    """The layout of one split. Raises UserError where the folder holds no frames for it."""
    _check_folder(root)
    images = tuple(_image_folders(root, split))
    if not images:
        others = splits(root)
        if others:
            raise NoFramesError(
                f"{root}: no frames for split {split!r}; it has {', '.join(others)}"
            )
        raise NoFramesError(
            f"{root}: no frames found; expected one of "
            + ", ".join(pattern.format(split=split) for pattern in IMAGE_FOLDERS)
        )
    masks = tuple(
        MaskSource(task, name, folder, suffix, encoding)
        for task, name, pattern, suffix, encoding in MASKS
        for folder in _places(root, pattern, split)
        if folder.is_dir()
    )
    return Layout(root, split, images, tuple(_label_sources(root, split)), masks)


def splits(root: Path) -> tuple[str, ...]:
    """The splits that have a folder of frames."""
    _check_folder(root)
    return tuple(split for split in SPLITS if any(_image_folders(root, split)))


def _check_folder(root: Path) -> None:
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the folder that holds images/ and labels/")


def _places(root: Path, pattern: str, split: str) -> tuple[Path, ...]:
    """In the folder itself, and in the `bdd100k` that most official archives unpack to."""
    return tuple(base / pattern.format(split=split) for base in (root, root / "bdd100k"))


def _image_folders(root: Path, split: str) -> Iterator[Path]:
    for pattern in IMAGE_FOLDERS:
        for folder in _places(root, pattern, split):
            if _holds(folder, IMAGE_SUFFIXES):
                yield folder


def _holds(folder: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a folder exists and has a file of one of the kinds."""
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(suffixes) for entry in entries)


def _label_sources(root: Path, split: str) -> Iterator[LabelSource]:
    for pattern, kind_of_file, kinds in LABELS:
        for path in _places(root, pattern, split):
            folder = kind_of_file.endswith("folder")
            if _holds(path, (".json",)) if folder else path.is_file():
                yield LabelSource(path, kind_of_file, frozenset(kinds))
    yield from _yolo(root, split)
    yield from _exports(root, split)


def _yolo(root: Path, split: str) -> Iterator[LabelSource]:
    for pattern in YOLO_FOLDERS:
        for folder in _places(root, pattern, split):
            if _holds(folder, (".txt",)):
                yield LabelSource(folder, "yolo", frozenset({"boxes"}))


def _exports(root: Path, split: str) -> Iterator[LabelSource]:
    """A user's Scalabel export: {split}.json or any *{split}*.json that looks like frames."""
    known = {path for pattern, _, _ in LABELS for path in _places(root, pattern, split)}
    for folder in (*_places(root, ".", split), *_places(root, "labels", split)):
        if not folder.is_dir():
            continue
        for path in sorted(folder.glob(f"*{split}*.json")):
            # A file of exactly this name is meant as labels: if it is broken, that must be said.
            meant = path.name == f"{split}.json"
            if path not in known and (meant or looks_like_frames(path)):
                yield LabelSource(path, "scalabel")


def looks_like_frames(path: Path) -> bool:
    """Whether a JSON file begins like a list of Scalabel frames (or {"frames": [...]})."""
    if not path.is_file():
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        head = file.read(65536).lstrip()
    if head.startswith("{"):
        return '"frames"' in head
    start = head.find("{")
    if not head.startswith("[") or start < 0:
        return False
    try:
        frame, _ = json.JSONDecoder().raw_decode(head, start)
    except (ValueError, RecursionError):
        return '"name"' in head and '"labels"' in head
    return isinstance(frame, dict) and "name" in frame and "labels" in frame
