"""CVAT XML 1.1, "CVAT for images": boxes, polygons and masks (areas), polylines (lines), tags.

`annotations.xml`, or any XML files of that format, in the folder of the images or above it.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import numpy as np

from perception.errors import UserError
from training.data.annotated import Annotated
from training.data.builder import Builder
from training.data.files import SPLITS, expecting, files_in, head_of, split_folder, split_word
from training.data.formats.run_lengths import add_mask
from training.data.images import Images
from training.data.table import AREA, LINE, OCCLUDED_FLAG

VERSION: Final = "1.1"
ELLIPSE: Final = 64  # points of its outline


class CVAT(Annotated):
    """Boxes, areas and lines of an export from CVAT."""

    format = "CVAT XML"

    @classmethod
    def sources(cls, root: Path) -> list[Path]:
        files = [path for path in files_in(root, ".xml") or [root] if path.is_file()]
        heads = {path: head_of(path, 512) for path in files}
        # Reading an empty file says so.
        return [path for path, head in heads.items() if not head or "<annotations>" in head]

    def read(self, builder: Builder, images: Images) -> None:
        for path in self.label_files():
            split = split_word(path.stem)
            with builder.part(split), expecting(path, "XML"):
                _read(path, builder, images, split)


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
            _annotate(builder, item, where, images, split)
            item.clear()


def _annotate(
    builder: Builder, item: ElementTree.Element, where: str, images: Images, split: str
) -> None:
    split = split or SPLITS.get(item.get("subset", "").lower(), "")
    part = split or split_folder(item.get("name", ""))
    fix = f"export it as CVAT for images {VERSION}"
    with builder.part(part), expecting(where, "readable", fix):
        image = images.need(item.attrib["name"], where)
        size_hw = (int(item.attrib["height"]), int(item.attrib["width"]))
        frame = builder.frame(image, split or split_folder(image), size_hw)
        builder.annotated(frame, "boxes", "areas", "lines")
        for child in item:
            _shape(builder, frame, child, where)


def _shape(builder: Builder, frame: int, child: ElementTree.Element, where: str) -> None:
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
        entries = child.findall("attribute")
        attributes = {entry.attrib["name"]: entry.text for entry in entries}
        kind = LINE if child.tag == "polyline" else AREA
        builder.shape(frame, label, points, where, kind, attributes=attributes)
    elif child.tag == "mask":
        left, top, width, height = (int(attrib[k]) for k in ("left", "top", "width", "height"))
        runs = [int(run) for run in attrib["rle"].split(",")]
        add_mask(builder, frame, label, where, runs, (height, width), "C", (left, top))
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
    low, high = np.array(xyxy).reshape(2, 2)
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    half, centre = np.array([[cos, sin], [sin, cos]]) @ (high - low) / 2, (low + high) / 2
    return (*(centre - half).tolist(), *(centre + half).tolist())


def ellipse(attrib: Mapping[str, str]) -> np.ndarray:
    """(ELLIPSE, 2) points of the outline of an ellipse."""
    x, y, half_x, half_y = (float(attrib[key]) for key in ("cx", "cy", "rx", "ry"))
    turn = math.radians(float(attrib.get("rotation", 0)))
    around = 2 * math.pi * np.arange(ELLIPSE) / ELLIPSE
    points = np.stack([half_x * np.cos(around), half_y * np.sin(around)], 1)
    cos, sin = math.cos(turn), math.sin(turn)
    return points @ np.array([[cos, sin], [-sin, cos]]) + (x, y)
