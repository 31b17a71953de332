"""Pascal VOC XML with any classes: a file per image, next to it or in Annotations/.

Splits are the lists of `ImageSets/Main`, or folders called train, val and test.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree

from perception.errors import UserError
from perception.files import read_bounded
from training.data.annotated import Annotated
from training.data.builder import Builder
from training.data.files import (
    SPLITS,
    expecting,
    files_below,
    first_has,
    nfc,
    read_text,
    split_folder,
)
from training.data.images import Images
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
        return first_has(root, ".xml", "<annotation>")

    def read(self, builder: Builder, images: Images) -> None:
        listed = split_lists(self.label_root, "Main")
        whole_set = images.any_below("JPEGImages/")
        seen: set[str] = set()
        for inside in files_below(self.label_root, ".xml", distinct=True):
            path, folder = self.label_root / inside, inside.rpartition("/")[0]
            found = read_annotation(path)
            if found is None:
                continue
            stem, where, near = path.stem, str(path), "JPEGImages/" if whole_set else folder
            seen.add(nfc(stem))
            splits = listed.get(nfc(stem), [])
            with builder.part(*splits or [split_folder(inside)]):
                if found.wrong and images.find(stem, where, near) is None:
                    raise UserError(found.wrong)
                name = stem + os.path.splitext(found.filename)[1]
                image = images.find(name, where, near) or images.need(stem, where, near)
                for split in splits or [split_folder(image) or split_folder(inside)]:
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
    for word, split in SPLITS.items():
        path = root / "ImageSets" / folder / f"{word}.txt"
        for line in read_text(path, MAX_LIST).splitlines() if path.is_file() else ():
            # Lists of a class end in -1, 0 or 1: whether the image shows it.
            name = re.sub("(  | -)[01]$", "", line.partition("\t")[0].strip())
            if not name.isprintable() or name[:1] == "/" or ".." in name.split("/"):
                raise UserError(f"{path} names {name!r:.100}, which leaves its folder; fix it")
            if name:
                found[nfc(name)].append(split)
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
        with expecting(path, "XML of Pascal VOC"):
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
