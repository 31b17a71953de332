"""Scalabel JSON with any categories: box2d, and poly2d as areas (closed) or lines.

A list of frames, or {"frames": [...]}; files whose names hold train, val or test are these splits.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perception.classes import LANE_CATEGORIES
from training.data import stream
from training.data.annotated import Annotated
from training.data.builder import Builder, place
from training.data.coco import json_files, split_of
from training.data.files import expecting
from training.data.images import Images
from training.data.table import AREA, IGNORE_FLAG, LINE, OCCLUDED_FLAG, TRUNCATED_FLAG


class Scalabel(Annotated):
    """Boxes, areas, lines and attributes; only as scalabel:DIR, for BDD100K is Scalabel too."""

    format = "Scalabel JSON"

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return False

    @classmethod
    def sources(cls, root: Path) -> list[Path]:
        found = [root] if root.is_file() else json_files(root, (".", "labels", "annotations"))
        return [path for path in found if path == root or stream.looks_like_frames(path)]

    def read(self, builder: Builder, images: Images) -> None:
        files = self.label_files()
        for path in files:
            split = split_of(path, len(files))
            with builder.part(split):
                for number, entry in enumerate(stream.frames(path)):
                    with expecting(where := f"{path} frame {number}", "Scalabel"):
                        _annotate(builder, entry, where, images, split)


def _annotate(
    builder: Builder, entry: dict[str, Any], where: str, images: Images, split: str
) -> None:
    name = str(entry["name"])
    image = images.need(name, where, f"images/{split}/" if split else "")
    frame = builder.frame(image, split)
    builder.annotated(frame, "boxes", "areas", "lines")
    for group, value in (entry.get("attributes") or {}).items():
        builder.attribute(frame, group, value)
    where = f"{where} ({name:.60}) label"
    for label in entry.get("labels") or ():
        label |= {"attributes": dict(label.get("attributes") or {})}
        category = str(label.get("category", ""))
        if label.get("box2d"):
            add_box(builder, frame, label, where, category)
        if label.get("poly2d"):
            line = category.removeprefix("lane/") in LANE_CATEGORIES or category == "lane"
            add_outlines(builder, frame, label, where, category, (LINE if line else AREA, LINE))


def add_box(builder: Builder, frame: int, label: Mapping[str, Any], where: str, name: str) -> None:
    """Adds the `box2d` of a label, or the problem it has."""
    # Runs for 1.5 million boxes of BDD100K.
    box, attributes, flags = label["box2d"], label.get("attributes"), 0
    if attributes and isinstance(attributes, dict):
        if attributes.get("occluded"):
            flags |= OCCLUDED_FLAG
        if attributes.get("truncated"):
            flags |= TRUNCATED_FLAG
        if attributes.get("crowd") or attributes.get("ignored"):
            flags |= IGNORE_FLAG
    part = label.get("id", "?")
    try:
        builder.box(frame, name, (box["x1"], box["y1"], box["x2"], box["y2"]), where, flags, part)
    except (KeyError, TypeError, OverflowError):
        builder.problem(frame, f"{place(where, part)}: box lacks a number among x1, y1, x2, y2")


def add_outlines(
    builder: Builder, frame: int, label: Mapping[str, Any], where: str, name: str,
    kinds: tuple[int, int] = (AREA, LINE),
) -> int:  # fmt: skip
    """Adds the outlines of a label, or the problem they have; returns how many were read.

    `kinds` are those of a closed and of an open outline; one that does not say is closed if the
    former is an area.
    """
    where, count = place(where, label.get("id", "?")), 0
    try:
        for polygon in _polygons(label["poly2d"]):
            kind = kinds[not polygon.get("closed", kinds[0] == AREA)]
            builder.shape(
                frame, name, polygon["vertices"], where, kind,
                attributes=label.get("attributes"), types=str(polygon.get("types", "")),
            )  # fmt: skip
            count += 1
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        builder.problem(frame, f"{where}: poly2d has malformed vertices; fix it")
    return count


def _polygons(given: Any) -> list[dict[str, Any]]:
    """`poly2d` as a list of polygons (2020), also where it is one list of [x, y, type] (2018)."""
    if not isinstance(given[0], list):
        return given
    vertices, letters = [vertex[:2] for vertex in given], [str(vertex[2]) for vertex in given]
    return [{"vertices": vertices, "types": "".join(letters), "closed": False}]
