"""Sources of frames: the base class, folders of images, and endless repetition."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perception.errors import UserError
from perception.files import read_bounded
from perception.images import IMAGE_SUFFIXES, MAX_BYTES, decode
from perception.runtime.letterbox import as_bgr

FOLDER_FPS = 10.0
MAX_PROBLEMS = 20


@dataclass
class SourceFrame:
    """One picture and its place in the source."""

    image: np.ndarray  # uint8 (H, W, 3) BGR
    index: int
    seconds: float  # since the source's first frame
    name: str


class Source(ABC):
    """Frames in order. `problems` holds one line for each part that could not be read."""

    live = False  # a live source does not wait: a slow consumer gets the newest frame
    still = False  # unrelated pictures: nothing is tracked from one to the next
    reconnects = 0  # times a live source was opened again

    def __init__(self, name: str, fps: float, count: int | None) -> None:
        self.name, self.fps, self.count = name, fps, count
        self.problems: list[str] = []

    @abstractmethod
    def __iter__(self) -> Iterator[SourceFrame]: ...

    def close(self) -> None:
        """Ends a live source's iteration; a file ends by itself."""
        return

    def complain(self, line: str) -> None:
        """Adds a problem, up to MAX_PROBLEMS."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(line)


class ImageFolder(Source):
    """The images of a folder in natural order (frame2 before frame10), or a single image."""

    still = True

    def __init__(self, path: Path) -> None:
        self.paths = [path] if path.is_file() else _images(path)
        if not self.paths:
            raise UserError(f"{path}: no images in it ({', '.join(IMAGE_SUFFIXES)})")
        super().__init__(path.name, FOLDER_FPS, len(self.paths))

    def __iter__(self) -> Iterator[SourceFrame]:
        for index, path in enumerate(self.paths):
            try:
                image = as_bgr(decode(read_bounded(path, MAX_BYTES)))
            except (UserError, ValueError) as error:
                reason = str(error).removeprefix(f"{path}: ")
                self.complain(f"{path}: not a usable image ({reason}); left out")
                continue
            yield SourceFrame(image, index, index / self.fps, path.name)


class Looped(Source):
    """A file or folder repeated without end; time and index continue."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.name, source.fps, None)
        self.source, self.problems, self.still = source, source.problems, source.still

    def __iter__(self) -> Iterator[SourceFrame]:
        index, offset = 0, 0.0
        while True:
            last = offset
            for frame in self.source:
                last = offset + frame.seconds
                yield SourceFrame(frame.image, index, last, frame.name)
                index += 1
            if self.problems:
                return  # a damaged file would add the same problem in every round
            offset = last + 1 / self.fps


def _images(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(found, key=lambda path: _natural(path.name))


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
