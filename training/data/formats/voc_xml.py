"""Pascal VOC XML with any classes: a file per image, next to it or in Annotations/.

Splits are the lists of `ImageSets/Main`, or folders called train, val and test.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

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
FLAGS: Final = {
    "difficult": IGNORE_FLAG,
    "occluded": OCCLUDED_FLAG,
    "truncated": TRUNCATED_FLAG,
}
SIDES: Final = ("xmin", "ymin", "xmax", "ymax")


class PascalXML(Annotated):
    """Boxes; `difficult` ones are ignored regions."""

    format = "Pascal VOC XML"

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return first_has(root, ".xml", "<annotation>")

    def read(self, builder: Builder, images: Images) -> None:
        splits = _lists(self.label_root)
        for inside in files_below(self.label_root, ".xml", distinct=True):
            path, folder = self.label_root / inside, inside.rpartition("/")[0]
            with expecting(path, "XML"):
                root = ElementTree.fromstring(read_bounded(path, MAX_XML))
            if root.tag != "annotation":
                continue
            stem, where = path.stem, str(path)
            name = stem + os.path.splitext(root.findtext("filename") or "")[1]
            image = images.find(name, where, folder) or images.need(stem, where, folder)
            split = splits.get(nfc(stem)) or split_folder(image) or split_folder(inside)
            with expecting(path, "a VOC annotation"):
                sides = (root.findtext(f"size/{side}") or "0" for side in ("height", "width"))
                height, width = (int(float(side)) for side in sides)
                frame = builder.frame(image, split, (height, width), where)
                builder.annotated(frame, "boxes")
                for number, (kind, flags, xyxy) in enumerate(objects(root), 1):
                    builder.box(frame, kind, xyxy, f"{where} object", flags, number)


def _lists(root: Path) -> dict[str, str]:
    """{name: split} of ImageSets/Main."""
    found: dict[str, str] = {}
    for name, split in SPLITS.items():
        path = root / "ImageSets/Main" / f"{name}.txt"
        if path.is_file():
            lines = read_text(path, 64 << 20).splitlines()
            found |= {nfc(line.split()[0]): split for line in lines if line.strip()}
    return found


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
