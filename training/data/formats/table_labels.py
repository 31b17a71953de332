"""Labels of a frame from the table of an annotated folder, by task."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from perception.classes import IGNORE as IGNORE_PIXEL
from perception.classes import LANE_BACKGROUND, LANE_CATEGORY_UNKNOWN, LANE_TYPE_UNKNOWN
from perception.errors import UserError
from training.data.bdd.polygons import Shape, outline, paint, stroke
from training.data.classes import BACKGROUND, IGNORE, UNKNOWN, ClassLists
from training.data.formats.class_lists import class_index
from training.data.formats.masks import read_palette_mask
from training.data.formats.table import (
    IGNORE_FLAG,
    OCCLUDED_FLAG,
    OUTSIDE,
    TOLERANCE,
    TRUNCATED_FLAG,
    Table,
)
from training.data.labels import Boxes, Label, Labels, LaneMask, Mask

LANE_WIDTH_TRAIN: Final = 8


@dataclass(frozen=True)
class TableLabels:
    """Makes labels from the rows of a table."""

    table: Table
    lists: ClassLists
    class_tables: dict[str, np.ndarray]  # per task the class number of each name in the table
    root: Path
    label_root: Path
    split: str
    relative: bool  # whether boxes and outlines are in fractions of the frame

    def image_path(self, frame: int) -> Path:
        return self.root / self.table.texts["images"][frame]

    def label(self, task: str, frame: int, size_hw: tuple[int, int]) -> Label:
        """The label of a frame of `size_hw`. Raises UserError naming the file."""
        if task in self.table.texts["masks"]:
            return self._mask(task, frame, size_hw)
        if task == "det":
            return self._boxes(frame, size_hw)
        if task == "scene":
            return self._attributes(frame)
        return self._lanes(frame, size_hw) if task == "lane" else self._areas(task, frame, size_hw)

    def _boxes(self, frame: int, size_hw: tuple[int, int]) -> Boxes:
        table = self.table
        rows = slice(*table.box_start[frame : frame + 2].tolist())
        xyxy, limit = table.box_xyxy[rows].copy(), np.array(size_hw[::-1] * 2, np.float32)
        if self.relative:
            xyxy *= limit
        wrong = (xyxy < -TOLERANCE).any(1) | (xyxy > limit + TOLERANCE).any(1)
        if wrong.any():
            number = int(wrong.argmax())
            name = table.texts["names"][table.box_class[rows][number]]
            raise UserError(
                f"{self.image_path(frame)}: its box {number + 1} ({name:.60}) in {self.label_root} "
                f"{OUTSIDE} of {size_hw[1]}x{size_hw[0]}; fix it"
            )
        classes, flags = self.class_tables["det"][table.box_class[rows]], table.box_flags[rows]
        ignored = (classes == IGNORE) | (flags & IGNORE_FLAG > 0)
        names = np.array(table.texts["names"], object)[table.box_class[rows]]
        if self.lists.uncertain:
            ignored |= np.isin(names.astype(str), list(self.lists.uncertain))
        keep = classes != UNKNOWN
        return Boxes(
            np.clip(xyxy, 0, limit)[keep],
            np.maximum(classes, -1)[keep],
            size_hw,
            ignore=ignored[keep],
            occluded=(flags & OCCLUDED_FLAG > 0)[keep],
            truncated=(flags & TRUNCATED_FLAG > 0)[keep],
        )

    def _shapes(self, task: str, frame: int, size_hw: tuple[int, int], closed: bool) -> list[Shape]:
        table = self.table
        scale = np.array(size_hw[::-1], np.float64) if self.relative else np.ones(2)
        found: list[Shape] = []
        for row in range(*table.shape_start[frame : frame + 2].tolist()):
            value = int(self.class_tables[task][table.shape_class[row]])
            if table.shape_closed[row] == closed and value != UNKNOWN:
                rows = slice(*table.vertex_start[row : row + 2].tolist())
                vertices = table.vertex_xy[rows].astype(np.float64) * scale
                if task == "lane":
                    known = value if value >= 0 else LANE_CATEGORY_UNKNOWN
                    value = known | int(table.shape_lane[row])
                found.append((value, vertices, np.zeros(len(vertices), bool)))
        return found

    def _areas(self, task: str, frame: int, size_hw: tuple[int, int]) -> Mask:
        names = self.lists.names(task)
        empty = names.index(BACKGROUND) if BACKGROUND in names else IGNORE_PIXEL
        shapes = self._shapes(task, frame, size_hw, closed=True)
        # Ignored areas are drawn as a value of their own: paint() takes values below 254.
        drawn = [(253 if value < 0 else value, *rest) for value, *rest in shapes]
        mask = paint(drawn, size_hw, empty, filled=True)  # type: ignore[arg-type]
        return Mask(np.where(mask == 253, np.uint8(IGNORE_PIXEL), mask))

    def _lanes(self, frame: int, size_hw: tuple[int, int]) -> LaneMask:
        lines = self._shapes("lane", frame, size_hw, closed=False)
        if self.split != "train":
            return LaneMask(paint(lines, size_hw, LANE_BACKGROUND, filled=False))
        mask = np.full(size_hw, LANE_BACKGROUND, np.uint8)
        for value, vertices, curve in lines:
            stroke(mask, outline(vertices, curve), float(LANE_WIDTH_TRAIN), value)
        return LaneMask(mask)

    def _attributes(self, frame: int) -> Labels:
        groups = self.table.texts["groups"]
        codes = []
        for group, names in self.lists.groups["scene"].items():
            code = -1
            if group in groups:
                value = int(self.table.attributes[frame, list(groups).index(group)])
                name = groups[group][value] if value >= 0 else ""
                code = names.index(name) if name in names else -1
            codes.append(code)
        return Labels(np.array(codes, np.int64))

    def _mask(self, task: str, frame: int, size_hw: tuple[int, int]) -> Label:
        palette = self.table.texts["masks"][task]
        path = self.label_root / palette["files"][frame]
        indices = read_palette_mask(path, palette, size_hw)
        if task == "lane":
            return LaneMask(_lane_bytes(indices, palette["names"], self.lists))
        table = np.full(256, IGNORE_PIXEL, np.uint8)
        for number, name in enumerate(palette["names"]):
            value = self.lists.index(task, name)
            table[number] = value if value >= 0 else IGNORE_PIXEL
        return Mask(table[indices])


def _lane_bytes(indices: np.ndarray, names: Sequence[str], lists: ClassLists) -> np.ndarray:
    """Lane bytes of a palette's class numbers; style and direction are not annotated."""
    table = np.full(256, LANE_BACKGROUND, np.uint8)
    for number, name in enumerate(names):
        value = class_index(lists, "lane", name)
        if name != BACKGROUND:
            known = value if value >= 0 else LANE_CATEGORY_UNKNOWN
            table[number] = known | LANE_TYPE_UNKNOWN
    return table[indices]
