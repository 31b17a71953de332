"""Decode, infer and draw at the same time: one thread a stage, bounded queues between them."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from demo.video import Frame, Source
from perception.runtime.scene import Scene

Item = TypeVar("Item")
Stage = Callable[["Packet"], None]
DEPTH = 2


@dataclass
class Packet:
    """A frame on its way, filled in by the stages."""

    frame: Frame
    scene: Scene | None = None
    canvas: np.ndarray | None = None  # uint8 (H, W, 3) BGR, where something looks at it
    ego: dict[str, np.ndarray] = field(default_factory=dict)  # side -> (N, 2) xy in the frame
    timings_ms: dict[str, float] = field(default_factory=dict)
    dropped: int = 0  # frames the source gave up to now that nobody could take


class Channel(Generic[Item]):
    """A bounded queue between two threads.

    With `newest`, a full queue forgets its oldest item instead of holding up who puts: a camera
    does not wait, and a car wants to know what is, not what was.
    """

    def __init__(self, size: int, newest: bool = False) -> None:
        self.items: deque[Item] = deque()
        self.size, self.newest, self.dropped = size, newest, 0
        self.ended = self.aborted = False
        self.changed = threading.Condition()

    def put(self, item: Item) -> bool:
        """Waits for room where it must; False when nobody will ever take the item."""
        with self.changed:
            if self.newest and len(self.items) >= self.size:
                self.items.popleft()
                self.dropped += 1
            self.changed.wait_for(lambda: self.aborted or len(self.items) < self.size)
            if not self.aborted:
                self.items.append(item)
            self.changed.notify_all()
            return not self.aborted

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.items or self.ended or self.aborted)
                if self.aborted or not self.items:
                    return
                item = self.items.popleft()
                self.changed.notify_all()
            yield item

    def end(self) -> None:
        """No item comes after those already in."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def abort(self) -> None:
        """Frees everyone who waits; what is still in is lost."""
        with self.changed:
            self.aborted = True
            self.changed.notify_all()


class Pipeline:
    """Iterate it for packets, in order, that have passed every stage.

    An error in a stage or the source is raised to who iterates, after the packets before it. Leave
    it with close(), or use it as a context manager.
    """

    def __init__(self, source: Source, stages: Sequence[tuple[str, Stage]]) -> None:
        self.source, self.stages = source, stages
        self.channels: list[Channel[Packet]] = [Channel(1 if source.live else DEPTH, source.live)]
        self.channels += [Channel(DEPTH) for _ in stages]
        self.error: BaseException | None = None
        work = [self._decode, *(lambda i=i: self._stage(i) for i in range(len(stages)))]
        # Daemons, because a camera's read cannot be interrupted.
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
        yield from self.channels[-1]
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Stops all threads; a decoder stuck in a camera's read is left behind."""
        for channel in self.channels:
            channel.abort()
        for thread in self.threads:
            if thread.ident is not None:
                thread.join(timeout=5)

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
