"""LabelMe JSON: a file per image with rectangles, polygons (areas) and linestrips (lines)."""

import json
import os
from pathlib import Path
from typing import Any, Final

from perception.errors import UserError
from perception.files import read_bounded
from training.data.formats.annotated import Annotated, as_object
from training.data.formats.images import Images, files_below
from training.data.formats.table import Builder
from training.data.formats.yolo import SPLITS

MAX_BYTES: Final = 256 << 20  # LabelMe may store the image in the file
CLOSED: Final = {"polygon": True, "linestrip": False, "line": False}


class LabelMe(Annotated):
    """Boxes, areas and lines drawn in LabelMe."""

    format = "LabelMe JSON"

    @classmethod
    def recognises(cls, root: Path) -> bool:
        path, _ = next(files_below(root, ".json"), (None, ""))
        if path is None:
            return False
        with open(path, encoding="utf-8", errors="replace") as file:
            return '"shapes"' in file.read(4096)

    @classmethod
    def sources(cls, root: Path) -> list[Path]:
        return [Path(folder) for folder, _, _ in os.walk(root)]

    def read(self, builder: Builder, images: Images) -> None:
        for path, folder in files_below(self.label_root, ".json"):
            try:
                data = json.loads(read_bounded(path, MAX_BYTES))
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}: not valid JSON ({error!s:.100}); restore it") from None
            if isinstance(data, dict) and "shapes" in data:
                try:
                    self._read(builder, path, folder, data, images)
                except (ValueError, TypeError, KeyError) as error:
                    raise UserError(
                        f"{path}: not a LabelMe file ({error!r:.100}); save it again in LabelMe"
                    ) from None

    def _read(
        self, builder: Builder, path: Path, folder: str, data: dict[str, Any], images: Images
    ) -> None:
        named = str(data.get("imagePath") or path.stem).replace("\\", "/").rpartition("/")[2]
        file = str(path)
        image = images.find(named, file, folder) or images.find(path.stem, file, folder)
        if image is None:
            raise UserError(f"{path}: no image {named!r:.100} below {images.root}; add it")
        split = next((part for part in image.split("/")[:-1] if part in SPLITS), "")
        size_hw = (int(data.get("imageHeight") or 0), int(data.get("imageWidth") or 0))
        frame = builder.frame(image, split, size_hw)
        builder.annotated(frame, boxes=True, shapes=True)
        where = f"{file} shape"
        for number, item in enumerate(data["shapes"], 1):
            shape = item if isinstance(item, dict) else as_object(item, f"{where} {number}")
            name, kind = str(shape.get("label", "")), str(shape.get("shape_type", "polygon"))
            points = shape["points"]
            if kind == "rectangle":
                if len(points) != 2:
                    wrong = f"rectangle of {len(points)} points; redraw it"
                    builder.problem(frame, f"{where} {number}: {wrong}")
                    continue
                (x1, y1), (x2, y2) = points
                x1, x2 = (x2, x1) if x1 > x2 else (x1, x2)
                y1, y2 = (y2, y1) if y1 > y2 else (y1, y2)
                builder.box(frame, name, (x1, y1, x2, y2), where, part=number)
            elif kind in CLOSED:
                flags = shape.get("flags") or {}
                builder.shape(frame, name, points, f"{where} {number}", closed=CLOSED[kind],
                              attributes=flags)  # fmt: skip
            else:
                wrong = f"a {kind:.30} is not read; draw a polygon instead"
                builder.problem(frame, f"{where} {number}: {wrong}")
