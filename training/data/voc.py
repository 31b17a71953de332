"""Pascal VOC: boxes, class masks and which classes an image shows.

`JPEGImages/`, `Annotations/`, `SegmentationClass/`, `ImageSets/` of VOC2007 or VOC2012
(http://host.robots.ox.ac.uk/pascal/VOC). Cite: Everingham et al., IJCV 2010.
"""

import re
from pathlib import Path
from typing import Final

import numpy as np

from perception.classes import VOC_OBJECTS
from perception.errors import UserError
from perception.files import read_bounded
from perception.images import read_pixels
from training.data.builder import Builder
from training.data.classes import ONLY, ClassLists
from training.data.dataset import Dataset
from training.data.files import expecting, files_below, nfc
from training.data.formats.voc_xml import DEVKITS, MAX_XML, PascalXML, split_lists
from training.data.images import Images
from training.data.labels import Boxes, Label, Labels, Mask
from training.data.masks import by_palette
from training.data.pairs import deeper

BOXES: Final = "det_voc"
MASKS: Final = "semantic_voc"
CLASSES: Final = "classes_voc"
MOST_READ: Final = 200  # annotations that are read to recognise VOC


class VOC(PascalXML):
    """Boxes of the frames in ImageSets/Main, masks of those in ImageSets/Segmentation."""

    labels = (BOXES, MASKS, CLASSES)

    @classmethod
    def place(cls, root: Path) -> Path:
        return deeper(root, *DEVKITS)

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return (cls.place(root) / "JPEGImages").is_dir() or PascalXML.recognises(root)

    @classmethod
    def reader(cls, root: Path, labels: Path | None, classes: ClassLists | None) -> type[Dataset]:
        """This class for VOC itself, else the reader of its format with other classes."""
        own = labels is not None or not _is_voc(cls.place(Path(root)))
        return PascalXML if own or (classes is not None and classes.is_own("det")) else cls

    def expected(self) -> str:
        return f"JPEGImages/, Annotations/ and ImageSets/Main/{self.split}.txt"

    def own_lists(self) -> ClassLists:
        return ClassLists({BOXES: {ONLY: VOC_OBJECTS}})

    def read(self, builder: Builder, images: Images) -> None:
        for name in VOC_OBJECTS:  # all are annotated, also those that a part of VOC does not show
            builder.name(name)
        super().read(builder, images)
        for name, first in builder.first.items():
            if name not in VOC_OBJECTS:
                raise UserError(f"{first}: {name!r:.60} is no class of VOC; pass --classes")
        code, listed = builder.encoding(""), split_lists(self.root, "Segmentation")
        for inside in files_below(self.root / "SegmentationClass", ".png"):
            path = f"SegmentationClass/{inside}"
            splits = listed.get(nfc(Path(path).stem), [])
            if not splits:
                text = f"{self.root / path}: in no list of ImageSets/Segmentation"
                builder.leave_out("label without frame", text)
                continue
            image = images.need(Path(path).stem, str(self.root / path), "JPEGImages/")
            for split in splits:
                builder.mask(builder.frame(image, split), MASKS, path, code)

    def unlisted(self, builder: Builder, images: Images) -> None:
        """An archive holds more images than the lists name."""

    def labelled(self, task: str) -> np.ndarray:
        return super().labelled(BOXES if task == CLASSES else task)

    def label(self, task: str, frame: int, size_hw: tuple[int, int]) -> Label:
        if task == CLASSES:
            return shown(self._labels.boxes(BOXES, frame, size_hw))
        if (file := self.table.mask(frame, task)) is None:
            return super().label(task, frame, size_hw)
        return Mask(read_class_mask(self.root / file[0], size_hw))


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
