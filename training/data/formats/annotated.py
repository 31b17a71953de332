"""The dataset behind every annotation format: a reader fills a table, this makes samples of it.

Boxes label `det`; areas `drivable`, or `semantic` where the class lists have that; lines `lane`;
masks the task that their palette is for; frame attributes `scene`.
"""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from perception.errors import NoFramesError, UserError
from perception.images import read_image
from perception.tasks.class_names import MOST_CLASSES
from training.data.classes import BACKGROUND, ONLY, UNKNOWN, ClassLists
from training.data.dataset import Dataset, bad_frames, wanted_tasks
from training.data.files import split_folder, tree_digest
from training.data.formats.class_lists import check_classes, class_tables, lists_of_table
from training.data.formats.images import Images, attribute_files, check_duplicates, read_attributes
from training.data.formats.table import Builder, Table, cached_table
from training.data.formats.table_labels import TableLabels
from training.data.labels import Label
from training.data.sample import Sample

VAL_SHARE: Final = 10  # the last tenth of the frames, where a format has no splits


class Annotated(Dataset):
    """One split of a folder in an annotation format. A subclass is a format.

    `classes` are the lists of the run; without them they are the folder's own: BDD100K's where it
    uses no other names. Without splits the last tenth of the frames, by name, is `val`.
    """

    labels = ("det", "drivable", "lane", "scene", "semantic")
    options = ("labels", "classes")
    format: ClassVar[str]
    """What the format is called in messages."""
    relative: ClassVar[bool] = False
    """Whether boxes and outlines are in fractions of the frame."""

    def __init__(
        self,
        root: Path,
        split: str,
        tasks: Sequence[str] | None = None,
        decode_size_hw: tuple[int, int] | None = None,
        *,
        strict: bool = True,
        labels: Path | None = None,
        classes: ClassLists | None = None,
    ) -> None:
        self.root: Path = Path(root)
        if not self.root.exists():
            raise UserError(f"{self.root}: no such folder")
        self.label_root = labels or self.root
        self.split, self.decode_size_hw = split, decode_size_hw
        sources = [*self.sources(self.label_root), *attribute_files(self.label_root)]
        name = f"{type(self).__name__} {self.label_root.resolve()}"
        self.table, self.key = cached_table(name, self.root, sources, self._build)
        self.lists = lists_of_table(self.table, classes)
        self.classes = {task: dict(groups) for task, groups in self.lists.groups.items()}
        self._tables = class_tables(self.table, self.lists)
        self._labels = TableLabels(
            self.table, self.lists, self._tables, self.root, self.label_root, split, self.relative
        )
        self.frames = self._frames_of(split)
        self.bad = bad_frames(self._problems(), strict, self.root)
        labelled = {task: self._labelled(task) for task in self._drawable(tasks or ())}
        names = self.labels if tasks is None else tuple(labelled)
        check_classes(self.table, self.lists, classes, self._tables, tasks or names, self.root)
        some = {task: bool(labelled[task].any()) for task in names if task in labelled}
        self.tasks = wanted_tasks(tasks, some, f"{self.root}: split {split!r}")
        self._has = {task: labelled[task][self.frames] for task in self.tasks}
        if self.tasks:
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
    @abstractmethod
    def sources(cls, root: Path) -> list[Path]:
        """Label files and folders: when one changes, the folder is read again."""

    # The interface of Dataset ------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        frame = int(self.frames[index])
        if frame in self.bad:
            raise UserError(self.bad[frame])
        image, size_hw = read_image(self._labels.image_path(frame), self.decode_size_hw)
        stated = tuple(self.table.size_hw[frame].tolist())
        if stated != size_hw and all(stated):
            raise UserError(
                f"{self._labels.image_path(frame)}: {size_hw[1]}x{size_hw[0]}, but its label says "
                f"{stated[1]}x{stated[0]}; restore the pair"
            )
        labels: dict[str, Label] = {}
        for task in self.tasks:
            if self._has[task][index]:
                labels[task] = self._labels.label(task, frame, size_hw)
        return Sample(image, labels, self.name(index))

    def name(self, index: int) -> str:
        return Path(self.table.texts["images"][int(self.frames[index])]).stem

    def attributes(self, index: int) -> dict[str, str] | None:
        codes = self.table.attributes[int(self.frames[index])].tolist()
        groups = self.table.texts["groups"].items()
        return {g: values[c] for (g, values), c in zip(groups, codes, strict=True) if c >= 0}

    def presence(self) -> dict[str, np.ndarray]:
        found = dict(self._has)
        if "det" in self.tasks:
            shown = self._shown_classes()
            names = self.lists.names("det")
            found |= {f"det/{name}": shown[:, number] for number, name in enumerate(names)}
        if "scene" in self.tasks:
            for column, (group, values) in enumerate(self.table.texts["groups"].items()):
                codes = self.table.attributes[self.frames, column]
                found |= {f"{group}/{value}": codes == code for code, value in enumerate(values)}
        return found

    def notes(self) -> list[str]:
        used = {*self.table.box_class.tolist(), *self.table.shape_class.tolist()}
        tables = self._tables.values()
        unknown = [n for n in sorted(used) if all(table[n] == UNKNOWN for table in tables)]
        return self.lists.left_out([self.table.texts["names"][number] for number in unknown])

    def problems(self) -> list[str]:
        return [text for _, text in self._problems()]

    def unused(self) -> list[tuple[str, str]]:
        return self.table.texts["unused"]

    def fingerprint(self) -> str:
        files = tree_digest((self.root, self.label_root))
        return f"{self.key} {files} {self.split} {self.tasks} {self.lists}"

    def label_columns(self) -> dict[str, np.ndarray]:
        return self.table.columns()

    def annotated_classes(self, task: str) -> tuple[str, ...] | None:
        names = self.lists.groups.get(task, {}).get(ONLY)
        if names is None or task in self.table.texts["masks"]:
            return None
        found = set(self._tables[task].tolist())
        annotated = tuple(name for n, name in enumerate(names) if n in found or name == BACKGROUND)
        return None if annotated == names else annotated

    # Building ---------------------------------------------------------------------------------

    def _build(self) -> Table:
        builder = Builder(self.root)
        images = Images(self.root)
        self.read(builder, images)
        if not builder.images:
            raise NoFramesError(f"{self.root}: no frames found in {self.format} format")
        check_duplicates(builder)
        self._unlisted(builder, images)
        for path in attribute_files(self.label_root):
            read_attributes(path, builder)
        return builder.table()

    def _unlisted(self, builder: Builder, images: Images) -> None:
        """Notes images without labels, and frames of no split where others have one."""
        known = set(builder.images)
        rest = [path for path in images.paths if path not in known and split_folder(path) != "test"]
        if rest:
            text = f"{rest[0]}: no label file names it (one of {len(rest)} images)"
            builder.leave_out("image without label", text)
        if "" in builder.splits and len(builder.splits) > 1:
            number = builder.splits[""]
            pairs = zip(builder.images, builder._split, strict=True)
            rest = [image for image, split in pairs if split == number]
            text = f"{rest[0]}: in no split (one of {len(rest)} images)"
            builder.leave_out("image without split", text)

    def _frames_of(self, split: str) -> np.ndarray:
        """Numbers of the split's frames, ordered by name."""
        splits = self.table.texts["splits"]
        images = self.table.texts["images"]
        order = np.array(sorted(range(len(images)), key=images.__getitem__), np.int64)
        if splits == [""]:
            cut = len(order) - max(1, len(order) // VAL_SHARE)
            parts = {"train": order[:cut], "val": order[cut:]}
        else:
            code = self.table.split[order]
            parts = {name: order[code == number] for number, name in enumerate(splits) if name}
        if not len(parts.get(split, ())):
            others = ", ".join(name for name, frames in parts.items() if len(frames))
            raise NoFramesError(f"{self.root}: no frames for split {split!r}; it has {others}")
        return parts[split]

    def _problems(self) -> list[tuple[int, str]]:
        """(frame, what is wrong) of the split's frames; -1: of the whole folder."""
        mine = {-1, *self.frames.tolist()}
        return [(frame, text) for frame, text in self.table.texts["problems"] if frame in mine]

    def _drawable(self, wanted: Sequence[str]) -> list[str]:
        """The tasks whose classes fit into a mask. Raises UserError for a wanted one."""
        tasks: list[str] = []
        for task, groups in self.lists.groups.items():
            count = len(groups.get(ONLY, ())) if task != "det" else 0
            if count <= MOST_CLASSES:
                tasks.append(task)
            elif task in wanted:
                fix = "map some to one class with --classes"
                raise UserError(
                    f"{self.root}: {task}: {count} classes; at most {MOST_CLASSES}; {fix}"
                )
        return tasks

    def _labelled(self, task: str) -> np.ndarray:
        """(N,) bool over all frames of the table."""
        table = self.table
        if task in table.texts["masks"]:
            files = table.texts["masks"][task]["files"]
            return np.array([bool(files[frame]) for frame in range(len(table.split))], bool)
        if task == "det":
            return table.boxes
        if task == "scene":
            return np.asarray((table.attributes >= 0).any(1))
        closed = task != "lane"
        usable = self._tables[task] != UNKNOWN
        any_shape = bool((table.shape_closed == closed)[usable[table.shape_class]].any())
        return table.shapes & any_shape

    def _shown_classes(self) -> np.ndarray:
        starts, classes = self.table.box_start, self._tables["det"][self.table.box_class]
        frame = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        shown = np.zeros((len(starts) - 1, len(self.lists.names("det"))), bool)
        shown[frame[classes >= 0], classes[classes >= 0]] = True
        return shown[self.frames]


def as_object(value: Any, where: str) -> dict[str, Any]:
    """`value` where it is an object of a JSON file; else UserError."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected an object, found {type(value).__name__}; fix it")
    return value
