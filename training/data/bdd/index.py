"""The index of one split: which frames there are, what each is labelled with, and all boxes.

Columns are flat numpy arrays, so that they can be written as .npy files, mapped into memory and
shared by every loader worker (cache.py).
"""

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from perception.classes import ATTRIBUTES, DETECTION
from perception.errors import UserError
from training.data.bdd import stream, yolo
from training.data.bdd.layouts import (
    SUFFIXES,
    LabelSource,
    Layout,
    MaskSource,
    frames_of,
    names_in,
    stem_of,
)
from training.data.bdd.table import TOLERANCE, LabelColumns, frame_attributes

NO_SOURCE: Final = -1
POLYGONS: Final = 100
MASK_TASKS: Final = ("drivable", "lane", "semantic")
# Priority: masks of the releases, then polygons, then masks that hold less.
BEFORE_POLYGONS: Final = ("masks", "2018")
# Bounds on untrusted files; a crowded frame of the releases has 100 labels.
MOST_LABELS: Final = 10_000
MOST_LISTED: Final = 10_000
LONGEST_LINE: Final = 400


@dataclass(frozen=True)
class Index:
    """Columns over N frames, B boxes, P polygons and V vertices."""

    stems: np.ndarray  # (N,) bytes, sorted
    image: np.ndarray  # (N, 2) uint8: image folder, suffix
    attributes: np.ndarray  # (N, 3) int8: class index or -1
    has_attributes: np.ndarray  # (N,) bool
    has_boxes: np.ndarray  # (N,) bool
    source: np.ndarray  # (N, 3) int8: mask source of MASK_TASKS, POLYGONS or NO_SOURCE
    box_rows: np.ndarray  # (N, 2) int64: start, count
    box_xyxy: np.ndarray  # (B, 4) float32
    box_class: np.ndarray  # (B,) int8
    box_flags: np.ndarray  # (B,) uint8
    relative: np.ndarray  # (N,) bool: boxes are in fractions of the frame
    drivable_rows: np.ndarray  # (N, 2) int64: rows of the polygon columns
    lane_rows: np.ndarray  # (N, 2) int64
    polygon_kind: np.ndarray  # (P,) uint8
    polygon_value: np.ndarray  # (P,) uint8
    vertex_start: np.ndarray  # (P + 1,) int64
    vertex_xy: np.ndarray  # (V, 2) float64
    vertex_curve: np.ndarray  # (V,) uint8
    problem_frame: np.ndarray  # (F,) int64: frame of each problem, -1 = of no frame
    problem_text: np.ndarray  # (F,) bytes
    orphans: np.ndarray  # (O,) bytes: "label file: frame" of labels without a frame

    def columns(self) -> dict[str, np.ndarray]:
        """All columns by name."""
        return {column.name: getattr(self, column.name) for column in fields(self)}

    def stem(self, frame: int) -> str:
        """The frame's name without suffix."""
        return self.stems[frame].decode()

    def image_path(self, frame: int, layout: Layout) -> Path:
        """The frame's file."""
        folder, suffix = self.image[frame].tolist()
        return layout.images[folder] / (self.stem(frame) + SUFFIXES[suffix])

    def boxes(self, frame: int, size_hw: tuple[int, int]) -> tuple[np.ndarray, list[str]]:
        """(K, 4) float32 corners in pixels, and a message for each box outside the frame."""
        start, count = self.box_rows[frame].tolist()
        xyxy = np.array(self.box_xyxy[start : start + count])
        limit = np.array(size_hw[::-1] * 2, np.float32)
        if self.relative[frame]:
            xyxy *= limit
        beyond = (xyxy > limit + TOLERANCE).any(1) | (xyxy[:, :2] >= limit[:2]).any(1)
        messages = [
            f"its {DETECTION[self.box_class[start + row]]} "
            f"({', '.join(f'{value:.1f}' for value in xyxy[row])}) is outside the "
            f"{size_hw[1]}x{size_hw[0]} frame; fix its label"
            for row in np.flatnonzero(beyond).tolist()
        ]
        return xyxy, messages

    def problems(self) -> list[tuple[int, str]]:
        """(frame, what is wrong) for each problem in the label files; -1: of no single frame."""
        texts = (text.decode() for text in self.problem_text)
        return list(zip(self.problem_frame.tolist(), texts, strict=True))


