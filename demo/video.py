"""Video files as a source of frames, decoded by FFmpeg through PyAV (extra `demo`)."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from demo.deinterlace import deinterlaced
from demo.pipeline import Source, SourceFrame, frame_name
from perception.errors import UserError, require_extra
from perception.images import MAX_PIXELS
from perception.runtime.letterbox import as_bgr

# A larger step between two frames is a damaged timestamp.
MAX_LEAP_S = 3600.0
# What FFmpeg may open: video containers only, no playlists that name other files or the network,
# and no frame above the limit, neither by the header nor later in the file.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,m4v,h264,hevc,av1,"
    "ivf,obu,mjpeg,jpeg_pipe,mpjpeg,gif,dv,mxf,rm,yuv4mpegpipe"
)
FILE_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": FORMATS,
    "max_pixels": str(MAX_PIXELS),
}
# An address that the user gave may also be a playlist (HLS) of the network.
ADDRESS_OPTIONS = {
    "protocol_whitelist": "http,https,tcp,tls,crypto,ftp,httpproxy",
    "format_whitelist": f"{FORMATS},hls",
    "max_pixels": str(MAX_PIXELS),
}
ADDRESS_TIMEOUT_S = 5.0
LARGE_PIXELS = 1920 * 1088
SAMPLED_PACKETS = 120  # read to find the moving one of several video streams
MAX_ASPECT = 8.0  # of a pixel; beyond it the header is damaged
MAX_NAMED = 5  # damaged frames in a message
# Of frame.rotation, degrees counterclockwise.
ROTATIONS = {
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
    180: cv2.ROTATE_180,
    -180: cv2.ROTATE_180,
    -90: cv2.ROTATE_90_CLOCKWISE,
    270: cv2.ROTATE_90_CLOCKWISE,
}


class VideoFile(Source):
    """A file FFmpeg decodes, upright, with square pixels, without interlacing and with its own
    timestamps.

    Edit lists are applied, so that frames outside them are not shown. Of several video streams the
    default one is read, else the largest, never a still picture (a cover); `notes` says which. A
    file that ends early or has damaged frames is reported in `problems`. `count` follows from
    duration and mean rate. `place` may be an address of the network; `label` names it in messages.
    """

    def __init__(self, place: Path | str, label: str = "") -> None:
        require_extra("demo", "av")
        from av.video.reformatter import VideoReformatter

        self.to_bgr = VideoReformatter()
        self.place, self.path, self.chosen = place, label or str(place), -1
        notes = []
        with self._opened() as (container, stream):
            codec, found = stream.codec_context, len(container.streams.video)
            if found > 1:
                notes.append(
                    f"{self.path}: {found} video streams; using number {self.chosen} "
                    f"({codec.name}, {codec.width}x{codec.height})"
                )
            aspect = float(stream.sample_aspect_ratio or 1)
            self.aspect = aspect if 1 / MAX_ASPECT <= aspect <= MAX_ASPECT else 1.0
            self.times = _Times(container, stream)
            rate = float(stream.average_rate or stream.guessed_rate or 0)
            self._check_size(codec.width, codec.height)
            if next(_decode(self.path, container, stream, _Reading()), None) is None:
                raise UserError(
                    f"{self.path}: a video without a frame that decodes; record it again, or "
                    "download it first where the server sends no parts of a file"
                )
        fps = rate if 0.01 <= rate <= 1000 else 25.0
        seconds = self.times.video_s
        count = round(seconds * fps) if seconds else 0
        super().__init__(Path(self.path).name, fps, count if 0 < count < 1e9 else None)
        self.notes = notes

    def __iter__(self) -> Iterator[SourceFrame]:
        index, first, last, reading = 0, None, -1.0, _Reading()
        with self._opened() as (container, stream):
            for frame in deinterlaced(_decode(self.path, container, stream, reading, self.times)):
                time = frame.time if frame.time is not None else -1.0
                first = time if first is None else first
                seconds = time - first
                # Some containers carry no usable timestamps, or damaged ones.
                if not last < seconds <= max(last, 0) + MAX_LEAP_S:
                    seconds = last + 1 / self.fps if index else 0.0
                name = frame_name(self.stem, index)
                yield SourceFrame(self._picture(frame), index, seconds, name)
                index, last = index + 1, seconds
        # Durations in containers are rounded, or estimated.
        slack_s = max(1.5 / self.fps, 0.02 * self.times.seconds)
        short = reading.end_s < self.times.end_s - slack_s or reading.last_is_damaged
        if self.times.seconds and short:
            count = f" of {self.count}" if self.count else ""
            self.complain(
                f"{self.path}: ends at frame {index}{count}, so it was cut off or is damaged; what "
                "could be read was used"
            )
        elif reading.damaged:
            which = ", ".join(map(str, reading.damaged[:MAX_NAMED]))
            more = ", …" if len(reading.damaged) > MAX_NAMED else ""
            self.complain(
                f"{self.path}: damaged frames: {len(reading.damaged)} (number {which}{more}); "
                "what could be decoded was used"
            )

    def _picture(self, frame: Any) -> np.ndarray:
        """uint8 (H, W, 3) BGR with square pixels, rotated as the file says."""
        self._check_size(frame.width, frame.height)
        # A view of FFmpeg's own memory: to_ndarray would copy it.
        plane: Any = self.to_bgr.reformat(frame, format="bgr24").planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
        image = as_bgr(rows[:, : 3 * frame.width].reshape(frame.height, frame.width, 3))
        if self.aspect != 1:
            size = self._square(frame.width, frame.height)
            image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        turn = ROTATIONS.get(frame.rotation)
        return image if turn is None else cv2.rotate(image, turn)

    def _square(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) with square pixels; the smaller side grows."""
        if self.aspect > 1:
            return round(width * self.aspect), height
        return width, round(height / self.aspect)

    def _check_size(self, width: int, height: int) -> None:
        wide, tall = self._square(width, height)
        if wide * tall > MAX_PIXELS:
            raise UserError(
                f"{self.path}: frames of {wide}x{tall}, more than {MAX_PIXELS / 1e6:.0f} million "
                "pixels; make it smaller"
            )

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        """(container, video stream)."""
        if self.chosen < 0:
            with opened(self.place, self.path) as container:
                self.chosen = _moving(container)
        with opened(self.place, self.path) as container:
            stream = next((one for one in container.streams if one.index == self.chosen), None)
            if stream is None or stream.codec_context is None:
                reason = "no video that decodes in it; it may be of another kind"
                raise UserError(f"{self.path}: {reason}")
            # Frame threads are faster, but a damaged packet then costs the frames decoded with it
            # too.
            large = stream.codec_context.width * stream.codec_context.height > LARGE_PIXELS
            stream.thread_type = "AUTO" if large else "SLICE"
            stream.codec_context.options = {"max_pixels": FILE_OPTIONS["max_pixels"]}
            yield container, stream


