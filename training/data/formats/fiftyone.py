"""FiftyOne's export (`samples.json` and `data/`), as the hub copies of BDD100K have it.

Every list of detections labels boxes, every list of polylines areas (closed or filled) or lines,
and every classification is a frame attribute. Coordinates are fractions of the frame.
"""

from pathlib import Path
from typing import Any, Final

from training.data import stream
from training.data.annotated import Annotated
from training.data.builder import Builder
from training.data.coco import json_files
from training.data.files import SPLITS, expecting
from training.data.images import Images
from training.data.table import AREA, IGNORE_FLAG, LINE, OCCLUDED_FLAG, TRUNCATED_FLAG

FILE: Final = "samples.json"


class FiftyOne(Annotated):
    """Boxes, areas, lines and attributes of a FiftyOne dataset."""

    format = "FiftyOne"
    relative = True

    @classmethod
    def sources(cls, root: Path) -> list[Path]:
        return [path for path in json_files(root, ["."]) if path.name.lower() == FILE]

    def read(self, builder: Builder, images: Images) -> None:
        (path,) = self.label_files()
        number = 0
        for key, sample in stream.members(path):
            if key == "samples":
                where = f"{path} sample {number}"
                with builder.part(_split(sample)), expecting(where, "readable"):
                    _annotate(builder, sample, where, images)
                number += 1


def _annotate(builder: Builder, sample: dict[str, Any], where: str, images: Images) -> None:
    image = images.find(str(sample["filepath"]), where)
    if image is None:
        # Hub copies are often partial downloads.
        builder.leave_out("label without frame", f"{where}: no image {sample['filepath']!s:.100}")
        return
    frame = builder.frame(image, _split(sample))
    for field, value in sample.items():
        if not isinstance(value, dict):
            continue
        if "detections" in value:
            builder.annotated(frame, "boxes")
            for item in value["detections"]:
                x, y, width, height = item["bounding_box"]
                flags = OCCLUDED_FLAG * _true(item, "occluded")
                flags |= TRUNCATED_FLAG * _true(item, "truncated")
                flags |= IGNORE_FLAG * _true(item, "iscrowd")
                builder.box(frame, item["label"], (x, y, x + width, y + height), where, flags)
        elif "polylines" in value:
            builder.annotated(frame, "areas", "lines")
            for item in value["polylines"]:
                _outlines(builder, frame, item, where)
        elif "label" in value:
            builder.attribute(frame, field, value["label"])
        elif {"keypoints", "mask", "mask_path", "map", "map_path", "heatmap"} & value.keys():
            builder.leave_out("shape", f"{where}: the field {field!r:.60} is not read")


def _split(sample: Any) -> str:
    tags = sample.get("tags") if isinstance(sample, dict) else None
    words = map(str, tags if isinstance(tags, list) else ())
    return next((SPLITS[word] for word in words if word in SPLITS), "")


def _outlines(builder: Builder, frame: int, item: dict[str, Any], where: str) -> None:
    attributes = {
        key: inner.get("value") if isinstance(inner, dict) else inner
        for key, inner in {**item, **(item.get("attributes") or {})}.items()
    }
    name = str(item["label"])
    if name == "drivable area":
        name = str(attributes.get("areaType", "direct"))
    elif name == "lane":
        name = str(attributes.get("laneType", attributes.get("laneTypes", "lane")))
    kind = AREA if item.get("closed") or item.get("filled") else LINE
    for points in item["points"]:
        builder.shape(frame, name, points, where, kind, attributes=attributes)


def _true(item: dict[str, Any], name: str) -> bool:
    value = item.get(name, (item.get("attributes") or {}).get(name))
    return bool(value.get("value") if isinstance(value, dict) else value)
