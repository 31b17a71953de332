"""Pascal VOC: boxes, class masks and which classes an image shows.

`JPEGImages/`, `Annotations/`, `SegmentationClass/`, `ImageSets/` of VOC2007 or VOC2012
(http://host.robots.ox.ac.uk/pascal/VOC). Cite: Everingham et al., IJCV 2010.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final
from xml.etree import ElementTree

import numpy as np

from perception.classes import VOC_OBJECTS
from perception.errors import UserError
from perception.files import read_bounded
from perception.images import read_pixels
from training.data.classes import ClassLists
from training.data.dataset import Dataset
from training.data.files import expecting, read_text
from training.data.folder import FolderDataset, deeper
from training.data.formats.voc_xml import MAX_XML, PascalXML, objects
from training.data.labels import Boxes, Label, Labels, Mask
from training.data.masks import by_palette
from training.data.table import IGNORE_FLAG

BOXES: Final = "det_voc"
MASKS: Final = "semantic_voc"
CLASSES: Final = "classes_voc"
MAX_LIST: Final = 16 << 20
MOST_READ: Final = 200  # annotations that are read to recognise VOC
PLACES: Final = ("VOCdevkit/VOC2012", "VOC2012", "VOCdevkit/VOC2007", "VOC2007")


class VOC(FolderDataset):
    """Frames of ImageSets/Main, and of ImageSets/Segmentation where masks are wanted."""

    labels = (BOXES, MASKS, CLASSES)
    places: ClassVar = {
        BOXES: "Annotations/{stem}.xml",
        MASKS: "SegmentationClass/{stem}.png",
        CLASSES: "Annotations/{stem}.xml",
    }

    @classmethod
    def place(cls, root: Path) -> Path:
        return deeper(root, *PLACES)

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return (cls.place(root) / "JPEGImages").is_dir() or PascalXML.recognises(root)

    @classmethod
    def reader(cls, root: Path, labels: Path | None, classes: ClassLists | None) -> type[Dataset]:
        """This class for VOC itself, else the reader of its format with other classes."""
        own = labels is not None or not _is_voc(cls.place(Path(root)))
        return PascalXML if own or (classes is not None and classes.is_own("det")) else cls

    def find(self) -> Sequence[Path]:
        lists = ("Main", "Segmentation") if MASKS in self.tasks else ("Main",)
        if self.tasks == (MASKS,):
            lists = ("Segmentation",)
        names: set[str] = set()
        for folder in lists:
            path = self.root / "ImageSets" / folder / f"{self.split}.txt"
            if path.is_file():
                names |= set(read_text(path, MAX_LIST).split())
        for name in sorted(names):
            if not name.isprintable() or name[0] == "/" or ".." in name.split("/"):
                raise UserError(
                    f"{self.root}: {self.split}.txt names {name!r:.100}, which leaves its folder; "
                    "fix it"
                )
        return [self.root / "JPEGImages" / f"{name}.jpg" for name in sorted(names)]

    def expected(self) -> str:
        return f"expected JPEGImages/ and ImageSets/Main/{self.split}.txt"

    def unused(self) -> list[tuple[str, str]]:
        # Labels of all splits lie together.
        return [item for item in super().unused() if item[0] != "label without frame"]

    def label(self, task: str, path: Path, size_hw: tuple[int, int]) -> Label:
        if task == MASKS:
            return Mask(read_class_mask(path, size_hw))
        boxes = read_objects(path, size_hw)
        return boxes if task == BOXES else shown(boxes)


def read_objects(path: Path, size_hw: tuple[int, int]) -> Boxes:
    """The boxes of an annotation; `difficult` ones are ignored."""
    with expecting(path, "a VOC annotation"):
        found = list(objects(ElementTree.fromstring(read_bounded(path, MAX_XML))))
        xyxy = np.array([box for _, _, box in found], np.float32).reshape(-1, 4)
        classes = np.array([VOC_OBJECTS.index(name) for name, _, _ in found])
        if not (np.abs(xyxy) <= 2 * max(size_hw)).all():
            raise ValueError("a box is outside the frame")
    ignore = np.array([flags & IGNORE_FLAG > 0 for _, flags, _ in found], bool)
    return Boxes(xyxy, classes, size_hw, ignore=ignore)


def shown(boxes: Boxes) -> Labels:
    """Per class: 0 absent, 1 present, 2 only as difficult objects."""
    labels = np.zeros(len(VOC_OBJECTS), np.int64)
    labels[boxes.classes[boxes.ignore]] = 2
    labels[boxes.classes[~boxes.ignore]] = 1
    return Labels(labels)


def read_class_mask(path: Path, size_hw: tuple[int, int]) -> np.ndarray:
    """Class numbers of a palette PNG, which OpenCV decodes to colours: they are mapped back."""
    pixels = read_pixels(path, size_hw)
    numbers = np.arange(len(VOC_OBJECTS) + 1, dtype=np.uint8)[:, None]
    with expecting(path, "class numbers or colours"):
        return by_palette(pixels, numbers if pixels.ndim == 2 else palette())


def palette() -> np.ndarray:
    """(21, 3) BGR: bit 3 * i + c of the class number is bit 7 - i of channel c."""
    bits = np.arange(len(VOC_OBJECTS) + 1)[:, None, None] >> np.arange(24).reshape(8, 3) & 1
    rgb = (bits << np.arange(7, -1, -1)[:, None]).sum(1)
    return rgb[:, ::-1].astype(np.uint8)


def _is_voc(root: Path) -> bool:
    """Whether the layout is VOC's and the first annotations name only its 20 classes."""
    if not (root / "JPEGImages").is_dir() or not (root / "ImageSets").is_dir():
        return not PascalXML.recognises(root)
    named: set[str] = set()
    for path in sorted((root / "Annotations").glob("*.xml"))[:MOST_READ]:
        text = read_bounded(path, MAX_XML).decode(errors="replace")
        named |= set(re.findall(r"<object>\s*<name>([^<]*)</name>", text))
    return named <= set(VOC_OBJECTS)
