"""Interlaced frames of PyAV as whole pictures."""

from collections.abc import Iterator
from typing import Any


def deinterlaced(frames: Iterator[Any]) -> Iterator[Any]:
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
        self.graph: Any = av.filter.Graph()
        self.graph.link_nodes(
            self.graph.add_buffer(
                width=width, height=height, format=pix_fmt, time_base=first.time_base
            ),
            self.graph.add("bwdif", "mode=send_frame:deint=interlaced"),
            self.graph.add("buffersink"),
        ).configure()

    def takes(self, frame: Any) -> bool:
        """Whether the frame has the size and format of the first one."""
        return (frame.width, frame.height, frame.format.name) == self.kind

    def __call__(self, frame: Any) -> Iterator[Any]:
        """The frames that are ready after this one; None flushes."""
        from av import FFmpegError

        self.graph.vpush(frame)
        while True:
            try:
                yield self.graph.vpull()
            except (FFmpegError, BlockingIOError, EOFError):  # none ready
                return
