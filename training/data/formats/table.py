"""Annotations of any format as flat columns: frames, boxes, outlines, masks, attributes.

A format's reader fills a `Builder`; the finished `Table` is kept in the cache folder, keyed by the
path, size and time of every label file, so that it is read again only when one changes.
"""

import contextlib
import hashlib
import json
import os
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from perception.classes import LANE_DIRECTION_SHIFT as DIRECTION
from perception.classes import LANE_DIRECTIONS, LANE_STYLES
from perception.classes import LANE_STYLE_SHIFT as STYLE
from perception.classes import LANE_TYPE_UNKNOWN as UNTYPED
from perception.errors import UserError
from perception.files import cache_folder, replacing
from perception.images import IMAGE_SUFFIXES
from training.data.bdd.table import IGNORE_FLAG, OCCLUDED_FLAG, TRUNCATED_FLAG
from training.data.files import stamp, walk

__all__ = ["IGNORE_FLAG", "OCCLUDED_FLAG", "TRUNCATED_FLAG", "Builder", "Table", "cached_table"]

FORMAT: Final = 3
MOST_PROBLEMS: Final = 10_000
MOST_VERTICES: Final = 2000  # of one outline
REACH: Final = 100_000  # pixels; no frame is larger
TOLERANCE: Final = 2.0  # pixels a box may stand outside: annotation tools round
OUTSIDE: Final = "is outside the frame"


@dataclass
class Table:
    """Columns over N frames, B boxes, P outlines and V vertices; class numbers index `names`."""

    texts: dict[str, Any]
    """images, splits, names, first (place of a name's first label), groups, problems, unused,
    masks."""
    size_hw: np.ndarray  # (N, 2) int32, 0 = not known before the image is read
    split: np.ndarray  # (N,) int8: number in `splits`
    boxes: np.ndarray  # (N,) bool: annotated with boxes, possibly none
    shapes: np.ndarray  # (N,) bool: annotated with outlines, possibly none
    box_start: np.ndarray  # (N + 1,) int64
    box_xyxy: np.ndarray  # (B, 4) float32, pixels, or fractions of the frame
    box_class: np.ndarray  # (B,) int16
    box_flags: np.ndarray  # (B,) uint8
    shape_start: np.ndarray  # (N + 1,) int64
    shape_class: np.ndarray  # (P,) int16
    shape_closed: np.ndarray  # (P,) bool: area, else line
    shape_lane: np.ndarray  # (P,) uint8: style and direction bits of a lane, or not annotated
    vertex_start: np.ndarray  # (P + 1,) int64
    vertex_xy: np.ndarray  # (V, 2) float32
    attributes: np.ndarray  # (N, groups) int16: value of each group, -1 = unknown

    def columns(self) -> dict[str, np.ndarray]:
        """The arrays by name."""
        return {name: value for name, value in vars(self).items() if name != "texts"}


