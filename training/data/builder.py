"""Collects the labels of a folder as its reader comes to them, and gives them as a table."""

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from perception.classes import LANE_DIRECTION_SHIFT as DIRECTION
from perception.classes import LANE_DIRECTIONS, LANE_STYLES
from perception.classes import LANE_STYLE_SHIFT as STYLE
from perception.classes import LANE_TYPE_UNKNOWN as UNTYPED
from perception.errors import UserError
from training.data.table import (
    AREA,
    LINE,
    MASK_TASKS,
    NO_MASK,
    OUTSIDE,
    REACH,
    TOLERANCE,
    Table,
)

MOST_LISTED: Final = 10_000  # problems; more are kept where they are the first of a frame
LONGEST_LINE: Final = 400
MOST_VERTICES: Final = 2000  # of one outline


class Builder:
    """Collects annotations frame by frame. A frame's number is what `frame` returned for it."""

    def __init__(self, root: Path, relative: bool = False) -> None:
        self.root, self._fractions = root, relative
        self.relative = array("B")  # per frame: boxes are in fractions
        self.images: list[str] = []
        self.splits: dict[str, int] = {}
        self.names: dict[str, int] = {}
        self.first: dict[str, str] = {}
        self.problems: list[tuple[int, str]] = []
        self.unused: list[tuple[str, str]] = []
        self.groups: dict[str, dict[str, int]] = {}
        self.encodings: list[Any] = []
        self._masks: dict[tuple[int, int], tuple[str, int]] = {}
        # Problems by frame, and by kind what is left out, also those not kept.
        self._counted: Counter[int] = Counter()
        self._left_out: Counter[str] = Counter()
        self._values: dict[str, dict[int, int]] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._size, self.split_of = array("i"), array("b")
        self._boxes, self._areas, self._lines = array("B"), array("B"), array("B")
        self._box, self._box_class = array("f"), array("h")
        self._box_frame, self._box_flags = array("q"), array("B")
        self._shape_frame, self._shape_class = array("q"), array("h")
        self._kind, self._lane = array("B"), array("B")
        self._vertex, self._vertices = array("d"), array("q", [0])
        self._curve = array("B")

    def frame(
        self, image: str, split: str = "", size_hw: tuple[int, int] = (0, 0), file: str = ""
    ) -> int:
        """Adds a frame; `image` is relative to the root. Without a split, see `Annotated`.

        An image that is added again is the same frame: its labels join, or are a problem where
        the label `file` is for one image.
        """
        number = self._numbers.setdefault((image, split), len(self.images))
        if number < len(self.images):
            if file:
                self.problem(number, f"{file}: {image} has another label file too; delete one")
            return number
        self.images.append(image)
        self._size.extend(size_hw)
        self.split_of.append(self.splits.setdefault(split, len(self.splits)))
        self.relative.append(self._fractions)
        for column in (self._boxes, self._areas, self._lines):
            column.append(0)
        return number

    def annotated(
        self, frame: int, boxes: bool = False, areas: bool = False, lines: bool = False
    ) -> None:
        """States that every box, area or line of the frame is annotated, even if there is none."""
        self._boxes[frame] |= boxes
        self._areas[frame] |= areas
        self._lines[frame] |= lines

    def problem(self, frame: int, text: str) -> None:
        """Something wrong; -1 is no single frame. The first of every frame is kept."""
        self._counted[frame] += 1
        if len(self.problems) < MOST_LISTED or (frame >= 0 and self._counted[frame] == 1):
            self.problems.append((frame, one_line(text)))

    def leave_out(self, kind: str, text: str) -> None:
        """Something in the files that is not used: "label without frame", "file: what it is".

        check-bdd lists it; training goes on, and begins with a line about it.
        """
        self._left_out[kind] += 1
        if self._left_out[kind] <= MOST_LISTED:
            self.unused.append((kind, one_line(text)))

    def name(self, name: str, where: str = "") -> int:
        """The number of a class name; `where` is the place of its first label.

        Raises UserError for an empty name.
        """
        if not name.strip():
            raise UserError(f"{where or self.root}: a label has no class name; write one there")
        number = self.names.setdefault(name, len(self.names))
        if where and name not in self.first:
            self.first[name] = where
        return number

    def box(
        self, frame: int, name: str, xyxy: Iterable[float], where: str, flags: int = 0,
        part: object = "",
    ) -> None:  # fmt: skip
        """Adds a box, or the problem it has; `part` is its number or id in `where`."""
        x1, y1, x2, y2 = xyxy
        height, width = self._size[2 * frame], self._size[2 * frame + 1]
        if not (-REACH < x1 < x2 < REACH and -REACH < y1 < y2 < REACH):
            self.problem(frame, f"{place(where, part)}: box is empty or not finite; fix it")
        elif width and not (
            x1 >= -TOLERANCE and y1 >= -TOLERANCE
            and x2 <= width + TOLERANCE and y2 <= height + TOLERANCE
        ):  # fmt: skip
            corners = ", ".join(f"{value:.1f}" for value in (x1, y1, x2, y2))
            outside = f"box ({corners}) {OUTSIDE} of {width}x{height}"
            self.problem(frame, f"{place(where, part)}: {outside}; fix it")
        else:
            self._box.extend((x1, y1, x2, y2))
            self._box_frame.append(frame)
            number = self.names.get(name)
            if number is None or name not in self.first:
                number = self.name(name, place(where, part))
            self._box_class.append(number)
            self._box_flags.append(flags)
            self._boxes[frame] = 1

    def boxes(
        self, frame: int, names: Sequence[int], xyxy: Sequence[float], flags: bytes = b""
    ) -> None:
        """Adds boxes that were checked: 4 numbers each, of class numbers that `name` gave."""
        self._box.extend(xyxy)
        self._box_frame.extend([frame] * len(names))
        self._box_class.extend(names)
        self._box_flags.extend(flags or bytes(len(names)))
        self._boxes[frame] = 1

    def shape(
        self,
        frame: int,
        name: str,
        points: Iterable[Iterable[float]],
        where: str,
        *,
        closed: bool,
        attributes: Mapping[str, Any] | None = None,
        types: str = "",
    ) -> None:
        """Adds an area (`closed`) or a line through (x, y) points, or the problem it has.

        `types` marks vertices of Bezier curves with C, as Scalabel does.
        """
        flat = [float(value) for point in points for value in point]
        least = 6 if closed else 4
        if not least <= len(flat) <= 2 * MOST_VERTICES or not all(abs(v) < REACH for v in flat):
            self.problem(frame, f"{where}: outline has too few, too many or infinite points")
            return
        kind, lane = AREA if closed else LINE, lane_bits(attributes or {})
        self.outline(frame, self.name(name, where), flat, kind, lane, types)
        self.annotated(frame, areas=closed, lines=not closed)

    def outline(
        self, frame: int, name: int, flat: Sequence[float], kind: int, lane: int, types: str = ""
    ) -> None:
        """Adds an outline that was checked, as x, y, x, y, ..."""
        self._vertex.extend(flat)
        count = len(flat) // 2
        self._vertices.append(self._vertices[-1] + count)
        whole = len(types) == count and "C" in types
        self._curve.extend([letter == "C" for letter in types] if whole else bytes(count))
        self._shape_frame.append(frame)
        self._shape_class.append(name)
        self._kind.append(kind)
        self._lane.append(lane)

    def encoding(self, value: Any) -> int:
        """The number of a way of storing masks, for `mask`: JSON-able, see masks.py."""
        if value not in self.encodings:
            self.encodings.append(value)
        return self.encodings.index(value)

    def mask(self, frame: int, task: str, path: str, code: int) -> None:
        """Gives the frame a mask; its first one counts."""
        self._masks.setdefault((frame, MASK_TASKS.index(task)), (path, code))

    def attribute(self, frame: int, group: str, value: str) -> None:
        """Sets one attribute of a frame."""
        values = self.groups.setdefault(group, {})
        self._values.setdefault(group, {})[frame] = values.setdefault(value, len(values))

    def table(self, key: Callable[[str], str] = str) -> Table:
        """Everything added; frames are ordered by `key` of their image."""
        count = len(self.images)
        box_frame, boxes = _sorted(self._box_frame)
        shape_frame, shapes = _sorted(self._shape_frame)
        vertex_start, vertices = _regrouped(np.array(self._vertices, np.int64), shapes)
        attributes = np.full((count, len(self.groups)), -1, np.int16)
        for column, group in enumerate(self.groups):
            for frame, value in self._values[group].items():
                attributes[frame, column] = value
        files = np.full((count, len(MASK_TASKS)), b"", object)
        codes = np.full((count, len(MASK_TASKS)), NO_MASK, np.int8)
        for place_, (path, code) in self._masks.items():
            files[place_], codes[place_] = os.fsencode(path), code
        for kind, number in self._left_out.items():
            if number > MOST_LISTED:
                more = f"{self.root}: {number - MOST_LISTED} more like these"
                self.unused.append((kind, more))
        return Table(
            texts={
                "splits": list(self.splits),
                "names": list(self.names),
                "first": self.first,
                "groups": {group: list(values) for group, values in self.groups.items()},
                "problems": self.problems,
                "unused": self.unused,
                "encodings": self.encodings,
            },
            images=np.array([os.fsencode(image) for image in self.images], "S"),
            order=np.array(sorted(range(count), key=[key(i) for i in self.images].__getitem__)),
            size_hw=np.array(self._size, np.int32).reshape(-1, 2),
            split=np.array(self.split_of, np.int8),
            relative=np.array(self.relative, bool),
            boxes=np.array(self._boxes, bool),
            areas=np.array(self._areas, bool),
            lines=np.array(self._lines, bool),
            box_start=np.searchsorted(box_frame, np.arange(count + 1)),
            box_xyxy=np.array(self._box, np.float32).reshape(-1, 4)[boxes],
            box_class=np.array(self._box_class, np.int16)[boxes],
            box_flags=np.array(self._box_flags, np.uint8)[boxes],
            shape_start=np.searchsorted(shape_frame, np.arange(count + 1)),
            shape_class=np.array(self._shape_class, np.int16)[shapes],
            shape_kind=np.array(self._kind, np.uint8)[shapes],
            shape_lane=np.array(self._lane, np.uint8)[shapes],
            vertex_start=vertex_start,
            vertex_xy=np.array(self._vertex, np.float64).reshape(-1, 2)[vertices],
            vertex_curve=np.array(self._curve, bool)[vertices],
            attributes=attributes,
            mask_file=np.array(files, "S"),
            mask_code=codes,
        )


