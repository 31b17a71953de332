"""Where results go: an overlay video. Every sink takes packets and is a context manager."""

from contextlib import AbstractContextManager, ExitStack
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import cv2
import numpy as np

from demo.pipeline import Packet
from demo.spare import SparedFile, spared
from perception.errors import UserError
from perception.runtime.letterbox import Letterbox

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}  # by suffix, as FFmpeg names them
VIDEO_SUFFIXES = tuple(CONTAINERS)
TIME_BASE = Fraction(1, 90000)


class Sink(Protocol):
    """Takes every packet in order."""

    def write(self, packet: Packet) -> None:
        """Stores or shows one frame's results."""


class Mp4Sink(AbstractContextManager["Mp4Sink"]):
    """The overlay as MP4 with the source's timing: H.264 through PyAV, else mp4v by OpenCV.

    Frames of another size than the first are letterboxed into it. The file appears, whole, when
    the sink is closed without an error, and as far as it goes when the disk is full.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self.writer: AvWriter | Cv2Writer | None = None
        self.stack = ExitStack()

    def __enter__(self) -> "Mp4Sink":
        self.file = self.stack.enter_context(spared(self.path))
        return self

    def write(self, packet: Packet) -> None:
        """Appends the packet's canvas. Raises DiskFullError where the disk is full."""
        assert packet.canvas is not None
        if self.writer is None:
            height, width = packet.canvas.shape[:2]
            self.size_hw = (max(16, height + height % 2), max(16, width + width % 2))
            make = AvWriter if find_spec("av") else Cv2Writer
            self.writer = make(self.file, self.size_hw, self.fps)
        self.writer.write(_fit(packet.canvas, self.size_hw), packet.frame.seconds)
        self.file.check()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self.stack:
            if self.writer is not None:
                self.writer.close()
            elif kind is None:
                raise UserError(f"{self.path}: not written, because there was no frame")
            if error is not None:
                raise error


class AvWriter:
    """H.264 with presentation times."""

    def __init__(self, file: SparedFile, size_hw: tuple[int, int], fps: float) -> None:
        import av

        self.make: Any = av.VideoFrame.from_ndarray
        kind = CONTAINERS[file.path.suffix.lower()]
        # To put the index first, the library reads again what it wrote.
        self.container = av.open(
            file,
            "w",
            kind,
            options={"movflags": "faststart"},
            io_open=lambda *_: file.part.open("rb"),
        )
        rate = Fraction(fps).limit_denominator(1001)
        # Without B-frames: with them and uneven times the file states too short a duration.
        options = {"preset": "veryfast", "crf": "21", "bf": "0"}
        self.stream: Any = self.container.add_stream("libx264", rate=rate, options=options)
        self.stream.height, self.stream.width = size_hw
        self.stream.pix_fmt = "yuv420p"
        self.stream.time_base = self.stream.codec_context.time_base = TIME_BASE
        self.last, self.step = -1, max(1, round(1 / rate / TIME_BASE))

    def write(self, image: np.ndarray, seconds: float) -> None:
        """Appends a frame shown at `seconds`; times that do not grow are moved on."""
        # OpenCV converts colours several times faster than the encoder's own scaler.
        frame = self.make(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), format="yuv420p")
        self.last = max(round(seconds / TIME_BASE), self.last + 1)
        frame.pts, frame.time_base, frame.duration = self.last, TIME_BASE, self.step
        self.container.mux(self.stream.encode(frame))

    def close(self) -> None:
        """Flushes the encoder and completes the file."""
        try:
            self.container.mux(self.stream.encode(None))
        finally:
            self.container.close()


class Cv2Writer:
    """MPEG-4 part 2 at a constant rate, where PyAV is not installed."""

    def __init__(self, file: SparedFile, size_hw: tuple[int, int], fps: float) -> None:
        self.file, codec = file, cv2.VideoWriter.fourcc(*"mp4v")
        self.writer = cv2.VideoWriter(str(file.part), codec, fps, size_hw[::-1])
        if not self.writer.isOpened():
            raise UserError(
                f"{file.path}: OpenCV cannot write MP4 here; pip install 'pvt-hydranet[demo]'"
            )

    def write(self, image: np.ndarray, seconds: float) -> None:
        """Appends a frame."""
        self.writer.write(image)
        self.file.look()

    def close(self) -> None:
        """Completes the file."""
        self.writer.release()


def _fit(canvas: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The canvas at the video's size: a few pixels of border, or letterboxed when it changed."""
    height, width = canvas.shape[:2]
    below, right = size_hw[0] - height, size_hw[1] - width
    if (below, right) == (0, 0):
        return canvas
    if 0 <= below < 16 and 0 <= right < 16:
        return cv2.copyMakeBorder(canvas, 0, below, 0, right, cv2.BORDER_CONSTANT)
    return Letterbox((height, width), size_hw, 0).apply(canvas)
