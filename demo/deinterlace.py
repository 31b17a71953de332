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
