"""COCO JSON with any categories: boxes, and segmentation polygons as areas; and COCO itself.

Found as `annotations/*{split}*.json`, `{split}/_annotations.coco.json`, or one JSON file for all
frames (`annotations.json`, `instances_default.json`). Images lie anywhere below the folder.

COCO itself: `{train,val}2017/` and `annotations/instances_{train,val}2017.json`
(https://cocodataset.org), for its own 80 classes, and those of them that BDD100K knows as `det`.
Cite: Lin et al., ECCV 2014.
"""

import json
import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Final

from perception.classes import COCO as CLASSES
from perception.classes import DETECTION
from perception.errors import NoFramesError, UserError
from training.data import stream
from training.data.annotated import Annotated
from training.data.builder import Builder, place
from training.data.classes import ONLY, ClassLists, Groups
from training.data.dataset import Dataset
from training.data.files import expecting, files_in, head_of, split_word
from training.data.formats.run_lengths import add_mask
from training.data.images import Images
from training.data.table import AREA, IGNORE_FLAG

FOLDERS: Final = ("annotations", ".", "labels", "train", "val", "valid", "test")
MOST: Final = 50  # JSON files per folder that are looked at
MAX_CATEGORIES: Final = 4 << 20  # characters of the list of categories


class CocoJSON(Annotated):
    """Boxes and areas; crowds are ignored regions."""

    format = "COCO JSON"
    shapes: ClassVar[bool] = True  # read areas too

    @classmethod
    def sources(cls, root: Path) -> list[Path]:
        if root.is_file():
            return [root]
        return [path for path in json_files(root, FOLDERS) if looks_like_coco(path)]

    def read(self, builder: Builder, images: Images) -> None:
        files = self.label_files()
        for path in files:
            split = split_of(path, len(files))
            with builder.part(split), expecting(path, "a COCO file"):
                _read(path, builder, images, split, self.shapes)


def json_files(root: Path, folders: Iterable[str]) -> list[Path]:
    """The JSON files directly in some folders, by name; at most MOST of each."""
    paths = (path for folder in folders for path in files_in(root / folder, ".json")[:MOST])
    return [path for path in dict.fromkeys(paths) if path.is_file()]


def looks_like_coco(path: Path) -> bool:
    """Whether a JSON file begins like one of COCO's, or is empty: then reading it says so."""
    head = head_of(path)
    # An `info` or `licenses` section may come first and be long.
    keys = ('"images"', '"annotations"', '"categories"', '"licenses"', '"info"')
    return not head or (head.startswith("{") and any(key in head for key in keys))


def split_of(path: Path, files: int) -> str:
    """The split that a file's name or folder says; "" for one file of all frames."""
    found = split_word(path.stem) or split_word(path.parent.name)
    return found or ("" if files == 1 else "train")


def categories(path: Path) -> dict[Any, str] | None:
    """{id: name} of a file's categories, found without reading the rest; None: unreadable."""
    with open(path, "rb") as file:
        try:
            text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # empty
            return None
        with text:
            start = text.rfind(b'"categories"')
            part = text[start : start + MAX_CATEGORIES].decode(errors="replace")
    try:
        entries, _ = json.JSONDecoder().raw_decode(part, part.index("["))
        return {entry["id"]: str(entry["name"]).strip() for entry in entries}
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _read(path: Path, builder: Builder, images: Images, split: str, shapes: bool) -> None:
    frames: dict[int, int] = {}
    missing: dict[int, str] = {}
    # They often come last: without them, all annotations would have to wait in memory.
    names = categories(path) or {}
    waiting: list[Any] = []
    near = path.parent.name if split_word(path.parent.name) else split
    where = f"{path} annotation"

    def add(item: Any) -> None:
        frame = frames.get(item["image_id"])
        if frame is None:
            if item["image_id"] not in missing:
                raise ValueError(f"annotation {item.get('id')} belongs to no image")
            return
        if item["category_id"] not in names:
            raise UserError(
                f"{where} {item.get('id', '?')}: no category has the id {item['category_id']}; "
                "fix it"
            )
        _annotate(builder, frame, names[item["category_id"]], item, where, shapes)

    for key, item in stream.members(path):
        if key == "images":
            name = str(item["file_name"])
            found = images.find(name, str(path), _near(images, near))
            if found is None:
                missing[item["id"]] = name
                continue
            size_hw = (int(item.get("height") or 0), int(item.get("width") or 0))
            frames[item["id"]] = builder.frame(found, split, size_hw)
            builder.annotated(frames[item["id"]], "boxes")
        elif key == "categories":
            name = str(item["name"]).strip()
            if not name:
                raise UserError(f"{path}: category {item['id']} has no name; write one there")
            names[item["id"]] = name
            builder.name(name)
        elif key == "annotations":
            # Sections come in any order.
            (waiting.append(item) if not (frames and names) else add(item))
    for item in waiting:
        add(item)
    if missing:
        text = (
            f"{path}: {next(iter(missing.values())):.100} ({len(missing)} of "
            f"{len(missing) + len(frames)} images) is not below {images.root}; add it or "
            "remove its entry"
        )
        if not frames:
            raise UserError(text)
        builder.problem(next(iter(frames.values())), text)


