"""BDD100K in the layout of any of its releases; each frame has the labels that exist for it.

Cite: Yu et al., "BDD100K: A Diverse Driving Dataset for Heterogeneous Multitask Learning", 2020.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from perception.classes import ATTRIBUTES, DETECTION
from perception.errors import UserError
from training.data import stream
from training.data.annotated import Annotated
from training.data.bdd_names import BOXES, IGNORED, area_name, lane_name
from training.data.builder import Builder, lane_bits
from training.data.classes import OFFICIAL, ClassLists
from training.data.files import nfc, stem_of
from training.data.formats import bdd_layouts as layouts
from training.data.formats.bdd_labels import drawable, label_id, outlines, why_not
from training.data.formats.bdd_layouts import LabelSource
from training.data.formats.yolo import class_names, read_lines
from training.data.images import Images
from training.data.table import (
    AREA,
    IGNORE_FLAG,
    LINE,
    MARKING,
    OCCLUDED_FLAG,
    REACH,
    TOLERANCE,
    TRUNCATED_FLAG,
    Table,
)

# Bounds on untrusted files; a crowded frame of the releases has 100 labels.
MOST_LABELS: Final = 10_000
MOST_VERTICES_OF_FRAME: Final = 20_000
DRIVE_LETTERS: Final = 8  # of a name: frames of one drive
UNDEFINED: Final = "undefined"
KINDS: Final = ("boxes", "drivable", "lane")
NAME_FILES: Final = ("data.yaml", "dataset.yaml", "bdd100k.yaml", "classes.txt", "obj.names")


class BDD100K(Annotated):
    """Frames of one split that have a label of at least one of the tasks."""

    format = "BDD100K"

    def __init__(
        self, root: Path, split: str, *args: Any, labels: Path | None = None, **options: Any
    ) -> None:
        self.layout = layouts.find(Path(root), split, labels)
        super().__init__(root, split, *args, labels=labels, **options)

    def stamped(self) -> Iterator[str | Path]:
        yield from (*self.layout.images, *(mask.folder for mask in self.layout.masks))
        yield from (path for path in _name_files(self.label_root) if path.is_file())
        for source in self.layout.labels:
            yield source.path
            if source.path.is_dir():
                suffix = ".txt" if source.format == "yolo" else ".json"
                yield from layouts.files_in(source.path, suffix)

    def identity(self) -> str:
        return f"{super().identity()} {self.split}"

    def own_lists(self) -> ClassLists:
        return ClassLists.official(OFFICIAL)

    def sort_key(self, image: str) -> str:
        return image.rsplit("/", 1)[-1]

    def used(self, task: str) -> dict[tuple[str, str], str]:
        return {} if task == "lane" else super().used(task)

    def written_classes(self, task: str) -> tuple[str, ...]:
        return ()  # the list is BDD100K's, whatever part of it a folder shows

    def drive(self, index: int) -> str:
        """Which drive a frame is of; "" where its name does not tell."""
        name = self.name(index)
        return name[:DRIVE_LETTERS] if "-" in name else ""

    def _build(self) -> Table:
        builder = Builder(self.root)
        _Reader(self, builder).read()
        return builder.table(self.sort_key)

    def read(self, builder: Builder, images: Images) -> None:
        _Reader(self, builder).read()


class _Reader:
    """Reads every label file of the split once. Of two sources of a label the first wins."""

    def __init__(self, dataset: BDD100K, builder: Builder) -> None:
        self.layout, self.builder, self.label_root = dataset.layout, builder, dataset.label_root
        images = layouts.frames_of(self.layout, builder)
        self.frames = {stem: builder.frame(images[stem], dataset.split) for stem in sorted(images)}
        # Frames that have labels of a kind from an earlier source.
        self.done: dict[str, set[int]] = {kind: set() for kind in KINDS}
        self.with_attributes: set[int] = set()
        self.names = {name: builder.name(name) for name in DETECTION}
        self.boxes = {
            name: (self.names[known], IGNORE_FLAG if name in IGNORED else 0)
            for name, known in BOXES.items()
        }

    def read(self) -> None:
        for source in self.layout.labels:
            (self._yolo if source.format == "yolo" else self._scalabel)(source)
        for mask in self.layout.masks:
            prefix = os.path.relpath(mask.folder, self.label_root)
            code = self.builder.encoding(mask.encoding)
            for name in layouts.names_in(mask.folder):
                if not name.lower().endswith(mask.suffix):
                    continue
                frame = self.frames.get(nfc(name[: -len(mask.suffix)]))
                if frame is None:
                    self._orphan(mask.folder / name, name)
                elif not (mask.late and frame in self.done.get(mask.task, ())):
                    self.builder.mask(frame, mask.task, f"{prefix}/{name}", code)

    def _orphan(self, path: Path, name: str) -> None:
        self.builder.leave_out("label without frame", f"{path}: no image for {name}")

    def _scalabel(self, source: LabelSource) -> None:
        seen: set[int] = set()
        added = dict.fromkeys(KINDS, 0)
        for path, entry in self._entries(source):
            name = entry.get("name")
            if not isinstance(name, str) or not isinstance(entry.get("labels") or [], list):
                self.builder.problem(-1, f"{path}: a frame without a name or with broken labels")
                continue
            if name.startswith("/") or ".." in name.split("/"):
                self.builder.problem(-1, f"{path}: frame name {name!r} leaves its folder; fix it")
                continue
            frame = self.frames.get(layouts.image_stem(name))
            if frame is None:
                self._orphan(path, name)
            elif frame in seen:
                text = f"{path}: frame {name} occurs twice; delete one"
                self.builder.problem(frame, text)
            else:
                seen.add(frame)
                self._frame(
                    f"{path}: frame {layouts.image_stem(name)}", frame, entry, source, added
                )
        for kind in source.kinds or [kind for kind, count in added.items() if count]:
            self.done[kind] |= seen
            keyword = {"boxes": "boxes", "drivable": "areas", "lane": "lines"}[kind]
            for frame in seen:
                self.builder.annotated(frame, **{keyword: True})

    def _entries(self, source: LabelSource) -> Iterator[tuple[Path, dict[str, Any]]]:
        """(file, frame) pairs; a damaged file is listed as a problem, and reading goes on."""
        whole = source.format == "scalabel"
        for path in [source.path] if whole else layouts.files_in(source.path, ".json"):
            try:
                for frame in stream.frames(path):
                    yield path, frame if whole else {"name": path.stem, **frame}
            except UserError as error:
                self.builder.problem(
                    -1 if whole else self.frames.get(stem_of(path.name), -1), str(error)
                )

    def _frame(
        self, where: str, frame: int, entry: dict[str, Any], source: LabelSource,
        added: dict[str, int],
    ) -> None:  # fmt: skip
        wrong: list[str] = []
        if entry.get("attributes") and frame not in self.with_attributes:
            self.with_attributes.add(frame)
            wrong += self._attributes(frame, entry["attributes"])
        labels = [label for label in entry.get("labels") or [] if isinstance(label, dict)]
        if len(labels) > MOST_LABELS:
            wrong.append(f"{len(labels)} labels, at most {MOST_LABELS} are read")
            labels = []
        kinds = [kind for kind in source.kinds or KINDS if frame not in self.done[kind]]
        if "boxes" in kinds:
            added["boxes"] += self._boxes(frame, labels, where, wrong)
        if "drivable" in kinds or "lane" in kinds:
            self._polygons(frame, labels, where, wrong, kinds, added)
        for what in wrong:
            self.builder.problem(frame, f"{where}: {what}; fix it")

    def _attributes(self, frame: int, attributes: Any) -> list[str]:
        if not isinstance(attributes, dict):
            return ["attributes are no object"]
        wrong: list[str] = []
        for group, values in ATTRIBUTES.items():
            value = attributes.get(group, UNDEFINED)
            if value in values:
                self.builder.attribute(frame, group, value)
            elif value != UNDEFINED:
                known = ", ".join((*values, UNDEFINED))
                wrong.append(f"attribute {group} is {value!r:.60}; known: {known}")
        return wrong

    def _boxes(self, frame: int, labels: Sequence[Any], where: str, wrong: list[str]) -> int:
        """Adds every `box2d`; what is wrong with the others is appended to `wrong`."""
        # Runs for 1.5 million boxes: plain comparisons; the reason is found only for wrong boxes.
        numbers: list[int] = []
        corners: list[float] = []
        all_flags = bytearray()
        for label in labels:
            box = label.get("box2d")
            if box is None:
                continue
            try:
                x1, y1, x2, y2 = box["x1"], box["y1"], box["x2"], box["y2"]
                fits = x2 > x1 >= -TOLERANCE and y2 > y1 >= -TOLERANCE and x2 + y2 < REACH
                number, flags = self.boxes[label["category"]]
            except (KeyError, TypeError):
                fits = False
            if not fits:
                wrong.append(why_not(label, box))
                continue
            attributes = label.get("attributes")
            if isinstance(attributes, dict):
                if attributes.get("occluded"):
                    flags |= OCCLUDED_FLAG
                if attributes.get("truncated"):
                    flags |= TRUNCATED_FLAG
                if attributes.get("ignored") or attributes.get("crowd"):
                    flags |= IGNORE_FLAG
            corners += (x1, y1, x2, y2)
            numbers.append(number)
            all_flags.append(flags)
        if numbers:
            self.builder.boxes(frame, numbers, corners, bytes(all_flags))
            for number in set(numbers):
                self.builder.first.setdefault(DETECTION[number], where)
        return len(numbers)

    def _polygons(
        self, frame: int, labels: Sequence[Any], where: str, wrong: list[str],
        kinds: Sequence[str], added: dict[str, int],
    ) -> None:  # fmt: skip
        """Adds drivable areas and lanes, of the wanted kinds, in drawing order."""
        drawn = 0
        for label in labels:
            polygons = label.get("poly2d")
            if not polygons:
                continue
            category, attributes = str(label.get("category")), label.get("attributes")
            attributes = attributes if isinstance(attributes, dict) else {}
            kind, name = "drivable", area_name(category, attributes)
            if name is None:
                kind, name = "lane", lane_name(category, attributes)
            if name is None or kind not in kinds:
                continue
            for vertices, types, closed in outlines(polygons):
                drawn += len(vertices)
                if not drawable(vertices, types):
                    wrong.append(
                        f"poly2d {label_id(label)} ({category:.60}) has malformed vertices"
                    )
                elif drawn > MOST_VERTICES_OF_FRAME:
                    wrong.append(f"more than {MOST_VERTICES_OF_FRAME} vertices are drawn")
                    return
                else:
                    shape = AREA if kind == "drivable" else MARKING if closed else LINE
                    flat = [value for vertex in vertices for value in vertex]
                    number = self.builder.name(name, where)
                    bits = lane_bits(attributes)
                    self.builder.outline(frame, number, flat, shape, bits, types)
                    added[kind] += 1

    def _yolo(self, source: LabelSource) -> None:
        classes = [(BOXES[name], IGNORE_FLAG * (name in IGNORED)) for name in self._yolo_names()]
        for path in layouts.files_in(source.path, ".txt"):
            frame = self.frames.get(stem_of(path.name))
            if frame is None:
                self._orphan(path, path.stem)
            elif frame not in self.done["boxes"]:
                self.done["boxes"].add(frame)
                self.builder.annotated(frame, boxes=True)
                self.builder.relative[frame] = 1
                read_lines(self.builder, frame, path, classes, shapes=False)

    def _yolo_names(self) -> Sequence[str]:
        """The official order where there is no file of names."""
        path = next((path for path in _name_files(self.label_root) if path.is_file()), None)
        if path is None:
            return DETECTION
        names = class_names(path)
        for name in names:
            if name not in BOXES:
                known = ", ".join(DETECTION)
                raise UserError(f"{path}: unknown class {name!r:.60}; known: {known}")
        return names


def _name_files(root: Path) -> list[Path]:
    return [place / name for name in NAME_FILES for place in (root, root / "labels")]
