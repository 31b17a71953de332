"""Where a folder holds frames, label files and masks, per split.

Each release of BDD100K (and its repackagings) is a few rows of the tables below; a folder may hold
several at once, and of two sources of one label the earlier row wins, frame by frame.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from perception.errors import NoFramesError, UserError
from perception.images import IMAGE_SUFFIXES
from training.data.builder import Builder
from training.data.files import files_in, names_in, nfc, stem_of
from training.data.stream import looks_like_frames

SPLITS: Final = ("train", "val", "test")
DEEPEST: Final = 3
# Folders that a release consists of; a folder that holds one may be the top of a release.
MARKERS: Final = (
    "images", "labels", "seg", "100k", "10k", "drivable_maps",
    "da_seg_annotations", "ll_seg_annotations", "det_annotations",
)  # fmt: skip
KNOWN: Final = frozenset((*MARKERS, *SPLITS))

IMAGE_FOLDERS: Final = (
    "images/100k/{split}", "images/10k/{split}", "seg/images/{split}", "100k/{split}",
    "10k/{split}", "images/{split}", "{split}/images", "{split}",
)  # fmt: skip


class MaskSource(NamedTuple):
    """A folder with one mask per frame, named after the frame plus `suffix`."""

    task: str
    folder: Path
    suffix: str
    encoding: str  # in masks.ENCODINGS
    late: bool  # holds less than outlines: used for frames without these


class LabelSource(NamedTuple):
    """A Scalabel file of many frames, or a folder with a Scalabel or YOLO file per frame.

    `kinds`: the labels that every frame of it has ("boxes", "drivable", "lane"); empty = those
    that occur in it (a file without a single lane is not annotated with lanes).
    """

    path: Path
    suffix: str  # of the files in a folder; "" for a file
    kinds: frozenset[str] = frozenset()

    def files(self) -> list[Path]:
        """The label files, by name."""
        return files_in(self.path, self.suffix) if self.suffix else [self.path]


class Layout(NamedTuple):
    """Everything found for one split of a folder."""

    images: tuple[Path, ...]
    labels: tuple[LabelSource, ...]
    masks: tuple[MaskSource, ...]


# task, folder, suffix, encoding, late.
MASKS: Final = (
    ("drivable", "labels/drivable/masks/{split}", ".png", "drivable", False),
    ("drivable", "drivable_maps/labels/{split}", "_drivable_id.png", "drivable-2018", False),
    ("drivable", "da_seg_annotations/{split}", ".png", "drivable-panoptic", True),
    ("lane", "labels/lane/masks/{split}", ".png", "lane", False),
    ("lane", "ll_seg_annotations/{split}", ".png", "lane-panoptic", True),
    ("semantic", "labels/sem_seg/masks/{split}", ".png", "semantic", False),
    ("semantic", "seg/labels/{split}", "_train_id.png", "semantic", False),
)
# path, kinds.
LABELS: Final = (
    ("labels/det_20/det_{split}.json", ("boxes",)),
    ("labels/drivable/polygons/drivable_{split}.json", ("drivable",)),
    ("labels/lane/polygons/lane_{split}.json", ("lane",)),
    ("labels/bdd100k_labels_images_{split}.json", ()),
    ("labels/100k/{split}/*.json", ()),
    ("100k/{split}/*.json", ()),
    ("det_annotations/{split}/*.json", ("boxes",)),
    ("labels/{split}/*.txt", ("boxes",)),
    ("labels/yolo/{split}/*.txt", ("boxes",)),
    ("labels/100k/{split}/*.txt", ("boxes",)),
    ("{split}/labels/*.txt", ("boxes",)),
)


def find(root: Path, split: str, labels: Path | None = None) -> Layout:
    """The layout of one split; labels are searched for in `labels`, else in `root`.

    Raises NoFramesError where the folder holds no frames for it. Where one part is found in several
    folders, the first in order of depth and name is taken, and stderr says so.
    """
    for folder in (root, labels or root):
        if not folder.is_dir():
            raise UserError(
                f"{folder}: no such folder; give the folder that holds images/ and labels/"
            )
    bases = _bases(root)
    images = tuple(_image_folders(bases, split))
    if not images:
        others = ", ".join(other for other in SPLITS if any(_image_folders(bases, other)))
        if others:
            raise NoFramesError(f"{root}: no frames for split {split!r}; it has {others}")
        expected = ", ".join(pattern.format(split=split) for pattern in IMAGE_FOLDERS)
        raise NoFramesError(f"{root}: no frames found; expected one of {expected}")
    places = _bases(labels) if labels else bases
    masks = tuple(
        MaskSource(task, place, suffix, encoding, late)
        for task, pattern, suffix, encoding, late in MASKS
        if (place := _found(places, pattern, split, Path.is_dir))
    )
    return Layout(images, tuple(_label_sources(places, split)), masks)


def _bases(root: Path) -> list[Path]:
    """Folders that may hold a release: the root, its `bdd100k`, and up to DEEPEST levels below it
    those that have a folder of a known name. Mirrors nest, e.g. bdd100k/bdd100k/images/100k."""
    found = [root, root / "bdd100k"]
    level, seen = [root], {os.path.realpath(root)}
    for _ in range(DEEPEST):
        level = [
            Path(entry.path)
            for folder in level
            for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
            if entry.name not in KNOWN and entry.name[0] != "." and entry.is_dir()
        ]
        real = {os.path.realpath(folder): folder for folder in reversed(level)}
        level = [real[path] for path in reversed(real) if path not in seen]  # links may repeat
        seen |= real.keys()
        found += [folder for folder in level if any((folder / name).is_dir() for name in MARKERS)]
    return list(dict.fromkeys(found))


def _found(
    places: Sequence[Path], pattern: str, split: str, exists: Callable[[Path], bool]
) -> Path | None:
    """The first base's path of a pattern that exists, also with its suffix in capitals."""
    paths = dict.fromkeys(base / pattern.format(split=split) for base in places)
    capitals = (path.with_suffix(path.suffix.upper()) for path in paths)
    found = [path for path in paths if exists(path)] or [path for path in capitals if exists(path)]
    if len(found) > 1 and not pattern.startswith("{split}"):
        others = ", ".join(str(path) for path in found[1:])
        print(f"{found[0]}: used instead of {others}", file=sys.stderr, flush=True)
    return found[0] if found else None


