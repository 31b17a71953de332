"""Base class of datasets that are a list of files per split."""

import re
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perception.errors import NoFramesError
from perception.images import IMAGE_SUFFIXES
from training.data.dataset import Dataset, wanted_tasks
from training.data.files import walk
from training.data.sample import Sample


class FolderDataset(Dataset):
    """Frames of one split of a folder; `tasks` are those of the wanted ones that it labels.

    Images may be decoded no larger than `decode_size_hw` needs; labels stay at native size.
    Labels are read with their frame, so `strict` changes nothing. Raises UserError naming the
    folder and what to do.
    """

    root: Path

    def __init__(
        self,
        root: Path,
        split: str,
        tasks: Sequence[str] | None = None,
        decode_size_hw: tuple[int, int] | None = None,
        *,
        strict: bool | None = True,
    ) -> None:
        self.root = self.place(Path(root))
        self.split, self.decode_size_hw = split, decode_size_hw
        labelled = dict.fromkeys(self.labels, True)
        self.tasks = wanted_tasks(tasks, labelled, f"{root}: {type(self).__name__}")
        self.frames: Sequence[Any] = self.find()
        if not len(self.frames):
            raise NoFramesError(f"{self.root}: no frames for split {split!r}; {self.expected()}")

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        return self.read(self.frames[index])

    def name(self, index: int) -> str:
        frame = self.frames[index]
        return frame.stem if isinstance(frame, Path) else str(frame)

    def file(self, index: int) -> str:
        return str(self.frames[index])

    @classmethod
    def place(cls, root: Path) -> Path:
        """The folder that holds the data: `root`, or a folder in it that the archive unpacks to."""
        return root

    @abstractmethod
    def find(self) -> Sequence[Any]:
        """The split's frames that have a label of one of the tasks, sorted."""

    @abstractmethod
    def expected(self) -> str:
        """What the folder should contain, for the error message."""

    @abstractmethod
    def read(self, frame: Any) -> Sample:
        """Reads one of the frames that `find` returned."""

    def label_files(self, frame: Any) -> dict[str, Path]:
        """{task: file} of where a frame's labels are, if it has them. By default the labels are in
        any file of the folder that is no image."""
        return {}

    def found(self, frame: Any) -> dict[str, Path]:
        """Those of `label_files` that exist, of the wanted tasks."""
        files = self.label_files(frame).items()
        return {task: path for task, path in files if task in self.tasks and path.is_file()}

    def presence(self) -> dict[str, np.ndarray]:
        has = [self.found(frame) for frame in self.frames]
        if not any(has):
            return super().presence()
        return {task: np.array([task in files for files in has]) for task in self.tasks}

    def label_paths(self) -> list[Path | None]:
        has = [self.found(frame) for frame in self.frames]
        if any(has):
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