def _near(images: Images, split: str) -> str:
    """The folder of a split's images, where there is one."""
    for folder in (f"{split}/", f"images/{split}/", f"images/{split}2017/", f"{split}2017/"):
        if split and images.any_below(folder):
            return folder
    return ""


def _annotate(builder: Builder, frame: int, name: str, item: Any, where: str, shapes: bool) -> None:
    part = item.get("id", "?")
    if item.get("bbox"):
        x, y, width, height = item["bbox"]
        flags = IGNORE_FLAG if item.get("iscrowd") else 0
        if width > 0 and height > 0:
            builder.box(frame, name, (x, y, x + width, y + height), where, flags, part)
        else:
            text = f"{place(where, part)}: a box of {width:g}x{height:g} is not read; fix it"
            builder.leave_out("shape", text)
    segments = item.get("segmentation") if shapes else None
    if isinstance(segments, dict):
        height, width = segments["size"]
        if builder.size_hw(frame) not in ((0, 0), (height, width)):
            text = f"a mask of {width}x{height}, not of its image's size; export it again"
            builder.problem(frame, f"{place(where, part)}: {text}")
        else:
            runs = segments["counts"]
            add_mask(builder, frame, name, place(where, part), runs, (height, width), "F")
    for flat in segments if isinstance(segments, list) else ():
        points = list(zip(flat[0::2], flat[1::2], strict=True))
        builder.shape(frame, name, points, place(where, part), AREA)


# COCO annotates riders as persons, and of the traffic signs only stop signs, so as `det` it has too
# many pedestrians and too few traffic signs.
AS_BDD100K: Final = {"person": "pedestrian", "stop sign": "traffic sign"}


class COCO(CocoJSON):
    """All images of a split, also those without objects; crowds are ignore regions."""

    labels = ("det_coco", "det")
    shapes = False
    every_image = False  # those of the other splits are in other files

    @classmethod
    def reader(cls, root: Path, labels: Path | None, classes: ClassLists | None) -> type[Dataset]:
        """This class for COCO itself, else the reader of its format with other categories."""
        own = labels is not None or not _is_coco(Path(root))
        return CocoJSON if own or (classes is not None and classes.is_own("det")) else cls

    def identity(self) -> str:
        return f"{super().identity()} {self.split}"

    def label_files(self) -> list[Path]:
        found = sorted((self.root / "annotations").glob(f"instances_{self.split}*.json"))
        if not found:
            raise NoFramesError(
                f"{self.root}: no frames for split {self.split!r}; expected "
                f"annotations/instances_{self.split}2017.json and {self.split}2017/"
            )
        return found[:1]

    def own_lists(self) -> ClassLists:
        groups: dict[str, Groups] = {"det_coco": {ONLY: CLASSES}, "det": {ONLY: DETECTION}}
        return ClassLists(groups, {"det": AS_BDD100K})


def _is_coco(root: Path) -> bool:
    """Whether the categories are COCO's own: all 80, or some of them in COCO's own layout."""
    path = next(iter(sorted((root / "annotations").glob("instances_*.json"))), None)
    if path is None:
        return not CocoJSON.recognises(root)  # a wrong folder: COCO's error says what it expects
    listed = categories(path)
    if listed is None:
        return True
    names = set(listed.values())
    layout = any((root / f"{split}2017").is_dir() for split in ("train", "val"))
    return names <= set(CLASSES) and (layout or len(names) == len(CLASSES))
