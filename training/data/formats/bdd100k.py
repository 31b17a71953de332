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
from training.data.bdd_names import BOXES, area_name, lane_name
from training.data.builder import UNDEFINED, Builder, place
from training.data.classes import OFFICIAL, ClassLists
from training.data.files import names_in, nfc, stem_of
from training.data.formats import bdd_layouts as layouts
from training.data.formats.bdd_layouts import LabelSource
from training.data.formats.scalabel import add_box, add_outlines
from training.data.formats.yolo import class_names, name_files, read_lines
from training.data.images import Images, attribute_files
from training.data.table import AREA, LINE, MARKING

MOST_LABELS: Final = 10_000  # of a frame; a crowded one of the releases has 100
DRIVE_LETTERS: Final = 8  # of a name: frames of one drive
# Kinds of labels, and what a frame that has them is annotated with.
KINDS: Final = {"boxes": "boxes", "drivable": "areas", "lane": "lines"}


class BDD100K(Annotated):
    """Frames of one split that have a label of at least one of the tasks."""

    format = "BDD100K"
    every_image = False  # those of other splits are in other tables

    def __init__(self, root: Path, split: str, *args: Any, **options: Any) -> None:
        self.layout = layouts.find(Path(root), split, options.get("labels"))
        super().__init__(root, split, *args, **options)

    def stamped(self) -> Iterator[str | Path]:
        yield from (*self.layout.images, *(mask.folder for mask in self.layout.masks))
        yield from (*name_files(self.label_root), *attribute_files(self.label_root))
        for source in self.layout.labels:
            yield from dict.fromkeys((source.path, *source.files()))

    def identity(self) -> str:
        return f"{super().identity()} {self.split}"

    def own_lists(self) -> ClassLists:
        return ClassLists.official(OFFICIAL, renamed=True)

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

    def read(self, builder: Builder, images: Images) -> None:
        _Reader(self, builder).read()


