"""Sources of frames: `kind_of` says what the user has named, `open_source` opens it."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from demo.bag import Bag, is_bag
from demo.live import Live, shown_address
from demo.pipeline import Source, SourceFrame
from demo.video import VideoFile, opened
from perception.errors import UserError
from perception.images import IMAGE_SUFFIXES, read_image

FOLDER_FPS = 10.0
CAMERA, STREAM, BAG, PHOTOS, VIDEO = "camera", "stream", "ROS bag", "photos", "video"
FINITE = ("http", "https", "ftp")  # schemes that serve files as well as streams


def kind_of(text: str) -> str:
    """CAMERA, STREAM, BAG, PHOTOS or VIDEO, without opening it. What exists on the disk comes
    first, so `0001` is that folder and not a camera. Raises UserError where there is nothing."""
    path = Path(local_name(text))
    if os.path.exists(path):
        if stat.S_ISCHR(path.stat().st_mode):
            return CAMERA  # /dev/video0
        if is_bag(path):
            return BAG
        return PHOTOS if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES else VIDEO
    if text.isdigit():
        return CAMERA
    if re.match(r"[a-z][a-z0-9+.]*://", text, re.IGNORECASE) and local_name(text) == text:
        return STREAM
    raise UserError(f"{text}: no such file, folder, camera number or stream address")


def local_name(text: str) -> str:
    """The path of a file:// address; anything else as it is."""
    parts = urlsplit(text) if text.lower().startswith("file:") else None
    return unquote(parts.path) if parts is not None and parts.path else text


def open_source(text: str, loop: bool = False, topic: str | None = None) -> Source:
    """A source from what the user typed; `topic` is that of a bag. Raises UserError where there is
    none."""
    kind, path = kind_of(text), Path(local_name(text))
    if kind == CAMERA or (kind == STREAM and not _is_finite(text)):
        return Live(text)
    source: Source
    if kind == BAG:
        source = Bag(path, topic)
    elif kind == PHOTOS:
        source = ImageFolder(path)
    else:
        source = VideoFile(text, shown_address(text)) if kind == STREAM else VideoFile(path)
    return Looped(source) if loop else source


def _is_finite(address: str) -> bool:
    """Whether an address serves a recording, with a duration or size, and not a live stream."""
    if urlsplit(address).scheme.lower() not in FINITE:
        return False
    try:
        with opened(address) as container:
            return bool((container.duration or container.size > 0) and container.streams.video)
    except (UserError, ImportError):
        return False


class ImageFolder(Source):
    """The images of a folder in natural order (frame2 before frame10), or a single image."""

    still = True

    def __init__(self, path: Path) -> None:
        self.paths = photos_of(path)
        if not self.paths:
            raise UserError(f"{path}: no images in it ({', '.join(IMAGE_SUFFIXES)})")
        super().__init__(path.name, FOLDER_FPS, len(self.paths))

    def __iter__(self) -> Iterator[SourceFrame]:
        for index, path in enumerate(self.paths):
            try:
                image, _ = read_image(path)
            except UserError as error:
                reason = str(error).removeprefix(f"{path}: image ").removeprefix(f"{path}: ")
                self.complain(f"{path}: not a usable image ({reason}); left out")
                continue
            yield SourceFrame(image, index, index / self.fps, path.name)


class Looped(Source):
    """A file or folder repeated without end; time and index continue."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.name, source.fps, None)
        self.source, self.problems, self.still = source, source.problems, source.still
        self.notes, self.epoch_ns = source.notes, source.epoch_ns

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


def photos_of(path: Path) -> list[Path]:
    """The image itself, or those of a folder in natural order without hidden files (._p.jpg)."""
    if not path.is_dir():
        return [path]
    found = (
        one
        for one in path.iterdir()
        if one.suffix.lower() in IMAGE_SUFFIXES and not one.name.startswith(".")
    )
    return sorted(found, key=lambda one: _natural(one.name))


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
