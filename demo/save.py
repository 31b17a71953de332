"""perceive --save: the overlay as a video, an animation, or one picture per frame."""

import math
import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from demo.pipeline import Packet
from demo.sinks import FileSink
from perception.errors import UserError
from perception.files import write_atomic
from perception.images import IMAGE_SUFFIXES
from perception.runtime.letterbox import Letterbox

JPEG_QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 92)


def default_target(text: str, still: bool) -> str:
    """Where the overlay of a file or folder goes: next to it, as NAME-overlay. A suffix other than
    .mp4 stays in the name, so that drive.mp4 and drive.mkv have two."""
    path = Path(text)
    if still:
        return f"{path}-overlay/" if path.is_dir() else str(path.with_stem(f"{path.stem}-overlay"))
    stem = path.stem if path.suffix.lower() == ".mp4" else path.name
    return str(path.with_name(f"{stem}-overlay.mp4"))


def is_folder(text: str) -> bool:
    """Whether the user named a folder for pictures."""
    return text.endswith(("/", os.sep)) or Path(text).is_dir()


def check_save(text: str, still: bool) -> bool:
    """Whether a name is that of a clip; False: of pictures. Raises UserError for other names."""
    suffix = Path(text).suffix.lower()
    if is_folder(text) or (still and suffix in IMAGE_SUFFIXES):
        return False
    if suffix not in CLIPS:
        known = ", ".join(CLIPS)
        raise UserError(f"--save {text}: end the name in {known}, or in / for pictures")
    return True


def picture_path(text: str, name: str, alone: bool) -> Path:
    """The picture of a frame: in a folder under the frame's name; for a file name `x.jpg`, `x.jpg`
    where it is `alone` and `x-NAME.jpg` of several."""
    path, own = Path(text), Path(name)
    if is_folder(text):
        known = own.suffix.lower() in IMAGE_SUFFIXES
        return path / (own.name if known else f"{own.name}.jpg")
    return path if alone else path.with_stem(f"{path.stem}-{own.stem}")


def save_picture(text: str, alone: bool, packet: Packet) -> None:
    """Writes the packet's canvas under its frame's name; `alone`: the source has one frame."""
    assert packet.canvas is not None
    path = picture_path(text, packet.frame.name, alone)
    jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    _, data = cv2.imencode(path.suffix, packet.canvas, JPEG_QUALITY if jpeg else ())
    write_atomic(path, data.tobytes())


@dataclass(frozen=True)
class Clip:
    """A kind of file: FFmpeg's names of container and codec with their options, and its limits."""

    container: str
    options: dict[str, str]
    codec: str = "libx264"
    # No B-frames: with them and uneven times the container states too short a duration.
    codec_options: dict[str, str] = field(
        default_factory=lambda: {"preset": "superfast", "crf": "21", "bf": "0"}
    )
    time_base: Fraction = Fraction(1, 90000)
    max_width: int = 1 << 16
    min_step_s: float = 0.0


# Fragmented while it is written, so that a killed run or a full disk leaves a playable file;
# FFmpeg turns it into an ordinary file on closing.
MP4_OPTIONS = {"movflags": "hybrid_fragmented+frag_keyframe", "flush_packets": "1"}
CLIPS = {
    ".mp4": Clip("mp4", MP4_OPTIONS),
    ".mov": Clip("mov", MP4_OPTIONS),
    ".mkv": Clip("matroska", {}),
    ".webp": Clip(
        "webp",
        {"loop": "0"},
        "libwebp_anim",
        {"quality": "70", "compression_level": "4"},
        Fraction(1, 1000),
        max_width=640,
        min_step_s=0.08,
    ),
}


class ClipSink(FileSink):
    """A video with the source's timing, or a small animation, through PyAV.

    The first frame gives the size; frames of other sizes are letterboxed. Times that do not
    increase are moved on.
    """

    def __init__(self, path: Path, fps: float) -> None:
        super().__init__(path)
        self.kind, self.fps = CLIPS[path.suffix.lower()], fps
        self.size_hw: tuple[int, int] | None = None
        self.shown_s = -math.inf

    def open(self) -> None:
        """Nothing yet: the first frame gives the size."""

    def append(self, packet: Packet) -> None:
        """Encodes the packet's canvas, unless the last one is too recent."""
        assert packet.canvas is not None
        canvas, seconds = packet.canvas, packet.frame.seconds
        if self.kind.min_step_s and seconds - self.shown_s < self.kind.min_step_s - 1e-3:
            return
        self.shown_s, scale = seconds, self.kind.max_width / canvas.shape[1]
        if scale < 1:
            size = (self.kind.max_width, max(1, round(canvas.shape[0] * scale)))
            canvas = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
        if self.size_hw is None:
            height, width = canvas.shape[:2]
            self.size_hw = (max(16, height + height % 2), max(16, width + width % 2))
            self._start(self.size_hw)
        self._encode(_fit(canvas, self.size_hw), seconds)

    def _start(self, size_hw: tuple[int, int]) -> None:
        import av

        kind, options = self.kind, dict(self.kind.codec_options)
        rate = None
        if kind.codec == "libx264":
            rate = Fraction(self.fps).limit_denominator(1001)
            # A key frame every two seconds bounds what a killed run loses.
            options["g"] = str(max(1, round(2 * self.fps)))
        self.make: Any = av.VideoFrame.from_ndarray
        opened: Any = av.open  # Any: the library's stubs do not distinguish kinds of streams
        self.container = opened(str(self.part), "w", kind.container, options=kind.options)
        self.on_close(self._close)
        self.stream = self.container.add_stream(kind.codec, rate=rate, options=options)
        self.stream.height, self.stream.width = size_hw
        self.stream.pix_fmt = "yuv420p"
        self.stream.time_base = self.stream.codec_context.time_base = kind.time_base
        self.last, self.step = -1, max(1, round(1 / rate / kind.time_base)) if rate else 0

    def _encode(self, image: np.ndarray, seconds: float) -> None:
        # OpenCV converts colours several times faster than the encoder's own scaler.
        frame = self.make(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), format="yuv420p")
        self.last = max(round(seconds / self.kind.time_base), self.last + 1)
        frame.pts, frame.time_base, frame.duration = self.last, self.kind.time_base, self.step
        self.container.mux(self.stream.encode(frame))

    def _close(self) -> None:
        """Flushes the encoder and completes the file."""
        try:
            self.container.mux(self.stream.encode(None))
        finally:
            self.container.close()

    def __exit__(self, *error: Any) -> None:
        if self.size_hw is None and error[0] is None:
            none = UserError(f"{self.path}: not written, because there was no frame")
            super().__exit__(UserError, none, None)
            raise none
        super().__exit__(*error)


def _fit(canvas: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The canvas at the video's size: a few pixels of border, or letterboxed when it changed."""
    height, width = canvas.shape[:2]
    below, right = size_hw[0] - height, size_hw[1] - width
    if (below, right) == (0, 0):
        return canvas
    if 0 <= below < 16 and 0 <= right < 16:
        return cv2.copyMakeBorder(canvas, 0, below, 0, right, cv2.BORDER_CONSTANT)
    return Letterbox((height, width), size_hw, 0).apply(canvas)
