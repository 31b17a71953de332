"""Where a folder holds frames, label files and masks, per split.

Each release of BDD100K (and its repackagings) is a few rows of the tables below; a folder may hold
several at once, and of two sources of one label the earlier row wins, frame by frame.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from perception.errors import NoFramesError, UserError
from perception.images import IMAGE_SUFFIXES
from training.data.files import head_of

# Image suffixes as files spell them; the index stores a frame's as a position in these.
SUFFIXES: Final = (
    *IMAGE_SUFFIXES,
    *(suffix.upper() for suffix in IMAGE_SUFFIXES),
    *(suffix.title() for suffix in IMAGE_SUFFIXES),
)
SPLITS: Final = ("train", "val", "test")
DEEPEST: Final = 3
# Folders that a release consists of; a folder that holds one may be the top of a release.
MARKERS: Final = (
    "images", "labels", "seg", "100k", "10k", "drivable_maps",
    "da_seg_annotations", "ll_seg_annotations", "det_annotations",
)  # fmt: skip
KNOWN: Final = frozenset((*MARKERS, *SPLITS))

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
    """A folder with one mask per frame, named after the frame plus `suffix`."""

    task: str
    name: str
    folder: Path
    suffix: str
    encoding: str


@dataclass(frozen=True)
class LabelSource:
    """A JSON file of many frames, or a folder with one file per frame.

    `kinds`: the labels that every frame of it has ("boxes", "drivable", "lane"); empty = those
    that occur in it (a file without a single lane is not annotated with lanes).
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


def find(root: Path, split: str, labels: Path | None = None) -> Layout:
    """The layout of one split; labels are searched for in `labels`, else in `root`.

    Raises NoFramesError where the folder holds no frames for it. Where one part is found in several
    folders, the first in order of depth and name is taken, and stderr says so.
    """
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
    if labels is not None:
        _check_folder(labels)
    places = bases(labels or root)
    masks = tuple(
        MaskSource(task, name, folder, suffix, encoding)
        for task, name, pattern, suffix, encoding in MASKS
        for folder in _found(places, pattern, split, Path.is_dir)
    )
    return Layout(root, split, images, tuple(_label_sources(places, split)), masks)


def splits(root: Path) -> tuple[str, ...]:
    """The splits that have a folder of frames."""
    _check_folder(root)
    return tuple(split for split in SPLITS if any(_image_folders(root, split)))


def _check_folder(root: Path) -> None:
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the folder that holds images/ and labels/")


def bases(root: Path) -> list[Path]:
    """Folders that may hold a release: the root, its `bdd100k`, and up to DEEPEST levels below it
    those that have a folder of a known name. Mirrors nest, e.g. bdd100k/bdd100k/images/100k."""
    found = [root, root / "bdd100k"]
    level = [root]
    for _ in range(DEEPEST):
        level = [
            Path(entry.path)
            for folder in level
            for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
            if entry.name not in KNOWN and entry.is_dir() and not entry.name.startswith(".")
        ]
        found += [folder for folder in level if any((folder / name).is_dir() for name in MARKERS)]
    return list(dict.fromkeys(found))


def _found(
    places: Sequence[Path], pattern: str, split: str, exists: Callable[[Path], bool]
) -> list[Path]:
    """The first base's path of a pattern that exists; none or one."""
    paths = [base / pattern.format(split=split) for base in places]
    found = [path for path in dict.fromkeys(paths) if exists(path)]
    if len(found) > 1 and not pattern.startswith("{split}"):
        others = ", ".join(str(path) for path in found[1:])
        print(f"{found[0]}: used instead of {others}", file=sys.stderr, flush=True)
    return found[:1]


def _image_folders(root: Path, split: str) -> Iterator[Path]:
    """Folders of images; below the split's folder mirrors may have one more level."""
    places = bases(root)
    for pattern in IMAGE_FOLDERS:
        for folder in _found(places, pattern, split, Path.is_dir):
            if _holds(folder, IMAGE_SUFFIXES):
                yield folder
            elif pattern != "{split}":
                yield from (
                    inner
                    for inner in sorted(folder.iterdir())
                    if inner.is_dir() and _holds(inner, IMAGE_SUFFIXES)
                )


def _holds(folder: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a folder exists and has a file with one of the suffixes."""
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(suffixes) for entry in entries)


def frames_of(layout: Layout) -> dict[str, tuple[int, int]]:
    """(folder, suffix) of each frame; a frame in two folders is taken from the first."""
    found: dict[str, tuple[int, int]] = {}
    for number, folder in enumerate(layout.images):
        for name in names_in(folder):
            stem, dot, suffix = name.rpartition(".")
            if dot and f".{suffix}" in SUFFIXES and not name.startswith("."):
                found.setdefault(stem, (number, SUFFIXES.index(f".{suffix}")))
    return found


def names_in(folder: Path) -> list[str]:
    """Names of the entries of a folder."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def stem_of(name: str) -> str:
    """`b1d0091f-75824d0d` of `b1d0091f-75824d0d.jpg`, and of a name without suffix."""
    name = name.rsplit("/", 1)[-1]
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else name


def _label_sources(places: Sequence[Path], split: str) -> Iterator[LabelSource]:
    for pattern, kind_of_file, kinds in LABELS:
        folder = kind_of_file.endswith("folder")
        exists = partial(_holds, suffixes=(".json",)) if folder else Path.is_file
        for path in _found(places, pattern, split, exists):
            yield LabelSource(path, kind_of_file, frozenset(kinds))
    yield from _yolo(places, split)
    yield from _exports(places, split)


def _yolo(places: Sequence[Path], split: str) -> Iterator[LabelSource]:
    for pattern in YOLO_FOLDERS:
        for folder in _found(places, pattern, split, partial(_holds, suffixes=(".txt",))):
            yield LabelSource(folder, "yolo", frozenset({"boxes"}))


def _exports(places: Sequence[Path], split: str) -> Iterator[LabelSource]:
    """A user's Scalabel export: {split}.json or any *{split}*.json that looks like frames."""
    known = {base / pattern.format(split=split) for pattern, _, _ in LABELS for base in places}
    for folder in (*places, *(base / "labels" for base in places)):
        if not folder.is_dir():
            continue
        for path in sorted(folder.glob(f"*{split}*.json")):
            # A file of exactly this name holds the labels: if it is damaged, that is an error.
            meant = path.name == f"{split}.json"
            if path not in known and (meant or looks_like_frames(path)):
                yield LabelSource(path, "scalabel")


def looks_like_frames(path: Path) -> bool:
    """Whether a JSON file begins like a list of Scalabel frames (or {"frames": [...]})."""
    head = head_of(path, 65536)
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
