"""Base class of datasets that are a list of files per split."""

import os
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from perception.errors import NoFramesError, UserError
from perception.images import IMAGE_SUFFIXES, read_image
from training.data.classes import ClassLists
from training.data.dataset import Dataset, wanted_tasks
from training.data.files import walk
from training.data.labels import Label
from training.data.sample import Sample


class FolderDataset(Dataset):
    """Frames of one split of a folder; `tasks` are those of the wanted ones that it labels.

    Images may be decoded no larger than `decode_size_hw` needs; labels stay at native size.
    Labels are read with their frame, so `strict` changes nothing; the classes are the dataset's
    own. Raises UserError naming the folder and what to do.
    """

    root: Path
    places: ClassVar[Mapping[str, str]] = {}
    """Where the label of each task is: a path with {split}, {folder} (the image's) and {stem}. By
    default labels are in any file of the folder that is no image."""

    def __init__(
        self,
        root: Path,
        split: str,
        tasks: Sequence[str] | None = None,
        decode_size_hw: tuple[int, int] | None = None,
        *,
        strict: bool | None = True,
        labels: Path | None = None,
        classes: ClassLists | None = None,
    ) -> None:
        if labels is not None:
            name = type(self).__name__
            raise UserError(f"--labels {labels}: {name} expects labels and images together")
        self.root = self.place(Path(root))
        self.split, self.decode_size_hw = split, decode_size_hw
        labelled = dict.fromkeys(self.labels, True)
        self.tasks = wanted_tasks(tasks, labelled, f"{root}: {type(self).__name__}")
        found = self.find()
        has = [not self.places or bool(self.label_files(frame)) for frame in found]
        self.frames: Sequence[Any] = list(compress(found, has))
        self.without_label = [frame for frame, some in zip(found, has, strict=True) if not some]
        if not len(self.frames):
            raise NoFramesError(f"{self.root}: no frames for split {split!r}; {self.expected()}")

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        return self.read(self.frames[index])

    def name(self, index: int) -> str:
        frame = self.frames[index]
        return self.name_of(frame) if isinstance(frame, Path) else str(frame)

    def file(self, index: int) -> str:
        return str(self.frames[index])

    @classmethod
    def place(cls, root: Path) -> Path:
        """The folder that holds the data: `root`, or a folder in it that the archive unpacks to."""
        return root

    @abstractmethod
    def find(self) -> Sequence[Any]:
        """The split's frames, sorted. Those for which no file of `places` exists are left out."""

    @abstractmethod
    def expected(self) -> str:
        """What the folder should contain, for the error message."""

    def read(self, frame: Any) -> Sample:
        """Reads one of the frames that `find` returned; by default with the labels of `places`."""
        image, size_hw = self.image(frame)
        files = self.label_files(frame).items()
        labels = {task: self.label(task, path, size_hw) for task, path in files}
        return Sample(image, labels, self.name_of(frame))

    def image(self, frame: Path) -> tuple[np.ndarray, tuple[int, int]]:
        """(uint8 (h, w, 3) BGR, native size_hw) of a frame."""
        return read_image(frame, self.decode_size_hw)

    def label(self, task: str, path: Path, size_hw: tuple[int, int]) -> Label:
        """The label of a task in its file, for a frame of `size_hw`."""
        raise NotImplementedError

    def name_of(self, frame: Path) -> str:
        """The name of a frame in samples."""
        return self.stem(frame)

    def part(self) -> str:
        """What the folder calls the split."""
        return self.split

    def stem(self, frame: Path) -> str:
        """What the names of an image and of its label files have in common."""
        return frame.stem

    def label_files(self, frame: Path) -> dict[str, Path]:
        """{task: file} of a frame's labels: those of `places` that exist, of the wanted tasks."""
        words = {"split": self.part(), "folder": frame.parent.name, "stem": self.stem(frame)}
        wanted = {task: place for task, place in self.places.items() if task in self.tasks}
        files = {task: self.root / place.format(**words) for task, place in wanted.items()}
        # Unlike Path.is_file, this takes a name of any length.
        return {task: path for task, path in files.items() if os.path.isfile(path)}

    def presence(self) -> dict[str, np.ndarray]:
        if not self.places:
            return super().presence()
        has = [self.label_files(frame) for frame in self.frames]
        return {task: np.array([task in files for files in has]) for task in self.tasks}

    def unused(self) -> list[tuple[str, str]]:
        if not self.places:
            return []
        found = [("image without label", f"{frame}: no label") for frame in self.without_label]
        used = {path for frame in self.frames for path in self.label_files(frame).values()}
        words = {"split": self.part(), "folder": "*", "stem": "*"}
        for place in {place for task, place in self.places.items() if task in self.tasks}:
            spare = set(self.root.glob(place.format(**words))) - used
            kind = "label without frame"
            found += [(kind, f"{path}: no image of this name") for path in sorted(visible(spare))]
        return found

    def label_paths(self) -> list[Path | None]:
        if self.places:
            has = [self.label_files(frame) for frame in self.frames]
            return [files.get(task) for files in has for task in self.tasks]
        inside = (f"{folder}{name}" for folder, files in walk(self.root) for name in files)
        return [self.root / path for path in inside if not path.lower().endswith(IMAGE_SUFFIXES)]


def deeper(root: Path, *names: str) -> Path:
    """The first of the subfolders that exists, else the folder itself."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def by_number(paths: Sequence[Path]) -> list[Path]:
    """Sorted so that 2.npy comes before 10.npy."""
    return sorted(paths, key=lambda path: [int(n) for n in re.findall(r"\d+", path.stem)] or [0])


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder, sorted by name."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(visible(found))


def visible(paths: Iterable[Path]) -> list[Path]:
    """Without names that begin with a dot: macOS writes `._NAME` next to every file."""
    return [path for path in paths if not path.name.startswith(".")]