def build(layout: Layout) -> Index:
    """Reads every label file of the split once."""
    return _Builder(layout).index()


class _Builder:
    def __init__(self, layout: Layout) -> None:
        self.layout, self.table = layout, LabelColumns()
        images = frames_of(layout)
        self.stems = sorted(images)
        self.image = np.array([images[stem] for stem in self.stems], np.uint8).reshape(-1, 2)
        self.position = {stem: row for row, stem in enumerate(self.stems)}
        count = len(self.stems)
        self.attributes = np.full((count, len(ATTRIBUTES)), -1, np.int8)
        self.has_attributes = np.zeros(count, bool)
        self.has_boxes = np.zeros(count, bool)
        self.relative = np.zeros(count, bool)
        self.rows = {name: np.zeros((count, 2), np.int64) for name in ("boxes", *MASK_TASKS[:2])}
        self.drawn = {name: np.zeros(count, bool) for name in MASK_TASKS[:2]}
        self.problems: list[tuple[int, str]] = []
        self.counted: Counter[int] = Counter()  # problems by row, also those not kept
        self.orphans: list[str] = []
        self.unlisted = 0

    def index(self) -> Index:
        for source in self.layout.labels:
            if source.format == "yolo":
                self._read_yolo(source)
            else:
                self._read(source)
        table = self.table
        if self.unlisted:
            self.orphans.append(f"{self.layout.root}: {self.unlisted} more frames")
        frames, texts = zip(*self.problems, strict=True) if self.problems else ((), ())
        return Index(
            stems=np.array([stem.encode() for stem in self.stems], "S"),
            image=self.image,
            attributes=self.attributes,
            has_attributes=self.has_attributes,
            has_boxes=self.has_boxes,
            source=self._sources(),
            box_rows=self.rows["boxes"],
            box_xyxy=_array(table.box_xyxy, np.float32).reshape(-1, 4),
            box_class=_array(table.box_class, np.int8),
            box_flags=_array(table.box_flags, np.uint8),
            relative=self.relative,
            drivable_rows=self.rows["drivable"],
            lane_rows=self.rows["lane"],
            polygon_kind=_array(table.polygon_kind, np.uint8),
            polygon_value=_array(table.polygon_value, np.uint8),
            vertex_start=_array(table.vertex_start, np.int64),
            vertex_xy=_array(table.vertex_xy, np.float64).reshape(-1, 2),
            vertex_curve=_array(table.vertex_curve, np.uint8),
            problem_frame=np.array(frames, np.int64),
            problem_text=np.array([text.encode() for text in texts], "S"),
            orphans=np.array([text.encode() for text in self.orphans], "S"),
        )

    def _problem(self, row: int, text: str) -> None:
        """Keeps the first problem of every frame, and at most MOST_LISTED others."""
        self.counted[row] += 1
        if len(self.problems) < MOST_LISTED or (row >= 0 and self.counted[row] == 1):
            self.problems.append((row, _one_line(text)))

    def _orphan(self, path: Path, name: str) -> None:
        if len(self.orphans) < MOST_LISTED:
            self.orphans.append(_one_line(f"{path}: {name}"))
        else:
            self.unlisted += 1

    def _read(self, source: LabelSource) -> None:
        seen: dict[int, Path] = {}
        added = dict.fromkeys(self.rows, 0)
        for path, frame in self._frames_of(source):
            name = frame.get("name")
            if not isinstance(name, str) or not isinstance(frame.get("labels") or [], list):
                self._problem(-1, f"{path}: a frame without a name or with broken labels")
                continue
            if name.startswith("/") or ".." in name.split("/"):
                self._problem(-1, f"{path}: frame name {name!r} leaves its folder; fix it")
                continue
            row = self.position.get(stem_of(name))
            if row is None:
                self._orphan(path, name)
                continue
            if row in seen:
                self._problem(row, f"{path}: frame {name} occurs twice; delete one")
                continue
            seen[row] = path
            self._read_frame(path, row, frame, source.kinds, added)
        kinds = source.kinds or frozenset(name for name, count in added.items() if count)
        rows = list(seen)
        if "boxes" in kinds:
            self.has_boxes[rows] = True
        for name in self.drawn:
            if name in kinds:
                self.drawn[name][rows] = True

    def _frames_of(self, source: LabelSource) -> Iterator[tuple[Path, dict[str, Any]]]:
        """(file, frame) pairs; a damaged file is listed as a problem, and reading goes on."""
        whole = source.format == "scalabel"
        for path in [source.path] if whole else sorted(source.path.glob("*.json")):
            try:
                for frame in stream.frames(path):
                    yield path, frame if whole else {"name": path.stem, **frame}
            except UserError as error:
                row = -1 if whole else self.position.get(path.stem, -1)
                self._problem(row, str(error))

    def _read_frame(
        self,
        path: Path,
        row: int,
        frame: dict[str, Any],
        kinds: frozenset[str],
        added: dict[str, int],
    ) -> None:
        wrong: list[str] = []
        if frame.get("attributes") and not self.has_attributes[row]:
            self.attributes[row], wrong = frame_attributes(frame)
            self.has_attributes[row] = True
        labels = [label for label in frame.get("labels") or [] if isinstance(label, dict)]
        if len(labels) > MOST_LABELS:
            wrong.append(f"{len(labels)} labels, at most {MOST_LABELS} are read")
            labels = []
        table = self.table
        if (not kinds or "boxes" in kinds) and not self.has_boxes[row]:
            start = len(table.box_class)
            wrong += table.add_boxes(labels)
            self._set_rows("boxes", row, start, len(table.box_class), added)
        for name in self.drawn:
            if (not kinds or name in kinds) and not self.drawn[name][row]:
                start = len(table.polygon_kind)
                wrong += table.add_polygons(labels, frozenset({name}))
                self._set_rows(name, row, start, len(table.polygon_kind), added)
        stem = self.stems[row]
        for what in wrong:
            self._problem(row, f"{path}: frame {stem}: {what}; fix it")

    def _set_rows(self, name: str, row: int, start: int, stop: int, added: dict[str, int]) -> None:
        self.rows[name][row] = start, stop - start
        added[name] += stop - start

    def _read_yolo(self, source: LabelSource) -> None:
        classes = yolo.class_table(self.layout.root)
        for path in sorted(source.path.glob("*.txt")):
            row = self.position.get(path.stem)
            if row is None:
                self._orphan(path, path.stem)
            if row is None or self.has_boxes[row]:
                continue
            start = len(self.table.box_class)
            wrong = yolo.add_boxes(self.table, path, classes)
            self.rows["boxes"][row] = start, len(self.table.box_class) - start
            self.has_boxes[row] = self.relative[row] = True
            for what in wrong:
                self._problem(row, f"{path}: {what}; fix it")

    def _sources(self) -> np.ndarray:
        """(N, 3): for each frame and mask task the best source that has it."""
        chosen = np.full((len(self.stems), len(MASK_TASKS)), NO_SOURCE, np.int8)
        for column, task in enumerate(MASK_TASKS):
            masks = [
                (number, mask) for number, mask in enumerate(self.layout.masks) if mask.task == task
            ]
            early = [item for item in masks if item[1].name in BEFORE_POLYGONS]
            late = [item for item in masks if item[1].name not in BEFORE_POLYGONS]
            self._choose(chosen[:, column], early)
            if task in self.drawn:
                free = self.drawn[task] & (chosen[:, column] == NO_SOURCE)
                chosen[free, column] = POLYGONS
            self._choose(chosen[:, column], late)
        return chosen

    def _choose(self, column: np.ndarray, masks: list[tuple[int, MaskSource]]) -> None:
        for number, mask in masks:
            for name in names_in(mask.folder):
                if not name.endswith(mask.suffix):
                    continue
                row = self.position.get(name[: -len(mask.suffix)])
                if row is None:
                    self._orphan(mask.folder / name, name)
                elif column[row] == NO_SOURCE:
                    column[row] = number


def _one_line(text: str) -> str:
    """Escaped to printable characters and cut to LONGEST_LINE."""
    text = text if len(text) <= LONGEST_LINE else f"{text[: LONGEST_LINE - 3]}..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _array(column: array, dtype: Any) -> np.ndarray:
    return np.frombuffer(column, dtype) if len(column) else np.zeros(0, dtype)
