"""perceive --save: the overlay as a video, an animation, or one picture per frame."""

import os
from abc import abstractmethod
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from demo.pipeline import Packet, Source, SourceFrame
from demo.sinks import FileSink
from perception.errors import UserError
from perception.files import write_atomic
from perception.images import IMAGE_SUFFIXES
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
ANIMATION_SUFFIXES = (".webp",)
MAX_ANIMATION_WIDTH = 640
MIN_ANIMATION_STEP_S = 0.08
JPEG_QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 92)


def default_target(source: Source, text: str) -> str:
    """Where the overlay of a file or folder goes: next to it, as NAME-overlay."""
    path = Path(text)
    if source.still:
        return f"{path}-overlay/" if path.is_dir() else str(path.with_stem(f"{path.stem}-overlay"))
    return str(path.with_name(f"{path.stem}-overlay.mp4"))


def is_folder(text: str) -> bool:
    """Whether the user named a folder for pictures."""
    return text.endswith(("/", os.sep)) or Path(text).is_dir()


def same_place(text: str, source: str) -> bool:
    """Whether the pictures of a folder or photo would be written over it."""
    path, given = Path(text).resolve(), Path(source).resolve()
    return path == given or (is_folder(text) and given.is_file() and path == given.parent)


def saved_as(text: str, source: Source) -> str:
    """The name to report: with several photos and a file name `x.jpg`, `x-*.jpg`."""
    path = Path(text)
    several = source.still and source.count != 1 and path.suffix.lower() in IMAGE_SUFFIXES
    return str(path.with_stem(f"{path.stem}-*")) if several and not is_folder(text) else text


def open_sink(text: str, source: Source) -> "EncodedSink | PictureSink":
    """The sink for a file or folder name. Raises UserError for a name that fits nothing."""
    path, suffix = Path(text), Path(text).suffix.lower()
    if is_folder(text) or (source.still and suffix in IMAGE_SUFFIXES):
        return PictureSink(path, is_folder(text), source.count or 0)
    if suffix in ANIMATION_SUFFIXES:
        return AnimationSink(path)
    if suffix in CONTAINERS:
        return VideoSink(path, source.fps)
    known = ", ".join((*CONTAINERS, *ANIMATION_SUFFIXES))
    raise UserError(f"--save {text}: end the name in {known}, or in / for one picture per frame")


class PictureSink(AbstractContextManager["PictureSink"]):
    """One picture per frame: in a folder under the frame's name, or, for photos and a file name
    `x.jpg`, as `x.jpg` for a single one and `x-NAME.jpg` for several."""

    def __init__(self, path: Path, folder: bool, count: int) -> None:
        self.path, self.folder, self.count = path, folder, count
        self.written: set[Path] = set()

    def write(self, packet: Packet) -> None:
        """Writes the packet's canvas."""
        assert packet.canvas is not None
        path = self._name(packet.frame)
        jpeg = path.suffix.lower() in (".jpg", ".jpeg")
        _, data = cv2.imencode(path.suffix, packet.canvas, JPEG_QUALITY if jpeg else ())
        write_atomic(path, data.tobytes())
        self.written.add(path)

    def _name(self, frame: SourceFrame) -> Path:
        own = Path(frame.name)
        if self.folder:
            suffix = own.suffix.lower()
            return self.path / (own.name if suffix in IMAGE_SUFFIXES else f"{own.name}.jpg")
        if self.count == 1:
            return self.path
        path = self.path.with_stem(f"{self.path.stem}-{own.stem}")
        return path.with_stem(f"{path.stem}-{frame.index + 1}") if path in self.written else path

    def __exit__(self, *_: object) -> None:
        return


class EncodedSink(FileSink):
    """A file with one encoder, made for the first frame's size. Other sizes are letterboxed."""

    encoder: "Encoder | None" = None

    def open(self) -> None:
        """Nothing yet: the first frame gives the size."""

    @abstractmethod
    def make(self, size_hw: tuple[int, int]) -> "Encoder":
        """The encoder for frames of this even size."""

    def encode(self, canvas: np.ndarray, seconds: float) -> None:
        """Appends a picture."""
        if self.encoder is None:
            height, width = canvas.shape[:2]
            self.size_hw = (max(16, height + height % 2), max(16, width + width % 2))
            self.encoder = self.make(self.size_hw)
            self.on_close(self.encoder.close)
        self.encoder.write(_fit(canvas, self.size_hw), seconds)

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