def _sorted(frames: array) -> tuple[np.ndarray, np.ndarray]:
    """(frame of each row in order, the rows in that order)."""
    column = np.array(frames, np.int64)
    rows = np.argsort(column, kind="stable")
    return column[rows], rows


def _regrouped(ends: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(start of each group, rows) where groups [ends[i], ends[i + 1]) come in another order."""
    lengths = np.diff(ends)[groups]
    start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return start, np.repeat(ends[groups] - start[:-1], lengths) + np.arange(start[-1])


def one_line(text: str) -> str:
    """Escaped to printable characters and cut to LONGEST_LINE."""
    text = text if len(text) <= LONGEST_LINE else f"{text[: LONGEST_LINE - 3]}..."
    return text if text.isprintable() else ascii(text)[1:-1]


def place(where: str, part: object) -> str:
    """`where`, with the number or id of what is in it."""
    return f"{where} {part!s:.30}" if part != "" else where


def lane_bits(attributes: Mapping[str, Any]) -> int:
    """Style and direction of a lane's attributes; the unknown bit where they lack one."""
    style = str(attributes.get("laneStyle", attributes.get("style", "")))
    direction = str(attributes.get("laneDirection", attributes.get("direction", "")))
    if style in LANE_STYLES and direction in LANE_DIRECTIONS:
        return LANE_STYLES.index(style) << STYLE | LANE_DIRECTIONS.index(direction) << DIRECTION
    return UNTYPED
