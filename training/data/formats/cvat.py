"""CVAT XML 1.1, "CVAT for images": boxes, polygons (areas), polylines (lines), image tags.

`annotations.xml`, or any XML files of that format, in the folder of the images or above it.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

from perception.errors import NoFramesError, UserError
from training.data.annotated import Annotated
from training.data.builder import Builder
from training.data.files import SPLITS, head_of, split_folder, split_word
from training.data.images import Images
from training.data.table import OCCLUDED_FLAG

VERSION: Final = "1.1"
ELLIPSE: Final = 64  # points of its outline


class CVAT(Annotated):
    """Boxes, areas and lines of an export from CVAT."""

    format = "CVAT XML"

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return bool(cls.sources(root))

    @classmethod
    def sources(cls, root: Path) -> list[Path]:
        names = sorted(os.listdir(root)) if root.is_dir() else []
        files = [root / name for name in names if name.lower().endswith(".xml")]
        return [path for path in files or [root] if _begins(path)]

    def read(self, builder: Builder, images: Images) -> None:
        files = self.sources(self.label_root)
        if not files:
            raise NoFramesError(f"{self.label_root}: no annotations.xml of CVAT in it")
        for path in files:
            split = split_word(path.stem)
            try:
                _read(path, builder, images, split)
            except ElementTree.ParseError as error:
                raise UserError(f"{path}: not XML ({error}); restore it") from None


def _begins(path: Path) -> bool:
    return path.name[0] != "." and "<annotations>" in head_of(path, 512)


def _read(path: Path, builder: Builder, images: Images, split: str) -> None:
    checked = False
    for _, item in ElementTree.iterparse(path):
        if item.tag == "version":
            checked = True
            if item.text != VERSION:
                raise UserError(
                    f"{path}: CVAT version {item.text!s:.20}; export as CVAT for images {VERSION}"
                )
        elif item.tag == "track":
            raise UserError(f"{path}: CVAT for video; export it as CVAT for images {VERSION}")
        elif item.tag == "label" and item.find("name") is not None:
            builder.name((item.findtext("name") or "").strip())
        elif item.tag == "image":
            if not checked:
                raise UserError(f"{path}: no version; export it as CVAT for images {VERSION}")
            where = f"{path} image {item.get('id', '?')} ({item.get('name', '?'):.60})"
            try:
                _annotate(builder, item, where, images, split)
            except (ValueError, KeyError) as error:
                raise UserError(
                    f"{where}: unreadable ({error!r:.100}); export it as CVAT for images {VERSION}"
                ) from None
            item.clear()


def _annotate(
    builder: Builder, item: ElementTree.Element, where: str, images: Images, split: str
) -> None:
    name = item.attrib["name"]
    image = images.find(name, where)
    if image is None:
        raise UserError(f"{where}: no image of this name below {images.root}; add it")
    subset = SPLITS.get(item.attrib.get("subset", "").lower(), "")
    size_hw = (int(item.attrib["height"]), int(item.attrib["width"]))
    frame = builder.frame(image, split or subset or split_folder(image), size_hw)
    builder.annotated(frame, boxes=True, areas=True, lines=True)
    for child in item:
        attrib = child.attrib
        label = attrib.get("label", "")
        if child.tag == "box":
            sides = attrib["xtl"], attrib["ytl"], attrib["xbr"], attrib["ybr"]
            xyxy = turned(tuple(map(float, sides)), float(attrib.get("rotation", 0)))
            flags = OCCLUDED_FLAG if attrib.get("occluded") == "1" else 0
            builder.box(frame, label, xyxy, where, flags)
        elif child.tag in ("polygon", "polyline", "ellipse"):
            points = (
                ellipse(attrib)
                if child.tag == "ellipse"
                else [tuple(map(float, p.split(","))) for p in attrib["points"].split(";")]
            )
            attributes: dict[str, Any] = {
                entry.attrib["name"]: entry.text for entry in child.findall("attribute")
            }
            builder.shape(frame, label, points, where, closed=child.tag != "polyline",
                          attributes=attributes)  # fmt: skip
        elif child.tag == "tag":
            for entry in child.findall("attribute"):
                builder.attribute(frame, entry.attrib["name"], (entry.text or "").strip())
        else:
            text = f"{where}: a {child.tag:.30} is not read; draw a polygon instead"
            builder.leave_out("shape", text)


def turned(xyxy: Sequence[float], degrees: float) -> tuple[float, ...]:
    """The extent of a box that is turned around its centre."""
    if not degrees:
        return tuple(xyxy)
    x1, y1, x2, y2 = xyxy
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    half_x = ((x2 - x1) * cos + (y2 - y1) * sin) / 2
    half_y = ((x2 - x1) * sin + (y2 - y1) * cos) / 2
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return (x - half_x, y - half_y, x + half_x, y + half_y)


def ellipse(attrib: Mapping[str, str]) -> list[tuple[float, ...]]:
    """The outline of an ellipse."""
    x, y, half_x, half_y = (float(attrib[key]) for key in ("cx", "cy", "rx", "ry"))
    turn = math.radians(float(attrib.get("rotation", 0)))
    around = [2 * math.pi * step / ELLIPSE for step in range(ELLIPSE)]
    return [
        (
            x + half_x * math.cos(a) * math.cos(turn) - half_y * math.sin(a) * math.sin(turn),
            y + half_x * math.cos(a) * math.sin(turn) + half_y * math.sin(a) * math.cos(turn),
        )
        for a in around
    ]