def _image_folders(places: Sequence[Path], split: str) -> Iterator[Path]:
    """Folders of images; below the split's folder mirrors may have one more level."""
    for pattern in IMAGE_FOLDERS:
        if folder := _found(places, pattern, split, Path.is_dir):
            if _holds(folder):
                yield folder
            elif pattern != "{split}":
                yield from filter(_holds, sorted(folder.iterdir()))


def _holds(folder: Path, suffixes: str | tuple[str, ...] = IMAGE_SUFFIXES) -> bool:
    """Whether a folder exists and has a file with one of the suffixes."""
    return any(names_in(folder, suffixes))


def frames_of(root: Path, layout: Layout, builder: Builder) -> dict[str, str]:
    """{stem: path relative to the root} of each frame; one in two folders is of the first."""
    found: dict[str, str] = {}
    label_folders = {source.path for source in layout.labels}
    for folder in layout.images:
        prefix = os.path.relpath(folder, root)
        seen: dict[str, str] = {}
        for name in sorted(names_in(folder)):
            stem = stem_of(name)
            if not name.lower().endswith(IMAGE_SUFFIXES):
                if folder not in label_folders and (folder / name).is_file():
                    text = f"{folder / name}: is not an image; move it elsewhere"
                    builder.leave_out("stray file", text)
                continue
            if stem in seen:
                text = f"{folder / name}: has the same name as {seen[stem]}; rename or delete one"
                builder.leave_out("duplicate name", text)
            seen.setdefault(stem, name)
            found.setdefault(stem, f"{prefix}/{name}")
    return found


def image_stem(name: str) -> str:
    """`b1d0091f-75824d0d` of `b1d0091f-75824d0d.jpg`, and of a name without suffix."""
    name = name.rsplit("/", 1)[-1]
    return stem_of(name) if name.lower().endswith(IMAGE_SUFFIXES) else nfc(name)


def _label_sources(places: Sequence[Path], split: str) -> Iterator[LabelSource]:
    for pattern, kinds in LABELS:
        place, _, suffix = pattern.partition("/*")
        exists = partial(_holds, suffixes=suffix) if suffix else Path.is_file
        if path := _found(places, place, split, exists):
            yield LabelSource(path, suffix, frozenset(kinds))
    # A user's Scalabel export: {split}.json or any *{split}*.json that looks like frames.
    known = {base / pattern.format(split=split) for pattern, _ in LABELS for base in places}
    for folder in (*places, *(base / "labels" for base in places)):
        for path in files_in(folder, ".json"):
            # A file of exactly this name holds the labels: if it is damaged, that is an error.
            meant = path.stem == split
            new = path.with_suffix(".json") not in known and split in path.name
            if new and (meant or looks_like_frames(path)):
                yield LabelSource(path, "")
