"""Predictions in annotation formats, to be corrected by a person and trained on: Scalabel, COCO
JSON, YOLO and CVAT XML. What is written is read back by the datasets of training/data/formats.

Boxes go into every format, areas into all but YOLO, lane lines and frame attributes into Scalabel
and CVAT.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from perception.errors import UserError, unknown_name
from perception.files import write_atomic
from perception.runtime.road import Road
from perception.runtime.scene import Scene
from perception.runtime.shapes import Annotated, annotate
from perception.runtime.view import BOXES, View

# scalabel 0.3 with pydantic 2 requires these fields of a label and a frame without a value too.
FIELDS: Final = ("box2d", "box3d", "poly2d", "rle", "graph")
FRAME_FIELDS: Final = ("url", "videoName", "frameIndex", "timestamp")


def scalabel(frames: list[Annotated], names: list[str], subset: str) -> dict[str, str]:
    """One JSON file: a list of frames, as BDD100K's labels are."""
    entries = [scalabel_frame(frame, index) for index, frame in enumerate(frames)]
    return {"": json.dumps(entries, allow_nan=False)}


def scalabel_frame(frame: Annotated, index: int, **known: Any) -> dict[str, Any]:
    """One frame of Scalabel; `known`: its videoName, frameIndex and timestamp."""
    labels = []
    for number, shape in enumerate(frame.shapes):
        label: dict[str, Any] = {"id": shape.id or f"{index}-{number}", "category": shape.category}
        if shape.score is not None:
            label["score"] = round(shape.score, 4)
        if shape.attributes:
            label["attributes"] = dict(shape.attributes)
        flat = shape.points.astype(float).round(2).tolist()
        if shape.kind == "box":
            (x1, y1), (x2, y2) = flat
            label["box2d"] = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
        else:
            closed = shape.kind == "area"
            label["poly2d"] = [{"vertices": flat, "types": "L" * len(flat), "closed": closed}]
        labels.append(dict.fromkeys(FIELDS) | label)
    height, width = frame.size_hw
    entry = {
        "name": frame.name,
        "size": {"width": width, "height": height},
        "attributes": frame.attributes,
        "labels": labels,
    }
    return dict.fromkeys(FRAME_FIELDS) | known | entry


def coco(frames: list[Annotated], names: list[str], subset: str) -> dict[str, str]:
    """One JSON file. Areas have a segmentation and no bbox: they are no objects."""
    images: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    for number, frame in enumerate(frames, 1):
        height, width = frame.size_hw
        images.append({"id": number, "file_name": frame.name, "width": width, "height": height})
        for shape in frame.shapes:
            item: dict[str, Any] = {"id": len(items) + 1, "image_id": number, "iscrowd": 0}
            item["category_id"] = names.index(shape.category) + 1 if shape.category in names else 0
            if shape.kind == "box":
                (x1, y1), (x2, y2) = shape.points.tolist()
                item["bbox"] = [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]
                item["area"] = round((x2 - x1) * (y2 - y1), 2)
                item["score"] = round(shape.score or 0, 4)
            elif shape.kind == "area":
                item["segmentation"] = [shape.points.round(1).flatten().tolist()]
                item["area"] = round(shape.size, 2)
            else:
                continue
            items.append(item)
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    data = {"images": images, "annotations": items, "categories": categories}
    return {"": json.dumps(data, allow_nan=False)}


def yolo(frames: list[Annotated], names: list[str], subset: str) -> dict[str, str]:
    """A folder: data.yaml and labels/[SUBSET/]NAME.txt with `class cx cy w h` per box."""
    images = f"images/{subset}".rstrip("/")
    listed = json.dumps(names, ensure_ascii=False)
    files = {"data.yaml": f"train: {images}\nval: {images}\nnc: {len(names)}\nnames: {listed}\n"}
    for frame in frames:
        scale = np.array(frame.size_hw[::-1], float)
        lines = []
        for shape in frame.shapes:
            if shape.kind == "box":
                low, high = (shape.points / scale).clip(0, 1)
                numbers = " ".join(f"{value:.6f}" for value in (*((low + high) / 2), *(high - low)))
                lines.append(f"{names.index(shape.category)} {numbers}\n")
        name = f"labels/{subset}/{frame.stem}.txt".replace("//", "/")
        if name in files:
            raise UserError(f"{frame.name}: {name} is another picture's too; rename one of them")
        files[name] = "".join(lines)
    return files