class Builder:
    """Collects annotations frame by frame. A frame's number is what `frame` returned for it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images: list[str] = []
        self.splits: dict[str, int] = {}
        self.names: dict[str, int] = {}
        self.first: dict[str, str] = {}
        self.problems: list[tuple[int, str]] = []
        self.unused: list[tuple[str, str]] = []
        self.groups: dict[str, dict[str, int]] = {}
        self.masks: dict[str, Any] = {}
        self._values: dict[str, dict[int, int]] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._size, self._split = array("i"), array("b")
        self._boxes, self._shapes = array("B"), array("B")
        self._box, self._box_class = array("f"), array("h")
        self._box_frame, self._box_flags = array("q"), array("B")
        self._shape_frame, self._shape_class = array("q"), array("h")
        self._closed, self._lane = array("B"), array("B")
        self._vertex, self._vertices = array("f"), array("q", [0])

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
        self._split.append(self.splits.setdefault(split, len(self.splits)))
        self._boxes.append(0)
        self._shapes.append(0)
        return number

    def annotated(self, frame: int, boxes: bool = False, shapes: bool = False) -> None:
        """States that every box, or every outline, of the frame is annotated, even if none is."""
        self._boxes[frame] |= boxes
        self._shapes[frame] |= shapes

    def problem(self, frame: int, text: str) -> None:
        """Something wrong; -1 is no single frame."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append((frame, text[:400]))

    def leave_out(self, kind: str, text: str) -> None:
        """Something in the files that is not used: "label without frame", "file: what it is".

        check-bdd lists it; training goes on, and begins with a line about it.
        """
        if len(self.unused) < MOST_PROBLEMS:
            self.unused.append((kind, text[:400]))

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

    def boxes(self, frame: int, names: Sequence[int], xyxy: np.ndarray) -> None:
        """Adds boxes (N, 4) that were checked, of class numbers that `name` gave."""
        self._box.frombytes(xyxy.astype(np.float32).tobytes())
        self._box_frame.extend([frame] * len(names))
        self._box_class.extend(names)
        self._box_flags.extend(bytes(len(names)))
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
    ) -> None:
        """Adds an area (`closed`) or a line through (x, y) points, or the problem it has."""
        flat = [float(value) for point in points for value in point]
        least = 6 if closed else 4
        if not least <= len(flat) <= 2 * MOST_VERTICES or not all(abs(v) < REACH for v in flat):
            self.problem(frame, f"{where}: outline has too few, too many or infinite points")
            return
        self._vertex.extend(flat)
        self._vertices.append(len(self._vertex) // 2)
        self._shape_frame.append(frame)
        self._shape_class.append(self.name(name, where))
        self._closed.append(closed)
        self._lane.append(lane_bits(attributes or {}))
        self._shapes[frame] = 1

    def attribute(self, frame: int, group: str, value: str) -> None:
        """Sets one attribute of a frame."""
        values = self.groups.setdefault(group, {})
        self._values.setdefault(group, {})[frame] = values.setdefault(value, len(values))

    def table(self) -> Table:
        """Everything added, ordered by frame."""
        count = len(self.images)
        box_frame = np.array(self._box_frame, np.int64)
        boxes = np.argsort(box_frame, kind="stable")
        shape_frame = np.array(self._shape_frame, np.int64)
        shapes = np.argsort(shape_frame, kind="stable")
        ends = np.array(self._vertices, np.int64)
        vertices = np.array(self._vertex, np.float32).reshape(-1, 2)
        lengths = np.diff(ends)[shapes]
        pieces = [vertices[ends[shape] : ends[shape + 1]] for shape in shapes.tolist()]
        attributes = np.full((count, len(self.groups)), -1, np.int16)
        for column, group in enumerate(self.groups):
            for frame, value in self._values[group].items():
                attributes[frame, column] = value
        return Table(
            texts={
                "images": self.images,
                "splits": list(self.splits),
                "names": list(self.names),
                "first": self.first,
                "groups": {group: list(values) for group, values in self.groups.items()},
                "problems": self.problems,
                "unused": self.unused,
                "masks": self.masks,
            },
            size_hw=np.array(self._size, np.int32).reshape(-1, 2),
            split=np.array(self._split, np.int8),
            boxes=np.array(self._boxes, bool),
            shapes=np.array(self._shapes, bool),
            box_start=np.searchsorted(box_frame[boxes], np.arange(count + 1)),
            box_xyxy=np.array(self._box, np.float32).reshape(-1, 4)[boxes],
            box_class=np.array(self._box_class, np.int16)[boxes],
            box_flags=np.array(self._box_flags, np.uint8)[boxes],
            shape_start=np.searchsorted(shape_frame[shapes], np.arange(count + 1)),
            shape_class=np.array(self._shape_class, np.int16)[shapes],
            shape_closed=np.array(self._closed, bool)[shapes],
            shape_lane=np.array(self._lane, np.uint8)[shapes],
            vertex_start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            vertex_xy=np.concatenate(pieces) if pieces else np.zeros((0, 2), np.float32),
            attributes=attributes,
        )


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


def cached_table(
    reader: str, root: Path, sources: Iterable[Path], build: Callable[[], Table]
) -> tuple[Table, str]:
    """(the table, a digest of what it was read from): from the cache, else built and cached.

    `sources` are the label files and folders; of a folder, every entry counts. An image that comes
    or goes below the root counts too.
    """
    digest = hashlib.sha256(f"{FORMAT} {reader} {root.resolve()}".encode())
    for folder, _ in walk(root):
        digest.update(os.fsencode(stamp(f"{root}/{folder}")))
    for source in sources:
        for text in _stamps(source):
            digest.update(os.fsencode(text))
    key = digest.hexdigest()[:20]
    target = cache_folder() / "annotations" / f"{key}.npz"
    found = _load(target)
    if found is not None:
        return found, key
    table = build()
    texts = np.frombuffer(json.dumps(table.texts).encode(), np.uint8)
    with contextlib.suppress(OSError), replacing(target) as temporary:
        np.savez(temporary, texts=texts, **table.columns())  # type: ignore[arg-type]
    return table, key


def _stamps(source: Path) -> Iterable[str]:
    if source.exists():
        yield stamp(source)
    if source.is_dir():
        # The folder's own time changes when an image comes or goes.
        labels = [name for name in os.listdir(source) if not name.lower().endswith(IMAGE_SUFFIXES)]
        yield from (stamp(f"{source}/{name}") for name in sorted(labels))


def _load(target: Path) -> Table | None:
    """The cached table; None where it is absent or damaged."""
    try:
        with np.load(target, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        texts = json.loads(arrays.pop("texts").tobytes())
        for key in ("problems", "unused"):
            texts[key] = [tuple(item) for item in texts[key]]
        return Table(texts=texts, **arrays)
    except Exception:  # whatever a damaged file makes of it: it is built again
        return None