class VideoSink(EncodedSink):
    """H.264 with the source's timing."""

    def __init__(self, path: Path, fps: float) -> None:
        super().__init__(path)
        self.fps = fps

    def make(self, size_hw: tuple[int, int]) -> "Encoder":
        """The encoder for the file's container."""
        return H264Encoder(self.part, CONTAINERS[self.path.suffix.lower()], size_hw, self.fps)

    def append(self, packet: Packet) -> None:
        """Encodes the packet's canvas."""
        assert packet.canvas is not None
        self.encode(packet.canvas, packet.frame.seconds)


class AnimationSink(EncodedSink):
    """WebP for web pages: at most 640 pixels wide and 12.5 frames per second."""

    last = -1.0

    def make(self, size_hw: tuple[int, int]) -> "Encoder":
        """The encoder for the file's format."""
        return WebpEncoder(self.part, size_hw)

    def append(self, packet: Packet) -> None:
        """Encodes the packet's canvas, unless the last one is too recent."""
        assert packet.canvas is not None
        if self.last >= 0 and packet.frame.seconds - self.last < MIN_ANIMATION_STEP_S - 1e-3:
            return
        self.last, canvas = packet.frame.seconds, packet.canvas
        scale = MAX_ANIMATION_WIDTH / canvas.shape[1]
        if scale < 1:
            size = (MAX_ANIMATION_WIDTH, max(1, round(canvas.shape[0] * scale)))
            canvas = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
        self.encode(canvas, self.last)


class Encoder:
    """Frames with presentation times in one container, through PyAV."""

    pix_fmt = "yuv420p"

    def __init__(
        self,
        path: Path,
        container: tuple[str, dict[str, str]],
        codec: tuple[str, dict[str, str]],
        size_hw: tuple[int, int],
        time_base: Fraction,
        rate: Fraction | None = None,
    ) -> None:
        import av

        self.make: Any = av.VideoFrame.from_ndarray
        # Any: the library's stubs do not distinguish kinds of streams.
        opened: Any = av.open
        self.container = opened(str(path), "w", container[0], options=container[1])
        self.stream = self.container.add_stream(codec[0], rate=rate, options=codec[1])
        self.stream.height, self.stream.width = size_hw
        self.stream.pix_fmt = self.pix_fmt
        self.stream.time_base = self.stream.codec_context.time_base = time_base
        self.time_base, self.last = time_base, -1
        self.step = max(1, round(1 / rate / time_base)) if rate else 0

    def frame(self, image: np.ndarray) -> Any:
        """The library's frame of a uint8 (H, W, 3) BGR picture."""
        # OpenCV converts colours several times faster than the encoder's own scaler.
        return self.make(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), format="yuv420p")

    def write(self, image: np.ndarray, seconds: float) -> None:
        """Appends a frame shown at `seconds`; times that do not increase are moved on."""
        frame = self.frame(image)
        self.last = max(round(seconds / self.time_base), self.last + 1)
        frame.pts, frame.time_base, frame.duration = self.last, self.time_base, self.step
        self.encode(frame)

    def encode(self, frame: Any) -> None:
        """Encodes a frame, or with None what the encoder holds back."""
        self.container.mux(self.stream.encode(frame))

    def close(self) -> None:
        """Flushes the encoder and completes the file."""
        try:
            self.encode(None)
        finally:
            self.container.close()


class H264Encoder(Encoder):
    """H.264 in MP4, MOV or Matroska."""

    def __init__(
        self,
        path: Path,
        container: tuple[str, dict[str, str]],
        size_hw: tuple[int, int],
        fps: float,
    ) -> None:
        # No B-frames: with them and uneven times the container states too short a duration. A key
        # frame every two seconds bounds what a killed run loses.
        options = {"preset": "veryfast", "crf": "21", "bf": "0", "g": str(max(1, round(2 * fps)))}
        rate = Fraction(fps).limit_denominator(1001)
        super().__init__(path, container, ("libx264", options), size_hw, TIME_BASE, rate)


class WebpEncoder(Encoder):
    """Animated WebP."""

    def __init__(self, path: Path, size_hw: tuple[int, int]) -> None:
        codec = ("libwebp_anim", {"quality": "70", "compression_level": "4"})
        super().__init__(path, ("webp", {"loop": "0"}), codec, size_hw, Fraction(1, 1000))


def _fit(canvas: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The canvas at the video's size: a few pixels of border, or letterboxed when it changed."""
    height, width = canvas.shape[:2]
    below, right = size_hw[0] - height, size_hw[1] - width
    if (below, right) == (0, 0):
        return canvas
    if 0 <= below < 16 and 0 <= right < 16:
        return cv2.copyMakeBorder(canvas, 0, below, 0, right, cv2.BORDER_CONSTANT)
    return Letterbox((height, width), size_hw, 0).apply(canvas)
