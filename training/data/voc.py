"""Pascal VOC XML with any classes: a file per image, next to it or in Annotations/; and VOC itself.

Splits are the lists of `ImageSets/Main`, or folders called train, val and test.

VOC itself: boxes, class masks and which classes an image shows, from `JPEGImages/`, `Annotations/`,
`SegmentationClass/`, `ImageSets/` of VOC2007 or VOC2012 (http://host.robots.ox.ac.uk/pascal/VOC).
Cite: Everingham et al., IJCV 2010.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree

import numpy as np

from perception.classes import VOC_OBJECTS
from perception.errors import UserError
from perception.files import read_bounded
from perception.images import read_pixels
from training.data import files
from training.data.annotated import Annotated
from training.data.builder import Builder
from training.data.classes import ONLY, ClassLists
from training.data.dataset import Dataset
from training.data.images import Images
from training.data.labels import Boxes, Label, Labels, Mask
from training.data.masks import by_palette
from training.data.pairs import deeper
from training.data.table import IGNORE_FLAG, OCCLUDED_FLAG, TRUNCATED_FLAG

MAX_XML: Final = 1 << 20
MAX_LIST: Final = 64 << 20
FLAGS: Final = {
    "difficult": IGNORE_FLAG,
    "occluded": OCCLUDED_FLAG,
    "truncated": TRUNCATED_FLAG,
}
# Where a devkit's archive unpacks to.
DEVKITS: Final = ("VOCdevkit/VOC2012", "VOC2012", "VOCdevkit/VOC2007", "VOC2007")
SIDES: Final = ("xmin", "ymin", "xmax", "ymax")


class PascalXML(Annotated):
    """Boxes; `difficult` ones are ignored regions."""

    format = "Pascal VOC XML"

    @classmethod
    def place(cls, root: Path) -> Path:
        """The devkit in the folder, if there is exactly one."""
        devkits = [root / name for name in DEVKITS if (root / name / "JPEGImages").is_dir()]
        return devkits[0] if len(devkits) == 1 else root

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return files.first_has(root, ".xml", "<annotation>")

    def read(self, builder: Builder, images: Images) -> None:
        listed = split_lists(self.label_root, "Main")
        whole_set = images.any_below("JPEGImages/")
        seen: set[str] = set()
        for inside in files.files_below(self.label_root, ".xml", distinct=True):
            path, folder = self.label_root / inside, inside.rpartition("/")[0]
            found = read_annotation(path)
            if found is None:
                continue
            stem, where, near = path.stem, str(path), "JPEGImages/" if whole_set else folder
            seen.add(files.nfc(stem))
            splits = listed.get(files.nfc(stem), [])
            with builder.part(*splits or [files.split_folder(inside)]):
                if found.wrong and images.find(stem, where, near) is None:
                    raise UserError(found.wrong)
                name = stem + os.path.splitext(found.filename)[1]
                image = images.find(name, where, near) or images.need(stem, where, near)
                for split in splits or [files.split_folder(image) or files.split_folder(inside)]:
                    frame = builder.frame(image, split, found.size_hw, where)
                    _annotate(builder, frame, found, where)
        for name in (name for name in listed if name not in seen and listed[name] != ["test"]):
            text = f"{self.label_root}: ImageSets/Main names {name:.100}, which has no annotation"
            builder.leave_out("list line without image", text)


def _annotate(builder: Builder, frame: int, found: "Annotation", where: str) -> None:
    builder.annotated(frame, "boxes")
    if found.wrong:
        builder.problem(frame, found.wrong)
    for number, (kind, flags, xyxy) in enumerate(found.objects, 1):
        builder.box(frame, kind, xyxy, f"{where} object", flags, number)


def split_lists(root: Path, folder: str) -> dict[str, list[str]]:
    """{name: its splits} of the lists in a folder of ImageSets. Raises UserError for a name that
    leaves its folder."""
    found: dict[str, list[str]] = defaultdict(list)
    for word, split in files.SPLITS.items():
        path = root / "ImageSets" / folder / f"{word}.txt"
        for line in files.read_text(path, MAX_LIST).splitlines() if path.is_file() else ():
            # Lists of a class end in -1, 0 or 1: whether the image shows it.
            name = re.sub("(  | -)[01]$", "", line.partition("\t")[0].strip())
            if not name.isprintable() or name[:1] == "/" or ".." in name.split("/"):
                raise UserError(f"{path} names {name!r:.100}, which leaves its folder; fix it")
            if name:
                found[files.nfc(name)].append(split)
    return found


class Annotation(NamedTuple):
    """What an XML file says of an image."""

    filename: str = ""
    size_hw: tuple[int, int] = (0, 0)
    objects: Sequence[tuple[str, int, list[float]]] = ()  # name, flags, xyxy
    wrong: str = ""  # why it cannot be read


def read_annotation(path: Path) -> Annotation | None:
    """None for XML of another kind."""
    try:
        with files.expecting(path, "XML of Pascal VOC"):
            root = ElementTree.fromstring(read_bounded(path, MAX_XML))
            if root.tag != "annotation":
                return None
            sides = (root.findtext(f"size/{side}") or "0" for side in ("height", "width"))
            height, width = (int(float(side)) for side in sides)
            return Annotation(root.findtext("filename") or "", (height, width), [*objects(root)])
    except UserError as error:
        return Annotation(wrong=str(error))


def objects(root: ElementTree.Element) -> Iterator[tuple[str, int, list[float]]]:
    """(name, flags, xyxy) of the boxes of an annotation. Raises ValueError."""
    for item in root.iterfind("object"):
        # Three times as fast as a search for each of these texts.
        texts = {child.tag: child.text or "" for child in item}
        sides = {side.tag: side.text for child in item if child.tag == "bndbox" for side in child}
        flags = sum(bit for tag, bit in FLAGS.items() if texts.get(tag, "").strip() == "1")
        # VOC counts pixels from 1: the first column of a box is xmin - 1.
        x1, y1, x2, y2 = (float(sides.get(side) or "nan") for side in SIDES)
        yield texts.get("name", "").strip(), flags, [x1 - 1, y1 - 1, x2, y2]


BOXES: Final = "det_voc"
MASKS: Final = "semantic_voc"
CLASSES: Final = "classes_voc"
MOST_READ: Final = 200  # annotations that are read to recognise VOC


class VOC(PascalXML):
    """Boxes of the frames in ImageSets/Main, masks of those in ImageSets/Segmentation."""

    labels = (BOXES, MASKS, CLASSES)
    every_image = False  # an archive holds more images than the lists name

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
        for inside in files.files_below(self.root / "SegmentationClass", ".png"):
            path = f"SegmentationClass/{inside}"
            splits = listed.get(files.nfc(Path(path).stem), [])
            if not splits:
                text = f"{self.root / path}: in no list of ImageSets/Segmentation"
                builder.leave_out("label without frame", text)
                continue
            image = images.need(Path(path).stem, str(self.root / path), "JPEGImages/")
            for split in splits:
                builder.mask(builder.frame(image, split), MASKS, path, code)

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
    with files.expecting(path, "class numbers or colours"):
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
