"""The base class of every dataset in a folder: its reader fills a table, this makes samples of it.

Boxes label `det`; areas `drivable`, or `semantic` where only that has a class list; lines `lane`;
masks the task that they are for; frame attributes `scene`.
"""

import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from typing_extensions import Unpack

from perception.errors import NoFramesError, UserError
from perception.images import IMAGE_SUFFIXES, read_image
from perception.tasks.class_names import MOST_CLASSES
from training.data.builder import Builder
from training.data.classes import BACKGROUND, ONLY, ClassLists
from training.data.dataset import Dataset, OpenOptions, wanted_tasks
from training.data.files import split_folder, walk
from training.data.images import Images, attribute_files, images_root, read_attributes
from training.data.labels import Label
from training.data.sample import Sample
from training.data.table import AREA, Table, cached_table, whole_split
from training.data.table_labels import TableLabels, is_boxes, lists_of_table

VAL_SHARE: Final = 10  # the last tenth of the frames, where a format has no splits


class Annotated(Dataset):
    """One split of a folder. A subclass is an annotation format, or one published dataset.

    The classes are the folder's own: BDD100K's where it uses no other names. Without splits the
    last tenth of the frames, by name, is `val`.
    """

    labels: ClassVar[tuple[str, ...]] = ("det", "drivable", "lane", "scene", "semantic")
    format: ClassVar[str]
    """What the format is called in messages."""
    relative: ClassVar[bool] = False
    """Whether boxes and outlines are in fractions of the frame."""
    every_image: ClassVar[bool] = True
    """Whether images that no label file names are noted."""
    root: Path
    label_root: Path

    def __init__(
        self,
        root: Path,
        split: str,
        tasks: Sequence[str] | None = None,
        size_hw: tuple[int, int] | None = None,
        **options: Unpack[OpenOptions],
    ) -> None:
        self.root = self.place(Path(root))
        if not self.root.exists():
            raise UserError(f"{self.root}: no such folder; give the one with images and labels")
        self.split, self.label_root = split, options.get("labels") or self.root
        self.decode_size_hw = None if options.get("exact") else size_hw
        strict, classes = options.get("strict", True), options.get("classes")
        semantic = classes is not None and "semantic" in classes and "drivable" not in classes
        self.areas = "semantic" if semantic else "drivable"
        self.table = cached_table(self.identity(), self.stamped(), self._build)
        self.lists = self.own_lists()
        self.classes = {task: dict(groups) for task, groups in self.lists.groups.items()}
        self._labels = TableLabels(
            self.table, self.lists, self.root, self.label_root,
            relative=self.relative, train=split == "train",
        )  # fmt: skip
        self.frames = self._frames_of(split)
        mine = {-1, self._whole_split(), *self.frames.tolist()}
        self._problems = [item for item in self.table.texts["problems"] if item[0] in mine]
        for frame, text in self._problems:
            if strict or (frame < 0 and strict is not None):
                count = len(self._problems) - 1
                more = f" (and {count} more)" if count else ""
                raise UserError(f"{text}{more}; check-bdd {self.root} lists them all")
        self.bad = dict(reversed(self._problems))  # the first problem of each frame
        labelled = {task: self.labelled(task) for task in self._drawable(tasks or ())}
        some = {task: bool(has.any()) for task, has in labelled.items()}
        self.tasks = wanted_tasks(tasks, some, f"{self.root}: split {split!r}")
        self._has = {task: labelled[task][self.frames] for task in self.tasks}
        if self.tasks and strict is not None:
            keep = np.any(list(self._has.values()), axis=0)
            self.frames = self.frames[keep]
            self._has = {task: has[keep] for task, has in self._has.items()}
        if not len(self.frames):
            raise NoFramesError(
                f"{self.root}: no frame of split {split!r} has a label for {', '.join(self.tasks)}"
            )

    # What a format implements -----------------------------------------------------------------

    @abstractmethod
    def read(self, builder: Builder, images: Images) -> None:
        """Adds every frame of the folder, all splits. Raises UserError for an unusable folder."""

    @classmethod
    def place(cls, root: Path) -> Path:
        """The folder that holds the data: `root`, or one in it that the archive unpacks to."""
        return root

    @classmethod
    def sources(cls, root: Path) -> list[Path]:
        """The label files of a folder, or `root` if it is one, where a format has few of them."""
        return []

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return any(path.stat().st_size for path in cls.sources(root))

    def label_files(self) -> list[Path]:
        """As `sources`. Raises NoFramesError where there are none."""
        if files := self.sources(self.label_root):
            return files
        raise NoFramesError(f"{self.label_root}: no labels in {self.format} format in it")

    def stamped(self) -> Iterator[str | Path]:
        """The files and folders that the table depends on: when one changes, it is read again.

        A folder's time changes when an image comes or goes.
        """
        for place in dict.fromkeys((images_root(self.root), self.label_root)):
            yield place
            for folder, files in walk(place):
                yield f"{place}/{folder}"
                labels = (name for name in files if not name.lower().endswith(IMAGE_SUFFIXES))
                yield from (f"{place}/{folder}{name}" for name in labels)

    def identity(self) -> str:
        """Names the table among those of other readers and folders."""
        return f"{type(self).__name__} {self.root.resolve()} {self.label_root.resolve()}"

    def own_lists(self) -> ClassLists:
        """The class lists of the folder."""
        return lists_of_table(self.table, self.areas)

    def expected(self) -> str:
        """What the folder should contain for the split, for messages."""
        return f"labels in {self.format} format"

    def frame_name(self, image: str) -> str:
        """The name of a frame, of which a split has one."""
        return Path(image).stem

    def sort_key(self, image: str) -> Any:
        """What the frames are ordered by."""
        return image

    def labelled(self, task: str) -> np.ndarray:
        """(N,) bool over all frames of the table."""
        table = self.table
        if task == "scene":
            return np.asarray((table.attributes >= 0).any(1))
        if is_boxes(task) and task in self.lists:
            return table.boxes
        if task not in self.lists or task not in ("lane", self.areas):
            return table.has_mask(task)
        drawn = bool(((table.shape_kind == AREA) == (task != "lane")).any())
        return table.has_mask(task) | ((table.lines if task == "lane" else table.areas) & drawn)

    def image(self, path: Path) -> tuple[np.ndarray, tuple[int, int]]:
        """(uint8 (h, w, 3) BGR, native size_hw) of a frame; maybe decoded at a reduced size."""
        return read_image(path, self.decode_size_hw)

    def label(self, task: str, frame: int, size_hw: tuple[int, int]) -> Label:
        """The label of a frame of the table. Raises UserError naming the file."""
        return self._labels.label(task, frame, size_hw)

    # The interface of Dataset ------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        frame = int(self.frames[index])
        if frame in self.bad:
            raise UserError(self.bad[frame])
        path = self.root / self.table.image(frame)
        image, size_hw = self.image(path)
        stated = tuple(self.table.size_hw[frame].tolist())
        if stated != size_hw and all(stated):
            raise UserError(
                f"{path}: {size_hw[1]}x{size_hw[0]}, but its label says "
                f"{stated[1]}x{stated[0]}; restore the pair"
            )
        has = [task for task in self.tasks if self._has[task][index]]
        labels = {task: self.label(task, frame, size_hw) for task in has}
        return Sample(image, labels, self.name(index))

    def name(self, index: int) -> str:
        return self.frame_name(self.table.image(int(self.frames[index])))

    def file(self, index: int) -> str:
        return str(self.root / self.table.image(int(self.frames[index])))

    def attributes(self, index: int) -> dict[str, str] | None:
        codes = self.table.attributes[int(self.frames[index])].tolist()
        groups = self.table.texts["groups"].items()
        found = {g: values[c] for (g, values), c in zip(groups, codes, strict=True) if c >= 0}
        return dict.fromkeys(self.classes.get("scene", ()), "undefined") | found

    def presence(self) -> dict[str, np.ndarray]:
        traits = [self._labels.traits(task) for task in self.tasks]
        return self._has | {name: has[self.frames] for some in traits for name, has in some.items()}

    def problems(self) -> list[str]:
        return [text for _, text in self._problems]

    def unused(self) -> list[tuple[str, str]]:
        return self.table.texts["unused"]

    def label_paths(self) -> list[Path | None]:
        names = self.table.mask_file[self.frames].ravel()
        return [self.label_root / os.fsdecode(name) if name else None for name in names]

    def label_columns(self) -> dict[str, np.ndarray]:
        return self.table.columns() | super().label_columns()

    def annotated_classes(self, task: str) -> tuple[str, ...] | None:
        names = self.lists.groups.get(task, {}).get(ONLY)
        if names is None or self.table.has_mask(task).any():
            return None
        found = set(self._labels.class_tables[task].tolist())
        annotated = tuple(name for n, name in enumerate(names) if n in found or name == BACKGROUND)
        return None if annotated == names else annotated

    def used(self, task: str) -> dict[tuple[str, str], str]:
        return super().used(task) if (found := self._labels.used(task)) is None else found

    # Building ---------------------------------------------------------------------------------

    def _build(self) -> Table:
        builder = Builder(self.root, self.relative)
        images = Images(self.root)
        self.read(builder, images)
        if not builder.images:
            if builder.problems:
                raise UserError(builder.problems[0][1])
            why = "".join(f"; {text}" for _, text in builder.unused[:1])
            raise NoFramesError(f"{self.root}: no frames found{why}; expected {self.expected()}")
        builder.check_duplicates(self.frame_name)
        if self.every_image:
            self._unlisted(builder, images)
        for path in attribute_files(self.label_root):
            read_attributes(path, builder)
        return builder.table(self.sort_key)

    def _unlisted(self, builder: Builder, images: Images) -> None:
        """Notes images without labels, and frames of no split where others have one."""
        masks = "masks/" if builder.encodings else "\0"
        rest = sorted(set(images.paths) - set(builder.images))
        rest = [p for p in rest if split_folder(p) != "test" and not p.startswith(masks)]
        if rest:
            text = f"{rest[0]}: no label file names it (one of {len(rest)} images)"
            builder.leave_out("image without label", text)
        if both := sorted({*images.again} & {*builder.images}):
            text = f"{both[0]}: a link to another split (one of {len(both)} images): scores are on"
            builder.leave_out("one folder for both splits", f"{text} training frames")
        if "" in builder.splits and len(builder.splits) > 1:
            pairs = zip(builder.images, builder.columns["split"], strict=True)
            rest = [image for image, split in pairs if split == builder.splits[""]]
            text = f"{rest[0]}: in no split (one of {len(rest)} images)"
            builder.leave_out("image without split", text)

    def _frames_of(self, split: str) -> np.ndarray:
        """Numbers of the split's frames, ordered by name."""
        splits, order = self.table.texts["splits"], self.table.order
        if splits == [""]:
            cut = len(order) - max(1, len(order) // VAL_SHARE)
            parts = {"train": order[:cut], "val": order[cut:]}
        else:
            code = self.table.split[order]
            parts = {name: order[code == number] for number, name in enumerate(splits) if name}
        if not len(parts.get(split, ())):
            others = ", ".join(name for name, frames in parts.items() if len(frames))
            problems = self.table.texts["problems"]
            for frame, text in problems:
                if frame == self._whole_split():
                    raise UserError(text)
            why = "".join(f"; {text}" for frame, text in problems[:1] if frame == -1)
            why = f"it has {others}{why}; expected {self.expected()}"
            raise NoFramesError(f"{self.root}: no frames for split {split!r}; {why}")
        return parts[split]

    def _whole_split(self) -> int:
        """The frame that problems of the whole split have."""
        splits = self.table.texts["splits"]
        return whole_split(splits.index(self.split)) if self.split in splits else -1

    def _drawable(self, wanted: Sequence[str]) -> list[str]:
        """The tasks whose classes fit into a mask. Raises UserError for a wanted one."""
        tasks: list[str] = []
        for task in self.labels:
            groups = self.lists.groups.get(task, {})
            count = 0 if is_boxes(task) else len(groups.get(ONLY, ()))
            if count <= MOST_CLASSES:
                tasks.append(task)
            elif task in wanted:
                fix = "map some to one class with --classes"
                raise UserError(
                    f"{self.root}: {task}: {count} classes; at most {MOST_CLASSES}; {fix}"
                )
        return tasks
