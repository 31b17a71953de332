"""perceive --save: the overlay as a video."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from demo.pipeline import Packet
from demo.sinks import FileSink
from perception.errors import UserError
from perception.runtime.letterbox import Letterbox

TIME_BASE = Fraction(1, 90000)
# Fragmented while it is written, so that a killed run or a full disk leaves a playable file;
# FFmpeg turns it into an ordinary file on closing.
MP4_OPTIONS = {"movflags": "hybrid_fragmented+frag_keyframe", "flush_packets": "1"}
# By suffix: FFmpeg's name of the container and its options.
CONTAINERS: dict[str, tuple[str, dict[str, str]]] = {
    ".mp4": ("mp4", MP4_OPTIONS),
    ".mov": ("mov", MP4_OPTIONS),
    ".mkv": ("matroska", {}),
}
VIDEO_SUFFIXES = tuple(CONTAINERS)


class VideoSink(FileSink):
    """H.264 with the source's timing. Frames of another size than the first are letterboxed."""

    def __init__(self, path: Path, fps: float) -> None:
        super().__init__(path)
        self.fps = fps
        self.encoder: H264Encoder | None = None

    def open(self) -> None:
        """Nothing yet: the first frame gives the size."""

    def append(self, packet: Packet) -> None:
        """Encodes the packet's canvas."""
        assert packet.canvas is not None
        if self.encoder is None:
            height, width = packet.canvas.shape[:2]
            self.size_hw = (max(16, height + height % 2), max(16, width + width % 2))
            container = CONTAINERS[self.path.suffix.lower()]
            self.encoder = H264Encoder(self.part, container, self.size_hw, self.fps)
            self.on_close(self.encoder.close)
        self.encoder.write(_fit(packet.canvas, self.size_hw), packet.frame.seconds)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.encoder is None and error is None:
            error = UserError(f"{self.path}: not written, because there was no frame")
            super().__exit__(UserError, error, None)
            raise error
        super().__exit__(kind, error, trace)


class H264Encoder:
    """H.264 with presentation times, through PyAV."""

    def __init__(
        self,
        path: Path,
        container: tuple[str, dict[str, str]],
        size_hw: tuple[int, int],
        fps: float,
    ) -> None:
        import av

        self.make: Any = av.VideoFrame.from_ndarray
        self.container = av.open(str(path), "w", container[0], options=container[1])
        rate = Fraction(fps).limit_denominator(1001)
        # No B-frames: with them and uneven times the container states too short a duration. A key
        # frame every two seconds bounds what a killed run loses.
        options = {"preset": "veryfast", "crf": "21", "bf": "0", "g": str(max(1, round(2 * fps)))}
        self.stream: Any = self.container.add_stream("libx264", rate=rate, options=options)
        self.stream.height, self.stream.width = size_hw
        self.stream.pix_fmt = "yuv420p"
        self.stream.time_base = self.stream.codec_context.time_base = TIME_BASE
        self.last, self.step = -1, max(1, round(1 / rate / TIME_BASE))

    def write(self, image: np.ndarray, seconds: float) -> None:
        """Appends a frame shown at `seconds`; times that do not increase are moved on."""
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


def _fit(canvas: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The canvas at the video's size: a few pixels of border, or letterboxed when it changed."""
    height, width = canvas.shape[:2]
    below, right = size_hw[0] - height, size_hw[1] - width
    if (below, right) == (0, 0):
        return canvas
    if 0 <= below < 16 and 0 <= right < 16:
        return cv2.copyMakeBorder(canvas, 0, below, 0, right, cv2.BORDER_CONSTANT)
    return Letterbox((height, width), size_hw, 0).apply(canvas)
