"""Pascal VOC XML with any classes: a file per image, next to it or in Annotations/.

Splits are the lists of `ImageSets/Main`, or folders called train, val and test.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree

from perception.errors import UserError
from perception.files import read_bounded
from training.data.annotated import Annotated
from training.data.builder import Builder
from training.data.files import (
    SPLITS,
    distinct_below,
    files_below,
    head_of,
    nfc,
    read_text,
    split_folder,
)
from training.data.images import Images
from training.data.table import IGNORE_FLAG, OCCLUDED_FLAG, TRUNCATED_FLAG

MAX_XML: Final = 1 << 20
FLAGS: Final = {
    "difficult": IGNORE_FLAG,
    "occluded": OCCLUDED_FLAG,
    "truncated": TRUNCATED_FLAG,
}
SIDES: Final = ("xmin", "ymin", "xmax", "ymax")
OBJECT: Final = re.compile(
    r"<object>\s*<name>([^<]*)</name>(.*?)<bndbox>\s*"
    + r"\s*".join(f"<{side}>([^<]*)</{side}>" for side in SIDES)
    + r"\s*</bndbox>(.*?)</object>",
    re.DOTALL,
)
# With one of these a file is not in the plain layout.
ODD: Final = ("<!", "<part", "&", "\ufffd")


class PascalXML(Annotated):
    """Boxes; `difficult` ones are ignored regions."""

    format = "Pascal VOC XML"

    @classmethod
    def recognises(cls, root: Path) -> bool:
        path = next(files_below(root, ".xml"), None)
        return path is not None and "<annotation>" in head_of(root / path, 512)

    def read(self, builder: Builder, images: Images) -> None:
        splits = _lists(self.label_root)
        for inside in distinct_below(self.label_root, ".xml"):
            path, folder = self.label_root / inside, inside.rpartition("/")[0]
            data = read_bounded(path, MAX_XML)
            try:
                found = _plain(data) or _parsed(data)
            except ElementTree.ParseError as error:
                raise UserError(f"{path}: not XML ({error}); restore it") from None
            if found is None:
                continue
            stem, where = path.stem, str(path)
            name = stem + os.path.splitext(found.filename)[1]
            image = images.find(stem if "." not in name else name, where, folder)
            image = image or images.find(stem, where, folder)
            if image is None:
                raise UserError(f"{path}: no image {name!r:.100} below {images.root}; add it")
            split = splits.get(nfc(stem)) or split_folder(image) or split_folder(inside)
            _annotate(builder, found, image, split, where)


def _lists(root: Path) -> dict[str, str]:
    """{name: split} of ImageSets/Main."""
    found: dict[str, str] = {}
    for name, split in SPLITS.items():
        path = root / "ImageSets/Main" / f"{name}.txt"
        if path.is_file():
            lines = read_text(path, 64 << 20).splitlines()
            found |= {nfc(line.split()[0]): split for line in lines if line.strip()}
    return found


class Annotation(NamedTuple):
    """A file as texts: objects are (name, flags, sides)."""

    filename: str
    width: str
    height: str
    objects: Sequence[tuple[str, int, Sequence[str]]]


def _plain(data: bytes) -> Annotation | None:
    """A file in the layout in which VOC and LabelImg write, read by searching its text, four times
    as fast as by a parser; None for any other."""
    text = data.decode(errors="replace").strip()
    whole = text.startswith("<annotation>") and text.endswith("</annotation>")
    if not whole or any(odd in text for odd in ODD):
        return None
    found = OBJECT.findall(text)
    head = text.partition("<object>")[0]
    values = [
        re.findall(f"<{tag}>([^<]*)</{tag}>", head) for tag in ("filename", "width", "height")
    ]
    if len(found) != text.count("<object") or any(len(value) != 1 for value in values):
        return None
    objects = []
    for name, between, *sides, after in found:
        rest = between + after
        flags = 0
        if ">1<" in rest:
            flags = sum(flag for tag, flag in FLAGS.items() if f"<{tag}>1<" in rest)
        objects.append((name.strip(), flags, sides))
    filename, width, height = (value[0] for value in values)
    return Annotation(filename, width, height, objects)


def _parsed(data: bytes) -> Annotation | None:
    """Any VOC file; None for other XML. Raises ParseError."""
    root = ElementTree.fromstring(data)
    if root.tag != "annotation":
        return None
    objects = [
        (
            (item.findtext("name") or "").strip(),
            sum(flag for tag, flag in FLAGS.items() if item.findtext(tag) == "1"),
            [item.findtext(f"bndbox/{side}") or "nan" for side in SIDES],
        )
        for item in root.findall("object")
    ]
    width, height = (root.findtext(f"size/{side}") or "0" for side in ("width", "height"))
    return Annotation(root.findtext("filename") or "", width, height, objects)


def _annotate(builder: Builder, found: Annotation, image: str, split: str, where: str) -> None:
    try:
        size_hw = (int(float(found.height)), int(float(found.width)))
        frame = builder.frame(image, split, size_hw, where)
        builder.annotated(frame, boxes=True)
        where = f"{where} object"
        for number, (name, flags, sides) in enumerate(found.objects, 1):
            x1, y1, x2, y2 = map(float, sides)
            # VOC counts pixels from 1: the first column of a box is xmin - 1.
            builder.box(frame, name, (x1 - 1, y1 - 1, x2, y2), where, flags, number)
    except ValueError as error:
        path = where.removesuffix(" object")
        raise UserError(f"{path}: not a VOC annotation ({error!s:.100}); restore it") from None
