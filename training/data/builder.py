"""Collects the labels of a folder as its reader comes to them, and gives them as a table."""

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from perception.errors import UserError
from training.data.bdd_names import lane_bits
from training.data.table import AREA, MASK_TASKS, NO_MASK, Table, whole_split

REACH: Final = 100_000  # pixels; no frame is larger
TOLERANCE: Final = 2.0  # pixels a box may stand outside: annotation tools round
FRACTION_TOLERANCE: Final = 0.01  # the same of boxes in fractions of the frame
OUTSIDE: Final = "is outside the frame"
UNDEFINED: Final = "undefined"  # an attribute that is not annotated, in BDD100K's files
MOST_LISTED: Final = 10_000  # problems; more are kept where they are the first of a frame
LONGEST_LINE: Final = 400
MOST_VERTICES: Final = 2000  # of one outline
MOST_VERTICES_OF_FRAME: Final = 200_000  # bounds the time that a wrong file takes to draw
# Columns that grow row by row, by the letters of their types in array.array.
COLUMNS: Final = {
    "size_hw": "i", "split": "b", "relative": "B", "boxes": "B", "areas": "B", "lines": "B",
    "box_frame": "q", "box_xyxy": "f", "box_class": "h", "box_flags": "B",
    "shape_frame": "q", "shape_class": "h", "shape_kind": "B", "shape_lane": "B",
    "vertex_start": "q", "vertex_xy": "d", "vertex_curve": "B",
}  # fmt: skip


