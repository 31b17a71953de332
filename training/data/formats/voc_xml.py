"""Pascal VOC XML with any classes: a file per image, next to it or in Annotations/.

Splits are the lists of `ImageSets/Main`, or folders called train, val and test.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final
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
            try:
                root = ElementTree.fromstring(read_bounded(path, MAX_XML))
            except ElementTree.ParseError as error:
                raise UserError(f"{path}: not XML ({error}); restore it") from None
            if root.tag != "annotation":
                continue
            stem, where = path.stem, str(path)
            name = stem + os.path.splitext(root.findtext("filename") or "")[1]
            image = images.find(stem if "." not in name else name, where, folder)
            image = image or images.find(stem, where, folder)
            if image is None:
                raise UserError(f"{path}: no image {name!r:.100} below {images.root}; add it")
            split = splits.get(nfc(stem)) or split_folder(image) or split_folder(inside)
            try:
                sides = (root.findtext(f"size/{side}") or "0" for side in ("height", "width"))
                height, width = (int(float(side)) for side in sides)
                frame = builder.frame(image, split, (height, width), where)
                builder.annotated(frame, "boxes")
                for number, (kind, flags, xyxy) in enumerate(objects(root), 1):
                    builder.box(frame, kind, xyxy, f"{where} object", flags, number)
            except ValueError as error:
                raise UserError(
                    f"{path}: not a VOC annotation ({error!s:.100}); restore it"
                ) from None


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
    for item in root.findall("object"):
        name = (item.findtext("name") or "").strip()
        flags = sum(bit for tag, bit in FLAGS.items() if item.findtext(tag, "").strip() == "1")
        # VOC counts pixels from 1: the first column of a box is xmin - 1.
        sides = [(float(item.findtext(f"bndbox/{side}") or "nan"), side) for side in SIDES]
        yield name, flags, [value - side.endswith("min") for value, side in sides]
