"""Sources of frames: video files and folders of images; `open_source` opens what the user typed."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from demo.bag import Bag, is_bag
from demo.live import Live
from demo.pipeline import Source, SourceFrame
from perception.errors import UserError, require_extra
from perception.files import read_bounded
from perception.images import IMAGE_SUFFIXES, MAX_BYTES, MAX_PIXELS, decode
from perception.runtime.letterbox import as_bgr

FOLDER_FPS = 10.0
# A larger step between two frames is a damaged timestamp.
MAX_LEAP_S = 3600.0
# What FFmpeg may open: video containers only, no playlists that name other files or the network,
# and no frame above the limit, neither by the header nor later in the file.
FILE_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,"
    "ogg,m4v,h264,hevc,av1,ivf,obu,mjpeg,gif,dv,mxf,rm,yuv4mpegpipe",
    "max_pixels": str(MAX_PIXELS),
}
LARGE_PIXELS = 1920 * 1088
# Of frame.rotation, degrees counterclockwise.
ROTATIONS = {
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
    180: cv2.ROTATE_180,
    -180: cv2.ROTATE_180,
    -90: cv2.ROTATE_90_CLOCKWISE,
    270: cv2.ROTATE_90_CLOCKWISE,
}


def open_source(text: str, loop: bool = False, topic: str | None = None) -> Source:
    """A source from what the user typed; `topic` is that of a bag. Raises UserError where there is
    none."""
    if text.isdigit() or re.match(r"^[a-z][a-z0-9+.]*://", text):
        return Live(text)
    path = Path(text)
    if not path.exists():
        raise UserError(f"{text}: no such file, folder, camera number or stream address")
    if is_bag(path):
        bag = Bag(path, topic)
        return Looped(bag) if loop else bag
    if topic is not None:
        raise UserError(f"--topic {topic}: only a ROS bag has topics, and {text} is none")
    is_images = path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES
    source: Source = ImageFolder(path) if is_images else VideoFile(path)
    return Looped(source) if loop else source


class VideoFile(Source):
    """A file FFmpeg decodes (through PyAV, extra `demo`), upright, without interlacing and with its
    own timestamps.

    Edit lists are applied, so that frames outside them are not shown. A file that ends early or
    has damaged parts is reported in `problems`. `count` follows from duration and mean rate.
    """

    def __init__(self, path: Path) -> None:
        require_extra("demo", "av")
        with _opened(path) as (container, stream):
            self.duration, slack_s = _duration(container, stream)
            rate = float(stream.average_rate or stream.guessed_rate or 0)
            self._check_size(path, stream.codec_context.width, stream.codec_context.height)
            if next(_decode(path, container, stream, []), None) is None:
                raise UserError(f"{path}: a video without a frame that decodes; record it again")
        fps = rate if 0.01 <= rate <= 1000 else 25.0
        count = round(self.duration * fps)
        super().__init__(path.name, fps, count if 0 < count < 1e9 else None)
        self.path = path
        # Durations in containers are rounded, or estimated.
        self.slack_s = max(1.5 / fps, 0.02 * self.duration) + slack_s

    def __iter__(self) -> Iterator[SourceFrame]:
        index, first, last, damaged = 0, None, -1.0, list[int]()
        with _opened(self.path) as (container, stream):
            for frame in _deinterlaced(_decode(self.path, container, stream, damaged)):
                time = frame.time if frame.time is not None else -1.0
                first = time if first is None else first
                seconds = time - first
                # Some containers carry no usable timestamps, or damaged ones.
                if not last < seconds <= max(last, 0) + MAX_LEAP_S:
                    seconds = last + 1 / self.fps if index else 0.0
                name = f"{self.path.stem}-{index + 1:07d}"
                yield SourceFrame(self._picture(frame), index, seconds, name)
                index, last = index + 1, seconds
        if self.count and last + 1 / self.fps < self.duration - self.slack_s:
            self.complain(
                f"{self.path}: ends at frame {index} of {self.count}, so it was cut off or is "
                "damaged; what could be read was used"
            )
        elif damaged:
            self.complain(f"{self.path}: {len(damaged)} damaged frames were skipped")

    def _picture(self, frame: Any) -> np.ndarray:
        """uint8 (H, W, 3) BGR, rotated as the file says."""
        self._check_size(self.path, frame.width, frame.height)
        image = as_bgr(frame.to_ndarray(format="bgr24"))
        turn = ROTATIONS.get(frame.rotation)
        return image if turn is None else cv2.rotate(image, turn)

    @staticmethod
    def _check_size(path: Path, width: int, height: int) -> None:
        if width * height > MAX_PIXELS:
            raise UserError(
                f"{path}: frames of {width}x{height}, more than {MAX_PIXELS / 1e6:.0f} million "
                "pixels; make it smaller"
            )


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


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """(container, video stream) of a file."""
    import av

    if not path.is_file():
        raise UserError(f"{path}: not a plain file; give a video, a folder of images or a camera")
    try:
        # Absolute, so that no name is taken for a protocol.
        container = av.open(
            str(path.absolute()), options=dict(FILE_OPTIONS), metadata_errors="replace"
        )
    except (av.FFmpegError, ValueError, OSError):
        raise UserError(
            f"{path}: not a video that decodes; it may be cut off or of another kind"
        ) from None
    with container:
        stream = next(iter(container.streams.video), None)
        if stream is None or stream.codec_context is None:
            raise UserError(f"{path}: no video that decodes in it; it may be of another kind")
        # Frame threads are faster, but a damaged packet then costs the frames decoded with it too.
        large = stream.codec_context.width * stream.codec_context.height > LARGE_PIXELS
        stream.thread_type = "AUTO" if large else "SLICE"
        stream.codec_context.options = {"max_pixels": FILE_OPTIONS["max_pixels"]}
        yield container, stream


def _decode(path: Path, container: Any, stream: Any, damaged: list[int]) -> Iterator[Any]:
    """Every frame that decodes; the positions of packets after the first frame that do not are
    added to `damaged`."""
    import av

    packets, started, ended = container.demux(stream), False, False
    while not ended:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError, OSError):
            packet, ended = None, True  # flush what the decoder still holds
        try:
            frames = stream.codec_context.decode(packet)
        except av.FFmpegError:
            # A recording may begin with frames that depend on earlier ones.
            if started and packet is not None:
                damaged.append(packet.pos or 0)
            continue
        except MemoryError:
            raise UserError(f"{path}: a frame is too large to decode; make it smaller") from None
        for frame in frames:
            started = True
            yield frame


def _deinterlaced(frames: Iterator[Any]) -> Iterator[Any]:
    """Interlaced frames as whole pictures, one per frame; progressive ones unchanged."""
    filters: _Deinterlacer | None = None
    for frame in frames:
        if filters is not None and not filters.takes(frame):  # the size changed
            yield from filters(None)
            filters = None
        if filters is None and frame.interlaced_frame:
            filters = _Deinterlacer(frame)
        if filters is None:
            yield frame
        else:
            yield from filters(frame)
    if filters is not None:
        yield from filters(None)


class _Deinterlacer:
    """FFmpeg's bwdif, which holds one frame back and passes progressive frames through."""

    def __init__(self, first: Any) -> None:
        import av.filter

        self.kind = (first.width, first.height, first.format.name)
        width, height, pix_fmt = self.kind
        graph: Any = av.filter.Graph()
        self.input: Any = graph.add_buffer(
            width=width, height=height, format=pix_fmt, time_base=first.time_base
        )
        deinterlace = graph.add("bwdif", "mode=send_frame:deint=interlaced")
        self.output: Any = graph.add("buffersink")
        self.input.link_to(deinterlace)
        deinterlace.link_to(self.output)
        graph.configure()
        self.graph = graph

    def takes(self, frame: Any) -> bool:
        """Whether the frame has the size and format of the first one."""
        return (frame.width, frame.height, frame.format.name) == self.kind

    def __call__(self, frame: Any) -> Iterator[Any]:
        """The frames that are ready after this one; None flushes."""
        from av import FFmpegError

        self.input.push(frame)
        while True:
            try:
                yield self.output.pull()
            except (FFmpegError, BlockingIOError, EOFError):  # none ready
                return


def _duration(container: Any, stream: Any) -> tuple[float, float]:
    """(seconds, how much longer than the frames it may be). The container's duration, where the
    stream has none, includes sound that may be longer."""
    if container.format.name == "avi" and stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate), 0.0  # its header outlives a cut
    if stream.duration:
        return float(stream.duration * (stream.time_base or Fraction(0))), 0.0
    return (container.duration or 0) / 1e6, 1.0 if len(container.streams) > 1 else 0.0
