"""The base class of every dataset: what must be implemented, and defaults for all the rest.

Loaders, unions, the evaluation and the checks use these members only, so a new dataset needs a
constructor that takes what `open_dataset` passes, `__len__` and `__getitem__`.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypedDict

import numpy as np

from perception.errors import UserError
from perception.images import IMAGE_SUFFIXES
from perception.runtime.view import MASK
from training.data.classes import OFFICIAL, ClassLists
from training.data.files import tree_digest, walk
from training.data.sample import Sample

MASK_CHECKSUMS: Final = "mask checksums"  # in `label_columns`: contents of mask files


class OpenOptions(TypedDict, total=False):
    """Keyword arguments of `open_dataset` and of the constructors of datasets."""

    exact: bool
    """Decode images whole, whatever size they will be scaled to."""
    strict: bool | None
    """Raise for wrong labels now (default), or only when their frame is read. None, for check-bdd:
    never for those of no single frame, which `problems` lists; frames without labels are kept."""
    labels: Path | None
    """Folder or file with the labels, where they are not under the root."""
    classes: ClassLists | None
    """Class lists of the run, for formats that have none of their own."""


class Dataset(ABC):
    """Labelled frames, at native size, indexed from 0."""

    labels: ClassVar[tuple[str, ...]] = ()
    """Tasks that datasets of this class can label."""
    tasks: tuple[str, ...]
    """Tasks that this dataset labels, on at least some of its frames."""
    classes: Mapping[str, dict[str, tuple[str, ...]]] = MappingProxyType({})
    """Class lists of tasks whose classes are not the official ones; see classes.py."""
    root: Path | None = None
    """Folder it was read from; None for generated data."""
    label_root: Path | None = None
    """Folder or file with the labels, where they are not under the root."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Image and labels of a frame. Raises UserError naming a file that cannot be used."""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Whether a folder looks like this dataset; False: it is only opened as KIND:DIR."""
        return False

    @classmethod
    def reader(
        cls, root: Path, labels: Path | None, classes: ClassLists | None
    ) -> Callable[..., Dataset]:
        """What `open_dataset` calls: this class, or that of a format with other classes."""
        return cls

    def name(self, index: int) -> str:
        """The frame's name without reading it."""
        return str(index)

    def presence(self) -> dict[str, np.ndarray]:
        """(len(self),) bool per trait: tasks with a label, "det/train", "weather/foggy".

        Read without the frames; by default every task on every frame.
        """
        return {task: np.ones(len(self), bool) for task in self.tasks}

    def label_paths(self) -> Sequence[Path | None]:
        """Files with labels of the frames; None: a frame has none of a kind. `label_columns` has
        their contents, so that a run is not resumed on others. By default any file of the folder
        that is no image."""
        if self.root is None:
            return []
        inside = [f"{folder}{name}" for folder, names in walk(self.root) for name in names]
        return [self.root / path for path in inside if not path.lower().endswith(IMAGE_SUFFIXES)]

    def label_columns(self) -> dict[str, np.ndarray]:
        """Labels known without reading the frames, as arrays; equal where the folder has moved."""
        paths = self.label_paths()
        if not paths:
            return {}
        sizes = [path.stat().st_size if path else 0 for path in paths]
        sums = [zlib.crc32(path.read_bytes()) if path else 0 for path in paths]
        return {"mask sizes": np.array(sizes), MASK_CHECKSUMS: np.array(sums, np.uint32)}

    def contents(self) -> dict[str, Any]:
        """Number of frames, SHA-256 of their names, labels and mask files, and class lists: a
        resumed run compares them with those it began with.

        No digest depends on where the folder is. Labels count as far as they are known without
        reading the frames: which labels and classes a frame has, and `label_columns`.
        """
        names = hashlib.sha256()
        for index in range(len(self)):
            names.update(self.name(index).encode() + b"\n")
        columns: dict[str, np.ndarray] = {**self.presence(), **self.label_columns()}
        labels, masks = hashlib.sha256(), hashlib.sha256()
        classes = json.dumps({task: dict(lists) for task, lists in self.classes.items()})
        for name, column in sorted(columns.items()):
            digest = masks if name.endswith(MASK_CHECKSUMS) else labels
            digest.update(f"{name} {column.dtype} {column.shape}\n".encode())
            digest.update(np.ascontiguousarray(column).tobytes())
        return {
            "frames": len(self),
            "names": names.hexdigest(),
            "labels": labels.hexdigest(),
            "masks": masks.hexdigest(),
            "classes": json.loads(classes),  # as a state gives them back: lists instead of tuples
        }

    def attributes(self, index: int) -> dict[str, str] | None:
        """Weather, scene and time of day of a frame; None: as in the sample's own labels."""
        return None

    def file(self, index: int) -> str:
        """What to call the frame in messages: its file where it has one of its own."""
        return self.name(index)

    def drive(self, index: int) -> str:
        """Which drive the frame is of, where its name tells: no drive may be in two splits."""
        return ""

    def used(self, task: str) -> dict[tuple[str, str], str]:
        """{(group, class): where it is} of the task's classes that labels have; the group is ""
        where the task has one list. By default all classes of a mask, for they cannot be known
        without reading the frames; none of lanes: one without a class is still a lane."""
        from perception.tasks import TASKS

        if task == "lane" or TASKS[task].view.kind != MASK:
            return {}
        groups = self.classes.get(task, OFFICIAL.get(task, {})).items()
        place = str(self.root or type(self).__name__)
        return {(group, name): place for group, names in groups for name in names}

    def written_classes(self, task: str) -> tuple[str, ...]:
        """Those classes of a task's list that the folder's own files name."""
        return self.annotated_classes(task) or self.classes.get(task, {}).get("", ())

    def annotated_classes(self, task: str) -> tuple[str, ...] | None:
        """Those classes of a task's list that are annotated here; None: all of them."""
        return None

    def notes(self) -> list[str]:
        """Sentences that must accompany any score on this data."""
        return []

    def problems(self) -> list[str]:
        """Problems of labels that are known without reading the frames: "file: what to do"."""
        return []

    def unused(self) -> list[tuple[str, str]]:
        """(kind, "file: what it is") of what is in the files and not used."""
        return []

    def fingerprint(self) -> str:
        """Identifies the content for caches: changes when files, split or tasks change."""
        files = tree_digest(dict.fromkeys(filter(None, (self.root, self.label_root))))
        split = getattr(self, "split", "")
        return f"{type(self).__name__} {files} {split} {len(self)} {self.tasks} {self.classes}"


def wanted_tasks(
    tasks: Sequence[str] | None, labelled: Mapping[str, bool], place: str
) -> tuple[str, ...]:
    """Those of `tasks` (None: all) that are labelled. Raises UserError where none is."""
    found = tuple(task for task in (labelled if tasks is None else tasks) if labelled.get(task))
    if tasks and not found:
        has = ", ".join(task for task, some in labelled.items() if some) or "none"
        raise UserError(f"{place} has no labels for {', '.join(tasks)}; it has {has}")
    return found
