"""COCO detection: its own 80 classes, and those of them that BDD100K knows as `det`.

`{train,val}2017/` and `annotations/instances_{train,val}2017.json` (https://cocodataset.org).
Cite: Lin et al., ECCV 2014.
"""

import json
import math
import mmap
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from perception.classes import COCO as CLASSES
from perception.classes import DETECTION
from perception.errors import UserError
from perception.images import read_image
from training.data import stream
from training.data.classes import ClassLists
from training.data.dataset import Dataset
from training.data.folder import FolderDataset, is_inside
from training.data.formats.coco_json import CocoJSON
from training.data.labels import Boxes, Label
from training.data.sample import Sample

# COCO annotates riders as persons, and of the traffic signs only stop signs, so as `det` it has too
# many pedestrians and too few traffic signs.
AS_BDD100K: Final = {
    "person": "pedestrian",
    "car": "car",
    "truck": "truck",
    "bus": "bus",
    "train": "train",
    "motorcycle": "motorcycle",
    "bicycle": "bicycle",
    "traffic light": "traffic light",
    "stop sign": "traffic sign",
}
MAX_CATEGORIES: Final = 4 << 20  # characters of the list of categories
REACH: Final = 100_000  # pixels; no frame is larger


class COCO(FolderDataset):
    """All images of a split, also those without objects; crowds are ignore regions."""

    labels = ("det_coco", "det")

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return CocoJSON.recognises(root)

    @classmethod
    def reader(cls, root: Path, labels: Path | None, classes: ClassLists | None) -> type[Dataset]:
        """This class for COCO itself, else the reader of its format with other categories."""
        own = labels is not None or not _is_coco(Path(root))
        return CocoJSON if own or (classes is not None and classes.is_own("det")) else cls

    def find(self) -> Sequence[tuple[str, tuple[int, int], int, int]]:
        found = sorted((self.root / "annotations").glob(f"instances_{self.split}*.json"))
        if not found:
            return []
        frames, self.xyxy, self.category, self.crowd = read_instances(found[0])
        name = found[0].stem.removeprefix("instances_")
        places = (self.root / name, self.root / "images" / name, self.root / "images")
        self.images = next((place for place in places if place.is_dir()), self.root / name)
        return frames

    def expected(self) -> str:
        return f"expected annotations/instances_{self.split}2017.json and {self.split}2017/"

    def read(self, frame: tuple[str, tuple[int, int], int, int]) -> Sample:
        name, size_hw, start, stop = frame
        image, native_hw = read_image(self.images / name, self.decode_size_hw)
        if native_hw != size_hw:
            raise UserError(f"{self.images / name}: its size is not the annotated {size_hw}")
        labels: dict[str, Label] = {}
        for task in self.tasks:
            table = _own() if task == self.labels[0] else _as_bdd100k()
            classes = table[self.category[start:stop]]
            keep = classes >= 0
            labels[task] = Boxes(
                self.xyxy[start:stop][keep],
                classes[keep],
                size_hw,
                ignore=self.crowd[start:stop][keep],
            )
        return Sample(image, labels, Path(name).stem)


def read_instances(
    path: Path,
) -> tuple[list[tuple[str, tuple[int, int], int, int]], np.ndarray, np.ndarray, np.ndarray]:
    """(frames as (file, size_hw, first row, last row + 1), boxes xyxy, classes 0..79, crowds)."""
    images: dict[int, tuple[str, tuple[int, int]]] = {}
    numbers: dict[int, int] = {}
    found = array("d")
    try:
        for key, item in stream.members(path):
            if key == "images":
                images[int(item["id"])] = _image(item)
            elif key == "categories" and item["name"] in CLASSES:
                numbers[int(item["id"])] = CLASSES.index(item["name"])
            elif key == "annotations":
                x, y, width, height = item["bbox"]
                if width >= 1 and height >= 1:
                    found.extend((x, y, x + width, y + height))
                    found.extend((item["image_id"], item["category_id"], item["iscrowd"]))
        table = np.frombuffer(found, np.float64).reshape(-1, 7)
        if not (np.abs(table[:, :4]) < REACH).all():
            raise ValueError("a box is not finite")
        known = np.array([code in numbers for code in table[:, 5].tolist()], bool)
        table = table[known] if len(table) else table
        if set(table[:, 4].tolist()) - images.keys():
            raise ValueError("a box belongs to no image")
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        why = f"{error!r:.200}"
        raise UserError(f"{path}: not a COCO instances file ({why}); restore it") from None
    if not numbers:
        raise UserError(f"{path}: none of its categories is one of COCO's 80")
    table = table[np.argsort(table[:, 4], kind="stable")]
    order = sorted(images)
    bounds = np.searchsorted(table[:, 4], [*order, math.inf]).tolist()
    frames = [
        (*images[number], start, stop)
        for number, start, stop in zip(order, bounds[:-1], bounds[1:], strict=True)
    ]
    classes = np.array([numbers[int(code)] for code in table[:, 5].tolist()], np.int64)
    return frames, table[:, :4].astype(np.float32), classes, table[:, 6] > 0


def _image(item: Any) -> tuple[str, tuple[int, int]]:
    """(file, size_hw). Raises ValueError for a file outside the folder of the images."""
    name = str(item["file_name"])
    if not is_inside(name):
        raise ValueError(f"file_name {name!r:.100} leaves its folder")
    return name, (int(item["height"]), int(item["width"]))


def _own() -> np.ndarray:
    return np.arange(len(CLASSES))


def _as_bdd100k() -> np.ndarray:
    """(80,) BDD100K classes, -1 where it has none."""
    return np.array(
        [DETECTION.index(AS_BDD100K[name]) if name in AS_BDD100K else -1 for name in CLASSES]
    )


def _is_coco(root: Path) -> bool:
    """Whether the categories are COCO's own: all 80, or some of them in COCO's own layout."""
    path = next(iter(sorted((root / "annotations").glob("instances_*.json"))), None)
    if path is None:
        return not CocoJSON.recognises(root)  # a wrong folder: COCO's error says what it expects
    names = category_names(path)
    layout = any((root / f"{split}2017").is_dir() for split in ("train", "val"))
    return names is None or (names <= set(CLASSES) and (layout or len(names) == len(CLASSES)))


def category_names(path: Path) -> set[str] | None:
    """The names of a file's categories, found without reading the rest; None: unreadable."""
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
        return {str(entry["name"]) for entry in entries}
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
