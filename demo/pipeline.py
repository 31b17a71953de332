"""Decode, infer and draw at the same time: one thread a stage, bounded queues between them."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from demo.channel import Channel, EndedError
from demo.video import Frame, Source
from perception.runtime.scene import Scene

Stage = Callable[["Packet"], None]
DEPTH = 2
DECODER_S = 5.0  # a decoder may be stuck in a read, and is left behind
POLL_S = 0.1  # how soon a wish to end is heard while no frame comes


@dataclass
class Packet:
    """A frame on its way, filled in by the stages."""

    frame: Frame
    scene: Scene | None = None
    canvas: np.ndarray | None = None  # uint8 (H, W, 3) BGR, where something looks at it
    ego: dict[str, np.ndarray] = field(default_factory=dict)  # side -> (N, 2) xy in the frame
    timings_ms: dict[str, float] = field(default_factory=dict)
    dropped: int = 0  # frames the source gave up to now that nobody could take


class Pipeline:
    """Iterate it for packets, in order, that have passed every stage.

    An error in a stage or the source is raised to who iterates, after the packets before it. The
    iteration ends early once `ended()` is true, even if the source never gives another frame.
    Leave it with close(), or use it as a context manager.
    """

    def __init__(
        self,
        source: Source,
        stages: Sequence[tuple[str, Stage]],
        ended: Callable[[], bool] = lambda: False,
    ) -> None:
        self.source, self.stages, self.ended = source, stages, ended
        self.channels: list[Channel[Packet]] = [Channel(1 if source.live else DEPTH, source.live)]
        self.channels += [Channel(DEPTH) for _ in stages]
        self.error: BaseException | None = None
        work = [self._decode, *(lambda i=i: self._stage(i) for i in range(len(stages)))]
        # Daemons, because a decoder's read cannot be interrupted.
        self.threads = [
            threading.Thread(target=self._guarded, args=(run, channel), daemon=True)
            for run, channel in zip(work, self.channels, strict=True)
        ]

    @property
    def dropped(self) -> int:
        """Frames a live source gave that nobody could take in time."""
        return self.channels[0].dropped

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Packet]:
        for thread in self.threads:
            thread.start()
        while not self.ended():
            try:
                packet = self.channels[-1].get(POLL_S)
            except TimeoutError:
                continue
            except EndedError:
                break
            yield packet
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Stops all threads."""
        self.source.close()
        for channel in self.channels:
            channel.abort()
        for i, thread in enumerate(self.threads):
            if thread.ident is not None:
                # A stage's work ends: it is waited for, because a thread that is still inside the
                # model when the interpreter goes takes the process down with it.
                thread.join(timeout=None if i else DECODER_S)

    def _guarded(self, run: Callable[[], None], channel: Channel[Packet]) -> None:
        try:
            run()
        except BaseException as error:  # handed to the thread that iterates
            self.error = self.error or error
        channel.end()

    def _decode(self) -> None:
        before = time.perf_counter()
        for frame in self.source:
            packet = Packet(frame, timings_ms={"decode": 1e3 * (time.perf_counter() - before)})
            if not self.channels[0].put(packet):
                return
            before = time.perf_counter()

    def _stage(self, index: int) -> None:
        (name, run), out = self.stages[index], self.channels[index + 1]
        for packet in self.channels[index]:
            start = time.perf_counter()
            packet.dropped = self.dropped
            run(packet)
            packet.timings_ms[name] = 1e3 * (time.perf_counter() - start)
            if not out.put(packet):
                return
