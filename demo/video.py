"""Video files, and `open_source`, which turns what the user typed into a source."""

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from demo.live import Live, quiet
from demo.source import ImageFolder, Looped, Source, SourceFrame
from perception.errors import UserError
from perception.images import IMAGE_SUFFIXES, MAX_PIXELS
from perception.runtime.letterbox import as_bgr

# A larger step between two frames is a damaged timestamp.
MAX_LEAP_S = 3600.0
# What FFmpeg may open: video containers only, no playlists that name other files or the network,
# and no picture above the bound, whatever the header says or a later frame turns into.
FILE_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,"
    "ogg,m4v,h264,hevc,av1,ivf,obu,mjpeg,gif,dv,mxf,rm,yuv4mpegpipe",
    "max_pixels": str(MAX_PIXELS),
}
OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


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

    def __iter__(self) -> Iterator[SourceFrame]:
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
                yield SourceFrame(
                    as_bgr(image), index, seconds, f"{self.path.stem}-{index + 1:07d}"
                )
                index, last = index + 1, seconds
        finally:
            capture.release()
        # Containers without an index only estimate their length: allow 2 %.
        if self.count and index < self.count - max(1, self.count // 50):
            self.complain(
                f"{self.path}: ends at frame {index} of {self.count}, so it was cut off or is "
                "damaged; what could be read was used"
            )


def open_source(text: str, loop: bool = False) -> Source:
    """A source from what the user typed. Raises UserError where there is none."""
    if text.isdigit() or re.match(r"^[a-z][a-z0-9+.]*://", text):
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