class _Reader:
    """Reads every label file of the split once. Of two sources of a label the first wins."""

    def __init__(self, dataset: BDD100K, builder: Builder) -> None:
        self.layout, self.builder, self.label_root = dataset.layout, builder, dataset.label_root
        images = layouts.frames_of(dataset.root, self.layout, builder)
        self.frames = {stem: builder.frame(images[stem], dataset.split) for stem in sorted(images)}
        # Frames that have labels of a kind from an earlier source.
        self.done: dict[str, set[int]] = {kind: set() for kind in KINDS}
        self.with_attributes: set[int] = set()
        for name in DETECTION:
            builder.name(name)

    def read(self) -> None:
        for source in self.layout.labels:
            (self._yolo if source.suffix == ".txt" else self._scalabel)(source)
        for mask in self.layout.masks:
            prefix = os.path.relpath(mask.folder, self.label_root)
            code = self.builder.encoding(mask.encoding)
            for name in names_in(mask.folder, mask.suffix):
                frame = self.frames.get(nfc(name[: -len(mask.suffix)]))
                if frame is None:
                    self._orphan(mask.folder / name, name)
                elif not (mask.late and frame in self.done.get(mask.task, ())):
                    self.builder.mask(frame, mask.task, f"{prefix}/{name}", code)

    def _orphan(self, path: Path, name: str) -> None:
        self.builder.leave_out("label without frame", f"{path}: no image for {name}")

    def _scalabel(self, source: LabelSource) -> None:
        seen: set[int] = set()
        added: set[str] = set()
        for path, entry in self._entries(source):
            name = entry.get("name")
            if not isinstance(name, str) or not isinstance(entry.get("labels") or [], list):
                self.builder.problem(-1, f"{path}: a frame without a name or with broken labels")
                continue
            if name.startswith("/") or ".." in name.split("/"):
                self.builder.problem(-1, f"{path}: frame name {name!r} leaves its folder; fix it")
                continue
            stem = layouts.image_stem(name)
            frame = self.frames.get(stem)
            if frame is None:
                self._orphan(path, name)
            elif frame in seen:
                self.builder.problem(frame, f"{path}: frame {name} occurs twice; delete one")
            else:
                seen.add(frame)
                added |= self._frame(f"{path}: frame {stem}", frame, entry, source)
        for kind in source.kinds or added:
            self.done[kind] |= seen
            for frame in seen:
                self.builder.annotated(frame, KINDS[kind])

    def _entries(self, source: LabelSource) -> Iterator[tuple[Path, dict[str, Any]]]:
        """(file, frame) pairs; a damaged file is listed as a problem, and reading goes on."""
        whole = not source.suffix
        for path in source.files():
            try:
                for frame in stream.frames(path):
                    yield path, frame if whole else {"name": path.stem, **frame}
            except UserError as error:
                self.builder.problem(
                    -1 if whole else self.frames.get(stem_of(path.name), -1), str(error)
                )

    def _frame(
        self, where: str, frame: int, entry: dict[str, Any], source: LabelSource
    ) -> set[str]:
        """Adds the labels of a frame; returns the kinds of which it has some."""
        if entry.get("attributes") and frame not in self.with_attributes:
            self.with_attributes.add(frame)
            self._attributes(frame, entry["attributes"], where)
        labels = [label for label in entry.get("labels") or [] if isinstance(label, dict)]
        if len(labels) > MOST_LABELS:
            text = f"{where}: {len(labels)} labels, at most {MOST_LABELS} are read; fix it"
            self.builder.problem(frame, text)
            return set()
        kinds = {kind for kind in source.kinds or KINDS if frame not in self.done[kind]}
        added, where = set(), f"{where} label"
        for label in labels:
            if "boxes" in kinds and label.get("box2d") is not None:
                added.add("boxes")
                category = str(label.get("category"))
                if category in BOXES:
                    add_box(self.builder, frame, label, where, category)
                else:
                    text = f"unknown category {category!r:.60} (own ones: open scalabel:DIR)"
                    part = label.get("id", "?")
                    self.builder.problem(frame, f"{place(where, part)}: {text}")
            if label.get("poly2d") and kinds - {"boxes"}:
                category, attributes = str(label.get("category")), label.get("attributes")
                attributes = attributes if isinstance(attributes, dict) else {}
                kind, name = "drivable", area_name(category, attributes)
                if name is None:
                    kind, name = "lane", lane_name(category, attributes)
                if name is not None and kind in kinds:
                    shapes = (AREA, AREA) if kind == "drivable" else (MARKING, LINE)
                    if add_outlines(self.builder, frame, label, where, name, shapes):
                        added.add(kind)
        return added

    def _attributes(self, frame: int, attributes: Any, where: str) -> None:
        if not isinstance(attributes, dict):
            self.builder.problem(frame, f"{where}: attributes are no object; fix it")
            return
        for group, values in ATTRIBUTES.items():
            value = attributes.get(group, UNDEFINED)
            if value in values:
                self.builder.attribute(frame, group, value)
            elif value != UNDEFINED:
                known = ", ".join((*values, UNDEFINED))
                text = f"attribute {group} is {value!r:.60}; known: {known}; fix it"
                self.builder.problem(frame, f"{where}: {text}")

    def _yolo(self, source: LabelSource) -> None:
        classes = self._yolo_names()
        for path in source.files():
            frame = self.frames.get(stem_of(path.name))
            if frame is None:
                self._orphan(path, path.stem)
            elif frame not in self.done["boxes"]:
                self.done["boxes"].add(frame)
                self.builder.annotated(frame, "boxes")
                self.builder.columns["relative"][frame] = 1
                read_lines(self.builder, frame, path, classes, shapes=False)

    def _yolo_names(self) -> Sequence[str]:
        """The official order where there is no file of names."""
        for path in name_files(self.label_root):
            names = class_names(path)
            for name in names:
                if name not in BOXES:
                    known = ", ".join(DETECTION)
                    raise UserError(f"{path}: unknown class {name!r:.60}; known: {known}")
            return names
        return DETECTION