@contextmanager
def opened(place: Path | str, label: str = "") -> Iterator[Any]:
    """The container of a file, or of what an address (str) of the network serves."""
    import av

    remote, label = isinstance(place, str), label or str(place)
    if isinstance(place, Path) and not place.is_file():
        raise UserError(f"{label}: not a plain file; give a video, a folder of images or a camera")
    try:
        # Absolute, so that no name is taken for a protocol.
        container = av.open(
            str(place if isinstance(place, str) else place.absolute()),
            options=dict(ADDRESS_OPTIONS if remote else FILE_OPTIONS),
            metadata_errors="replace",
            timeout=ADDRESS_TIMEOUT_S if remote else None,
        )
    except (av.FFmpegError, ValueError, OSError):
        raise UserError(
            f"{label}: not a video that decodes; it may be cut off or of another kind"
        ) from None
    with container:
        yield container


def _moving(container: Any) -> int:
    """Index of the video stream to read, -1 where there is none."""
    import av

    videos = [one for one in container.streams.video if one.codec_context is not None]
    if len(videos) > 1:
        packets: Counter[int] = Counter()
        try:
            for packet in islice(container.demux(*videos), SAMPLED_PACKETS):
                packets[packet.stream.index] += packet.size > 0
        except (av.FFmpegError, OSError):
            pass  # a cut file: what was read decides
        videos = [one for one in videos if packets[one.index] > 1] or videos
    default = av.stream.Disposition.default

    def rank(one: Any) -> tuple[bool, int]:
        return bool(one.disposition & default), one.codec_context.width * one.codec_context.height

    return max(videos, key=rank).index if videos else -1


class _Times:
    """What a container says of its length. `all_streams`: its end is that of the longest stream,
    which may be sound."""

    def __init__(self, container: Any, stream: Any) -> None:
        base = stream.time_base or Fraction(0)
        self.all_streams, start = False, float((stream.start_time or 0) * base)
        if container.format.name == "avi" and stream.frames and stream.average_rate:
            self.seconds = float(stream.frames / stream.average_rate)  # its header outlives a cut
            self.video_s = self.seconds
        elif stream.duration:
            self.seconds = self.video_s = float(stream.duration * base)
        else:
            self.all_streams = True
            self.seconds = (container.duration or 0) / 1e6
            tagged = _clock_s(stream.metadata.get("DURATION", ""))
            alone = len(container.streams) == 1
            self.video_s = self.seconds if alone else max(0.0, tagged - start)
            start = (container.start_time or 0) / 1e6
        self.end_s = start + self.seconds


def _clock_s(text: str) -> float:
    """Seconds of 00:00:01.023; 0 for anything else."""
    try:
        hours, minutes, seconds = text.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        return 0.0


class _Reading:
    """What one pass over a file has found: numbers of damaged frames, end of the last packet, and
    whether that one does not decode, as where a file is cut."""

    def __init__(self) -> None:
        self.damaged: list[int] = []
        self.end_s, self.last_is_damaged = 0.0, False


def _decode(
    label: str, container: Any, stream: Any, reading: _Reading, times: _Times | None = None
) -> Iterator[Any]:
    """Every frame that decodes; `reading` is kept up to date."""
    import av

    wanted = container.streams if times is not None and times.all_streams else (stream,)
    packets, number, joined, ended = container.demux(*wanted), 0, None, False
    while not ended:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError, OSError):
            packet, ended = None, True  # flush what the decoder still holds
        if packet is not None:
            if packet.pts is not None and packet.time_base:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                reading.end_s = max(reading.end_s, end)
            if packet.stream.index != stream.index:
                continue
            # A recording may begin with frames that depend on earlier ones.
            joined = not packet.is_keyframe if joined is None else joined
        try:
            frames = stream.codec_context.decode(packet)
        except av.FFmpegError:
            if packet is not None and (number or not joined):
                reading.damaged.append(number + 1)
                reading.last_is_damaged = True
            continue
        except MemoryError:
            raise UserError(f"{label}: a frame is too large to decode; make it smaller") from None
        for frame in frames:
            reading.last_is_damaged = False
            if frame.is_corrupt and not (joined and not number):
                reading.damaged.append(number + 1)
            number += 1
            yield frame
