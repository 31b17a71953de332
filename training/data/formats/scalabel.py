"""Scalabel JSON with any categories: box2d, and poly2d as areas (closed) or lines.

A list of frames, or {"frames": [...]}; files whose names hold train, val or test are these splits.
"""

from pathlib import Path
from typing import Any

from perception.classes import LANE_CATEGORIES
from perception.errors import NoFramesError, UserError
from training.data import stream
from training.data.annotated import Annotated
from training.data.builder import Builder, place
from training.data.formats.coco_json import json_files, split_of
from training.data.images import Images
from training.data.table import IGNORE_FLAG, OCCLUDED_FLAG, TRUNCATED_FLAG


class Scalabel(Annotated):
    """Boxes, areas, lines and frame attributes."""

    format = "Scalabel JSON"

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return False  # BDD100K is Scalabel too: this one is opened as scalabel:DIR

    @classmethod
    def sources(cls, root: Path) -> list[Path]:
        if root.is_file():
            return [root]
        found = json_files(root, (".", "labels", "annotations"))
        return [path for path in found if stream.looks_like_frames(path)]

    def read(self, builder: Builder, images: Images) -> None:
        files = self.sources(self.label_root)
        if not files:
            raise NoFramesError(f"{self.label_root}: no Scalabel JSON in it or in labels/")
        for path in files:
            split = split_of(path, len(files))
            near = f"images/{split}/" if split else ""
            for number, entry in enumerate(stream.frames(path)):
                try:
                    _annotate(builder, entry, path, number, images, split, near)
                except (ValueError, TypeError, KeyError, AttributeError) as error:
                    raise UserError(
                        f"{path} frame {number}: not Scalabel ({error!r:.100})"
                    ) from None


def _annotate(
    builder: Builder, entry: dict[str, Any], path: Path, number: int, images: Images,
    split: str, near: str,
) -> None:  # fmt: skip
    name = str(entry["name"])
    image = images.find(name, f"{path} frame {number}", near)
    if image is None:
        raise UserError(f"{path} frame {number}: no image {name!r:.100} below {images.root}")
    frame = builder.frame(image, split)
    builder.annotated(frame, boxes=True, areas=True, lines=True)
    for group, value in (entry.get("attributes") or {}).items():
        if isinstance(value, str) and value != "undefined":
            builder.attribute(frame, group, value)
    where = f"{path} frame {number} ({name:.60}) label"
    for label in entry.get("labels") or ():
        part = label.get("id", "?")
        attributes = label.get("attributes") or {}
        if not isinstance(attributes, dict):
            stream.as_object(attributes, place(where, part))
        category = str(label.get("category", ""))
        if box := label.get("box2d"):
            flags = OCCLUDED_FLAG * bool(attributes.get("occluded"))
            flags |= TRUNCATED_FLAG * bool(attributes.get("truncated"))
            flags |= IGNORE_FLAG * bool(attributes.get("crowd") or attributes.get("ignored"))
            builder.box(
                frame, category, [box[k] for k in ("x1", "y1", "x2", "y2")], where, flags, part
            )
        for polygon in label.get("poly2d") or ():
            line = category.removeprefix("lane/") in LANE_CATEGORIES or category == "lane"
            closed = bool(polygon.get("closed", True)) and not line
            builder.shape(frame, category, polygon["vertices"], place(where, part), closed=closed,
                          attributes=attributes, types=str(polygon.get("types", "")))  # fmt: skip