def cvat(frames: list[Annotated], names: list[str], subset: str) -> dict[str, str]:
    """One XML file, "CVAT for images 1.1"; the last entry of a label is its score."""
    out = ["<?xml version='1.0' encoding='utf-8'?>", "<annotations>", "<version>1.1</version>"]
    labels = "".join(f"<label><name>{escape(name)}</name></label>" for name in names)
    out.append(f"<meta><job><labels>{labels}</labels></job></meta>")
    for number, frame in enumerate(frames):
        height, width = frame.size_hw
        head = f'<image id="{number}" name={quoteattr(frame.name)} width="{width}" '
        out.append(head + f'height="{height}"' + (f' subset="{subset}">' if subset else ">"))
        for shape in frame.shapes:
            start = f'label={quoteattr(shape.category)} source="auto" occluded="0"'
            inside = _inside(shape.attributes)
            if shape.kind == "box":
                corners = zip(("xtl", "ytl", "xbr", "ybr"), shape.points.flatten(), strict=True)
                sides = " ".join(f'{side}="{value:.2f}"' for side, value in corners)
                out.append(f"<box {start} {sides}>{inside}</box>")
            else:
                tag = "polygon" if shape.kind == "area" else "polyline"
                points = ";".join(f"{x:.2f},{y:.2f}" for x, y in shape.points)
                out.append(f'<{tag} {start} points="{points}">{inside}</{tag}>')
        if frame.attributes:
            out.append(f'<tag label="frame" source="auto">{_inside(frame.attributes)}</tag>')
        out.append("</image>")
    return {"": "\n".join([*out, "</annotations>", ""])}


def _inside(attributes: Mapping[str, Any]) -> str:
    """The attributes that are words."""
    return "".join(
        f"<attribute name={quoteattr(name)}>{escape(value)}</attribute>"
        for name, value in attributes.items()
        if isinstance(value, str)
    )


@dataclass(frozen=True)
class Format:
    """An annotation format: its files by relative path ("": the path itself is the file)."""

    write: Callable[[list[Annotated], list[str], str], dict[str, str]]
    suffix: str  # of the file; "" where the format is a folder
    place: str  # where a dataset's folder keeps it
    lines: bool = False  # whether it holds lane lines
    areas: bool = True


FORMATS: Final[dict[str, Format]] = {
    "scalabel": Format(scalabel, ".json", "labels/train.json", lines=True),
    "coco": Format(coco, ".json", "annotations/train.json"),
    "yolo": Format(yolo, "", ".", areas=False),
    "cvat": Format(cvat, ".xml", "annotations.xml", lines=True),
}


def parse_export(text: str) -> tuple[str, Path]:
    """(format, path) of `--export FORMAT:PATH`. Raises UserError for anything else."""
    name, colon, path = text.partition(":")
    if not colon or not path:
        raise UserError(f"--export {text}: write FORMAT:PATH; formats: {', '.join(FORMATS)}")
    if name not in FORMATS:
        raise unknown_name("format of --export", name, FORMATS)
    return name, Path(path)


def check_export(name: str, path: Path, replace: bool = False) -> None:
    """Raises UserError where the labels cannot be written, or where others are there."""
    target = f"--export {name}:{path}"
    if suffix := FORMATS[name].suffix:
        if path.is_dir():
            raise UserError(f"{target}: a folder; name a {suffix} file")
        if path.is_file() and not replace:
            raise UserError(f"{target}: exists, and labels are never replaced; name a new file")
    elif path.is_file():
        raise UserError(f"{target}: a file; name a folder")
    elif not replace and ((path / "data.yaml").exists() or any(path.glob("labels/**/*.txt"))):
        found = "a data.yaml" if (path / "data.yaml").exists() else "labels"
        raise UserError(f"{target}: holds {found}; name a new folder")


class Export(AbstractContextManager["Export"]):
    """Collects frames and writes them when it is left without an error: all files or none.

    `subset` puts every frame in a split. Raises UserError where the path cannot be written to, or
    holds labels, unless they are to be replaced.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        views: Mapping[str, View],
        subset: str = "",
        replace: bool = False,
    ) -> None:
        check_export(name, path, replace)
        self.format, self.path, self.subset = FORMATS[name], path, subset
        boxes = [view for view in views.values() if view.kind == BOXES]
        if not self.format.areas and not boxes:
            raise UserError(f"--export {name}:{path}: holds boxes only, and the model finds none")
        # Box classes are listed also where no frame shows one: numbers stay the same.
        self.names = list(dict.fromkeys(name for view in boxes for name in view.classes))
        self.frames: list[Annotated] = []

    def add(self, name: str, scene: Scene, road: Road | None = None) -> None:
        """One frame; `name` is that of its image."""
        frame = annotate(name, scene, road)
        kinds = {"box": True, "area": self.format.areas, "line": self.format.lines}
        frame.shapes = [shape for shape in frame.shapes if kinds[shape.kind]]
        self.frames.append(frame)

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            return
        shown = dict.fromkeys(shape.category for frame in self.frames for shape in frame.shapes)
        names = list(dict.fromkeys([*self.names, *shown]))
        for inside, text in self.format.write(self.frames, names, self.subset).items():
            write_atomic(self.path / inside if inside else self.path, text)