class Builder:
    """Collects annotations frame by frame. A frame's number is what `frame` returned for it."""

    def __init__(self, root: Path, relative: bool = False) -> None:
        self.root, self._fractions = root, relative
        self.images: list[str] = []
        self.splits: dict[str, int] = {}
        self.names: dict[str, int] = {}
        self.first: dict[str, str] = {}
        self.problems: list[tuple[int, str]] = []
        self.unused: list[tuple[str, str]] = []
        self.groups: dict[str, dict[str, int]] = {}
        self.encodings: list[Any] = []
        self.masked = list(MASK_TASKS)
        self.columns: dict[str, Any] = {name: array(kind) for name, kind in COLUMNS.items()}
        self.columns["vertex_start"].append(0)
        # Masks and values of attributes by (frame, column).
        self._masks: dict[tuple[int, int], tuple[bytes, int]] = {}
        self._values: dict[tuple[int, int], int] = {}
        # Problems and vertices by frame, and by kind what is left out, also those not kept.
        self._counted: Counter[int] = Counter()
        self._vertices: Counter[int] = Counter()
        self._left_out: Counter[str] = Counter()
        self._numbers: dict[tuple[str, str], int] = {}

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
        self.columns["size_hw"].extend(size_hw)
        self.columns["split"].append(self.splits.setdefault(split, len(self.splits)))
        self.columns["relative"].append(self._fractions)
        for name in ("boxes", "areas", "lines"):
            self.columns[name].append(0)
        return number

    def annotated(self, frame: int, *kinds: str) -> None:
        """States that all "boxes", "areas" or "lines" of the frame are annotated, if there are
        any."""
        for kind in kinds:
            self.columns[kind][frame] = 1

    def size_hw(self, frame: int) -> tuple[int, int]:
        """The stated size of a frame; (0, 0): unknown."""
        height, width = self.columns["size_hw"][2 * frame : 2 * frame + 2]
        return height, width

    def problem(self, frame: int, text: str) -> None:
        """Something wrong; `whole_split` stands for no single frame. The first of each is kept."""
        self._counted[frame] += 1
        if len(self.problems) < MOST_LISTED or self._counted[frame] == 1:
            self.problems.append((frame, one_line(text)))

    def split_problem(self, split: str, text: str) -> None:
        """Something wrong with a whole split; the others can be used. "" is the whole folder."""
        number = self.splits.setdefault(split, len(self.splits)) if split else -1
        self.problem(whole_split(number), text)

    @contextmanager
    def part(self, *splits: str) -> Iterator[None]:
        """What is wrong in a part of the files is a problem of the splits that it belongs to."""
        try:
            yield
        except UserError as error:
            for split in splits:
                self.split_problem(split, str(error))

    def check_duplicates(self, name: Callable[[str], str]) -> None:
        """Notes two frames of a split that have the same name; `name`: of an image."""
        seen: dict[tuple[int, str], str] = {}
        splits = list(self.splits)
        for image, split in zip(self.images, self.columns["split"], strict=True):
            other = seen.setdefault((split, name(image)), image)
            if other != image:
                text = f"{other} and {image} are two frames of one name in two folders"
                self.split_problem(splits[split], f"{self.root}: {text}; rename one")

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
        if where:
            self.first.setdefault(name, where)
        return self.names.setdefault(name, len(self.names))

    def box(
        self, frame: int, name: str, xyxy: Iterable[float], where: str, flags: int = 0,
        part: object = "",
    ) -> None:  # fmt: skip
        """Adds a box, or the problem it has; `part` is its number or id in `where`."""
        x1, y1, x2, y2 = xyxy
        columns, wrong = self.columns, ""
        if columns["relative"][frame]:
            if min(x1, y1) < -FRACTION_TOLERANCE or max(x2, y2) > 1 + FRACTION_TOLERANCE:
                wrong = f"{OUTSIDE} (fractions of 0..1 expected)"
            x1, y1, x2, y2 = (min(max(value, 0.0), 1.0) for value in (x1, y1, x2, y2))
        height, width = columns["size_hw"][2 * frame : 2 * frame + 2]
        if not (-REACH < x1 < x2 < REACH and -REACH < y1 < y2 < REACH):
            wrong = wrong or "is empty or not finite"
        elif (
            x1 < -TOLERANCE or y1 < -TOLERANCE
            or (width and (x2 > width + TOLERANCE or y2 > height + TOLERANCE))
        ):  # fmt: skip
            corners = ", ".join(f"{value:.1f}" for value in (x1, y1, x2, y2))
            wrong = f"({corners}) {OUTSIDE}" + (f" of {width}x{height}" if width else "")
        if wrong:
            self.problem(frame, f"{place(where, part)}: box {wrong}; fix it")
            return
        number = self.names.get(name)
        if number is None or name not in self.first:
            number = self.name(name, place(where, part))
        columns["box_xyxy"].extend((x1, y1, x2, y2))
        columns["box_frame"].append(frame)
        columns["box_class"].append(number)
        columns["box_flags"].append(flags)
        columns["boxes"][frame] = 1

    def shape(
        self, frame: int, name: str, points: Iterable[Iterable[float]], where: str, kind: int, *,
        attributes: Any = None, types: str = "",
    ) -> None:  # fmt: skip
        """Adds an outline of a `kind` (AREA, LINE, MARKING) through (x, y) points, or the problem
        it has.

        `types` has a letter per vertex, C in Bezier curves, as Scalabel does; releases of BDD100K
        hold areas of two such vertices, which draw nothing.
        """
        flat = [float(value) for x, y in points for value in (x, y)]
        count = len(flat) // 2
        least = 3 if kind == AREA and not types else 2
        whole = not types or (len(types) == count and not set(types) - {"L", "C"})
        wrong = ""
        if not (least <= count <= MOST_VERTICES and whole and all(abs(v) <= REACH for v in flat)):
            wrong = "malformed outline: too few, too many or infinite points, or other types"
        elif (total := self._vertices[frame] + count) > MOST_VERTICES_OF_FRAME:
            wrong = f"more than {MOST_VERTICES_OF_FRAME} vertices in one frame"
        if wrong:
            self.problem(frame, f"{where}: {wrong}; fix it")
            return
        self._vertices[frame] = total
        columns = self.columns
        columns["vertex_xy"].extend(flat)
        columns["vertex_start"].append(columns["vertex_start"][-1] + count)
        columns["vertex_curve"].extend([letter == "C" for letter in types] or bytes(count))
        columns["shape_frame"].append(frame)
        columns["shape_class"].append(self.name(name, where))
        columns["shape_kind"].append(kind)
        columns["shape_lane"].append(lane_bits(attributes if isinstance(attributes, dict) else {}))
        self.annotated(frame, "areas" if kind == AREA else "lines")

    def encoding(self, value: Any) -> int:
        """The number of a way of storing masks, for `mask`: JSON-able, see masks.py."""
        if value not in self.encodings:
            self.encodings.append(value)
        return self.encodings.index(value)

    def mask(self, frame: int, task: str, path: str, code: int) -> None:
        """Gives the frame a mask, relative to the label root; its first one counts."""
        if task not in self.masked:
            self.masked.append(task)
        self._masks.setdefault((frame, self.masked.index(task)), (os.fsencode(path), code))

    def attribute(self, frame: int, group: str, value: Any) -> None:
        """Sets one attribute of a frame, if the value is a text that says something."""
        if not isinstance(value, str) or value in ("", UNDEFINED):
            return
        values = self.groups.setdefault(group, {})
        self._values[frame, [*self.groups].index(group)] = values.setdefault(value, len(values))

    def table(self, key: Callable[[str], str] = str) -> Table:
        """Everything added; frames are ordered by `key` of their image."""
        count = len(self.images)
        columns: dict[str, Any] = {
            name: np.array(column, column.typecode) for name, column in self.columns.items()
        }
        for name in ("relative", "boxes", "areas", "lines", "vertex_curve"):
            columns[name] = columns[name].astype(bool)
        for name, width in (("size_hw", 2), ("box_xyxy", 4), ("vertex_xy", 2)):
            columns[name] = columns[name].reshape(-1, width)
        box_start, boxes = _grouped(columns.pop("box_frame"), count)
        shape_start, shapes = _grouped(columns.pop("shape_frame"), count)
        columns["vertex_start"], vertices = _regrouped(columns["vertex_start"], shapes)
        rows = {"box": boxes, "shape": shapes, "vertex": vertices}
        for name in columns.keys() - {"vertex_start"}:
            owner = name.partition("_")[0]
            if owner in rows:
                columns[name] = columns[name][rows[owner]]
        attributes = np.full((count, len(self.groups)), -1, np.int16)
        for at, value in self._values.items():
            attributes[at] = value
        files = np.full((count, len(self.masked)), b"", object)
        codes = np.full((count, len(self.masked)), NO_MASK, np.int8)
        for at, (path, code) in self._masks.items():
            files[at], codes[at] = path, code
        for kind, number in self._left_out.items():
            if number > MOST_LISTED:
                more = f"{self.root}: {number - MOST_LISTED} more like these"
                self.unused.append((kind, more))
        lists = ("splits", "names", "problems", "unused", "encodings", "masked")
        texts: dict[str, Any] = {name: list(getattr(self, name)) for name in lists}
        texts["first"] = self.first
        texts["groups"] = {group: list(values) for group, values in self.groups.items()}
        return Table(
            texts=texts,
            images=np.array([os.fsencode(image) for image in self.images], "S"),
            order=np.array(sorted(range(count), key=[key(i) for i in self.images].__getitem__)),
            box_start=box_start,
            shape_start=shape_start,
            attributes=attributes,
            mask_file=np.array(files, "S"),
            mask_code=codes,
            **columns,
        )


def _grouped(frames: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(first row of each frame, the rows ordered by frame)."""
    rows = np.argsort(frames, kind="stable")
    return np.searchsorted(frames[rows], np.arange(count + 1)), rows


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
