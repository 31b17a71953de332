"""Where frames come from: a video file, a folder of images; cameras and streams are in live.py."""

import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from perception.errors import UserError
from perception.files import read_bounded
from perception.images import MAX_BYTES, MAX_PIXELS, decode
from perception.runtime.letterbox import as_bgr

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
FOLDER_FPS = 10.0
MAX_PROBLEMS = 20
# A clock that leaps further than this between two frames is broken.
MAX_LEAP_S = 3600.0
# What FFmpeg may make of a file: films only, no playlists that lead to other files or the network,
# and no picture above the bound, whatever its header says or a later frame turns into.
FILE_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,"
    "ogg,m4v,h264,hevc,av1,ivf,obu,mjpeg,gif,dv,mxf,rm,yuv4mpegpipe",
    "max_pixels": str(MAX_PIXELS),
}
OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


@dataclass
class Frame:
    """One picture and its place in the source."""

    image: np.ndarray  # uint8 (H, W, 3) BGR
    index: int
    seconds: float  # since the source's first frame
    name: str


class Source(ABC):
    """Frames in order. `problems` holds one line for everything that could not be read."""

    live = False  # a live source does not wait: who is late gets the newest frame
    reconnects = 0  # times a live source was opened again

    def __init__(self, name: str, fps: float, count: int | None) -> None:
        self.name, self.fps, self.count = name, fps, count
        self.problems: list[str] = []

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Ends a live source's iteration; a file ends by itself."""
        return

    def complain(self, line: str) -> None:
        """Keeps a problem for the end, up to a bound."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(line)


class VideoFile(Source):
    """A file OpenCV's FFmpeg decodes. One that ends early is reported in `problems`."""

    def __init__(self, path: Path) -> None:
        capture = _open(path)
        fps = capture.get(cv2.CAP_PROP_FPS)
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        count = int(count) if 0 < count < 1e9 else 0
        ok, _ = _read(capture, path)
        capture.release()
        if not ok:
            raise UserError(f"{path}: a video without a frame that decodes; record it again")
        super().__init__(path.name, fps if 0.01 <= fps <= 1000 else 25.0, count or None)
        self.path = path

    def __iter__(self) -> Iterator[Frame]:
        capture, index, last = _open(self.path), 0, -1.0
        try:
            while True:
                ok, image = _read(capture, self.path)
                if not ok:
                    break
                seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                # Some containers carry no usable timestamps, or damaged ones.
                if not last < seconds <= max(last, 0) + MAX_LEAP_S:
                    seconds = last + 1 / self.fps if index else 0.0
                yield Frame(as_bgr(image), index, seconds, f"{self.path.stem}-{index + 1:07d}")
                index, last = index + 1, seconds
        finally:
            capture.release()
        # Containers without an index only estimate their length: allow 2 %.
        if self.count and index < self.count - max(1, self.count // 50):
            self.complain(
                f"{self.path}: ends at frame {index} of {self.count}, so it was cut off or is "
                "damaged; what could be read was used"
            )


class ImageFolder(Source):
    """The images of a folder in natural order, or a single image."""

    def __init__(self, path: Path) -> None:
        self.paths = [path] if path.is_file() else _images(path)
        if not self.paths:
            raise UserError(f"{path}: no image here ({', '.join(IMAGE_SUFFIXES)})")
        super().__init__(path.name, FOLDER_FPS, len(self.paths))

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self.paths):
            try:
                image = as_bgr(decode(read_bounded(path, MAX_BYTES)))
            except (UserError, ValueError) as error:
                said = str(error).removeprefix(f"{path}: ")
                self.complain(f"{path}: not an image that can be used ({said}); left out")
                continue
            yield Frame(image, index, index / self.fps, path.name)


class Looped(Source):
    """A file or folder played again and again; time and index go on."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.name, source.fps, None)
        self.source, self.problems = source, source.problems

    def __iter__(self) -> Iterator[Frame]:
        index, offset = 0, 0.0
        while True:
            last = offset
            for frame in self.source:
                last = offset + frame.seconds
                yield Frame(frame.image, index, last, frame.name)
                index += 1
            if self.problems:
                return  # a damaged file would add the same line for ever
            offset = last + 1 / self.fps


def open_source(text: str, loop: bool = False) -> Source:
    """A source from what the user typed. Raises UserError where there is none."""
    if text.isdigit() or re.match(r"^[a-z][a-z0-9+.]*://", text):
        from demo.live import Live  # which builds on this file

        return Live(text)
    path = Path(text)
    if not path.exists():
        raise UserError(f"{text}: no such file, folder, camera number or stream address")
    is_images = path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES
    source: Source = ImageFolder(path) if is_images else VideoFile(path)
    return Looped(source) if loop else source


def _open(path: Path) -> cv2.VideoCapture:
    quiet()
    if not path.is_file():
        raise UserError(f"{path}: not a plain file; give a video, a folder of images or a camera")
    with _only_films():
        # Absolute, so that no name can pass for a protocol.
        capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise UserError(f"{path}: not a video that decodes; it may be cut off or of another kind")
    sides = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    if math.prod(sides) > MAX_PIXELS:
        capture.release()
        raise UserError(
            f"{path}: frames of {sides[0]:.0f}x{sides[1]:.0f}, more than {MAX_PIXELS / 1e6:.0f} "
            "million pixels; make it smaller"
        )
    return capture


def _read(capture: cv2.VideoCapture, path: Path) -> tuple[bool, np.ndarray]:
    """The next frame. Raises UserError where it cannot be made into one."""
    try:
        return capture.read()
    except cv2.error as error:
        raise UserError(f"{path}: a frame does not decode ({error.err}); record it again") from None


@contextmanager
def _only_films() -> Iterator[None]:
    """OpenCV hands FFmpeg its options through the environment only, when a file is opened."""
    before = os.environ.get(OPTIONS_VARIABLE)
    os.environ[OPTIONS_VARIABLE] = "|".join(f"{k};{v}" for k, v in FILE_OPTIONS.items())
    try:
        yield
    finally:
        if before is None:
            del os.environ[OPTIONS_VARIABLE]
        else:
            os.environ[OPTIONS_VARIABLE] = before


def quiet() -> None:
    """One clear line of ours instead of FFmpeg's."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _images(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(found, key=lambda path: _natural(path.name))


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key with frame2 before frame10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
