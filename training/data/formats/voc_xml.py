"""Pascal VOC XML with any classes: a file per image, next to it or in Annotations/.

Splits are the lists of `ImageSets/Main`, or folders called train, val and test.
"""

import os
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from perception.errors import UserError
from perception.files import read_bounded
from training.data.formats.annotated import Annotated
from training.data.formats.images import Images
from training.data.formats.table import IGNORE_FLAG, OCCLUDED_FLAG, TRUNCATED_FLAG, Builder

MAX_XML: Final = 1 << 20
SPLITS: Final = ("train", "val", "valid", "test")
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
        return any(_begins(path) for path in _files(root, most=1))

    @classmethod
    def sources(cls, root: Path) -> list[Path]:
        return [Path(folder) for folder, _, _ in os.walk(root)]

    def read(self, builder: Builder, images: Images) -> None:
        splits = _lists(self.label_root)
        for path in _files(self.label_root):
            inside = path.relative_to(self.label_root).as_posix()
            try:
                root = ElementTree.fromstring(read_bounded(path, MAX_XML))
            except ElementTree.ParseError as error:
                raise UserError(f"{path}: not XML ({error}); restore it") from None
            if root.tag != "annotation":
                continue
            name = path.stem + Path(root.findtext("filename") or "").suffix
            folder = inside.rpartition("/")[0]
            image = images.find(path.stem if "." not in name else name, str(path), folder)
            image = image or images.find(path.stem, str(path), folder)
            if image is None:
                raise UserError(f"{path}: no image {name!r:.100} below {images.root}; add it")
            split = splits.get(path.stem) or _split_of(image) or _split_of(inside)
            _annotate(builder, root, image, split, path)


def _files(root: Path, most: int = 0) -> list[Path]:
    found: list[Path] = []
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".xml"):
                found.append(Path(folder) / name)
                if most and len(found) >= most:
                    return found
    return found


def _begins(path: Path) -> bool:
    with open(path, encoding="utf-8", errors="replace") as file:
        return "<annotation>" in file.read(512)


def _lists(root: Path) -> dict[str, str]:
    """{name: split} of ImageSets/Main."""
    found: dict[str, str] = {}
    for split in SPLITS:
        path = root / "ImageSets/Main" / f"{split}.txt"
        if path.is_file():
            text = read_bounded(path, 64 << 20).decode(errors="replace")
            found |= {line.split()[0]: split for line in text.splitlines() if line.strip()}
    return found


def _split_of(path: str) -> str:
    return next((part for part in path.split("/")[:-1] if part in SPLITS), "")


def _annotate(
    builder: Builder, root: ElementTree.Element, image: str, split: str, path: Path
) -> None:
    try:
        size = [int(float(root.findtext(f"size/{side}") or 0)) for side in ("height", "width")]
        frame = builder.frame(image, split, (size[0], size[1]))
        builder.annotated(frame, boxes=True)
        for number, item in enumerate(root.findall("object"), 1):
            # VOC counts pixels from 1: the first column of a box is xmin - 1.
            xyxy = [float(item.findtext(f"bndbox/{side}") or "nan") for side in SIDES]
            xyxy[:2] = [xyxy[0] - 1, xyxy[1] - 1]
            flags = sum(flag for tag, flag in FLAGS.items() if item.findtext(tag) == "1")
            name = (item.findtext("name") or "").strip()
            builder.box(frame, name, xyxy, f"{path} object {number}", flags)
    except ValueError as error:
        raise UserError(f"{path}: not a VOC annotation ({error!s:.100}); restore it") from None
