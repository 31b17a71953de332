"""LabelMe JSON: a file per image with rectangles, polygons (areas) and linestrips (lines)."""

import json
from pathlib import Path
from typing import Any, Final

from training.data.annotated import Annotated
from training.data.builder import Builder
from training.data.files import expecting, files_below, first_has, read_text, split_folder
from training.data.images import Images
from training.data.table import AREA, LINE

MAX_BYTES: Final = 256 << 20  # LabelMe may store the image in the file
KINDS: Final = {"polygon": AREA, "linestrip": LINE, "line": LINE}


class LabelMe(Annotated):
    """Boxes, areas and lines drawn in LabelMe."""

    format = "LabelMe JSON"

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return first_has(root, ".json", '"shapes"')

    def read(self, builder: Builder, images: Images) -> None:
        for inside in files_below(self.label_root, ".json", distinct=True):
            path, folder = self.label_root / inside, inside.rpartition("/")[0]
            with builder.part(split_folder(inside)):
                with expecting(path, "valid JSON"):
                    data = json.loads(read_text(path, MAX_BYTES))
                if isinstance(data, dict) and "shapes" in data:
                    with expecting(path, "a LabelMe file", "save it again in LabelMe"):
                        self._read(builder, path, folder, data, images)

    def _read(
        self, builder: Builder, path: Path, folder: str, data: dict[str, Any], images: Images
    ) -> None:
        named = str(data.get("imagePath") or path.stem).replace("\\", "/").rpartition("/")[2]
        file = str(path)
        image = images.find(named, file, folder) or images.need(path.stem, file, folder)
        split = split_folder(image)
        size_hw = (int(data.get("imageHeight") or 0), int(data.get("imageWidth") or 0))
        frame = builder.frame(image, split, size_hw, file)
        builder.annotated(frame, "boxes", "areas", "lines")
        where = f"{file} shape"
        for number, shape in enumerate(data["shapes"], 1):
            name, kind = str(shape.get("label", "")), str(shape.get("shape_type", "polygon"))
            points = shape["points"]
            if kind == "rectangle":
                if len(points) != 2:
                    wrong = f"rectangle of {len(points)} points; redraw it"
                    builder.problem(frame, f"{where} {number}: {wrong}")
                    continue
                xs, ys = zip(*points, strict=True)
                corners = (min(xs), min(ys), max(xs), max(ys))
                builder.box(frame, name, corners, where, part=number)
            elif kind in KINDS:
                builder.shape(frame, name, points, f"{where} {number}", KINDS[kind],
                              attributes=shape.get("flags"))  # fmt: skip
            else:
                wrong = f"a {kind:.30} is not read; draw a polygon instead"
                builder.problem(frame, f"{where} {number}: {wrong}")
