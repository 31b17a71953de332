"""Decodes, infers and draws concurrently: one thread per stage, bounded queues between them."""

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from perception.runtime.road import Road
from perception.runtime.scene import Scene

Item = TypeVar("Item")
Stage = Callable[["Packet"], None]
DEPTH = 2
DECODER_TIMEOUT_S = 5.0  # a decoder blocked in a read cannot be interrupted; it is abandoned
POLL_S = 0.1  # how often `ended` is asked while no frame comes
MAX_PROBLEMS = 20


@dataclass
class SourceFrame:
    """One picture and its place in the source."""

    image: np.ndarray  # uint8 (H, W, 3) BGR
    index: int
    seconds: float  # since the source's first frame
    name: str


class Source(ABC):
    """Frames in order. `problems` holds one line for each part that could not be read, `notes` what
    the user should know of the others."""

    live = False  # a live source does not wait: a slow consumer gets the newest frame
    still = False  # unrelated pictures: nothing is tracked from one to the next
    reconnects = 0  # times a live source was opened again
    epoch_ns = 0  # when the first frame was recorded, since 1970; 0: not known

    def __init__(self, name: str, fps: float, count: int | None) -> None:
        self.name, self.fps, self.count = printable(name), fps, count
        self.stem = Path(self.name).stem
        self.problems: list[str] = []
        self.notes: list[str] = []

    @abstractmethod
    def __iter__(self) -> Iterator[SourceFrame]: ...

    def close(self) -> None:
        """Ends a live source's iteration; a file ends by itself."""
        return

    def complain(self, line: str) -> None:
        """Adds a problem, up to MAX_PROBLEMS."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(line)


def frame_name(stem: str, index: int) -> str:
    """Of a frame of a video, numbered from 1 as BDD100K's are."""
    return f"{stem}-{index + 1:07d}"


def printable(name: str) -> str:
    """A file's name as text: names are bytes and need not be UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()


class EndedError(Exception):
    """The queue has ended: no item will come."""


class BoundedQueue(Generic[Item]):
    """A first-in, first-out queue between two threads that either of them can end.

    With `newest`, a full queue drops its oldest item instead of blocking the producer, as a live
    camera requires; `dropped` counts them.
    """

    def __init__(self, size: int, newest: bool = False) -> None:
        self.items: deque[Item] = deque()
        self.size, self.newest, self.dropped = size, newest, 0
        self.ended = self.aborted = False
        self.changed = threading.Condition()

    def put(self, item: Item) -> bool:
        """Blocks while full, unless `newest`. False once the queue was aborted."""
        with self.changed:
            if self.newest and len(self.items) >= self.size:
                self.items.popleft()
                self.dropped += 1
            self.changed.wait_for(lambda: self.aborted or len(self.items) < self.size)
            if not self.aborted:
                self.items.append(item)
            self.changed.notify_all()
            return not self.aborted

    def get(self, timeout_s: float | None = None) -> Item:
        """The next item. Raises EndedError when the queue has ended, TimeoutError after
        `timeout_s` seconds without an item."""
        with self.changed:
            ready = self.changed.wait_for(
                lambda: self.items or self.ended or self.aborted, timeout_s
            )
            if not ready:
                raise TimeoutError
            if self.aborted or not self.items:
                raise EndedError
            item = self.items.popleft()
            self.changed.notify_all()
            return item

    def __iter__(self) -> Iterator[Item]:
        while True:
            try:
                item = self.get()
            except EndedError:
                return
            yield item

    def end(self) -> None:
        """Ends the queue after the items already in it."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def abort(self) -> None:
        """Ends the queue at once; items still in it are lost."""
        with self.changed:
            self.aborted = True
            self.changed.notify_all()


@dataclass
class Packet:
    """One frame and what the stages have added to it."""

    frame: SourceFrame
    scene: Scene = field(default_factory=lambda: Scene((0, 0), {}))
    canvas: np.ndarray | None = None  # uint8 (H, W, 3) BGR, where a sink shows it
    shown: Scene | None = None  # as it is drawn, where that differs: filtered over time
    road: Road | None = None  # lanes, and distances where there is a camera
    timings_ms: dict[str, float] = field(default_factory=dict)
    dropped: int = 0  # frames of a live source dropped so far


class Pipeline(AbstractContextManager["Pipeline"]):
    """Iterate it for packets, in order, that have passed every stage. The first stage runs on
    `at_once` packets at the same time.

    An error in a stage or the source is raised to the iterating thread, after the packets before
    it. The iteration ends early once `ended()` is true, even if the source never gives another
    frame. End it with close(), or use it as a context manager.
    """

    def __init__(
        self,
        source: Source,
        stages: Sequence[tuple[str, Stage]],
        ended: Callable[[], bool] = lambda: False,
        at_once: int = 1,
    ) -> None:
        self.source, self.stages, self.ended, self.at_once = source, stages, ended, at_once
        first: BoundedQueue[Packet] = BoundedQueue(1 if source.live else DEPTH, source.live)
        self.queues = [first, *(BoundedQueue[Packet](DEPTH) for _ in stages)]
        self.error: BaseException | None = None
        work = [self._decode, *(lambda i=i: self._stage(i) for i in range(len(stages)))]
        # Daemons, because a decoder's read cannot be interrupted.
        self.threads = [
            threading.Thread(target=self._guarded, args=(run, queue), daemon=True)
            for run, queue in zip(work, self.queues, strict=True)
        ]

    @property
    def dropped(self) -> int:
        """Frames of a live source that were replaced by newer ones before inference."""
        return self.queues[0].dropped

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Packet]:
        for thread in self.threads:
            thread.start()
        while not self.ended():
            try:
                packet = self.queues[-1].get(POLL_S)
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
        for queue in self.queues:
            queue.abort()
        for i, thread in enumerate(self.threads):
            if thread.ident is not None:
                # Stages are joined without a limit: a thread still inside the model when the
                # interpreter exits crashes the process.
                thread.join(timeout=None if i else DECODER_TIMEOUT_S)

    def _guarded(self, run: Callable[[], None], queue: BoundedQueue[Packet]) -> None:
        try:
            run()
        except BaseException as error:  # raised again in the iterating thread
            self.error = self.error or error
        queue.end()

    def _decode(self) -> None:
        before = time.perf_counter()
        for frame in self.source:
            packet = Packet(frame, timings_ms={"decode": 1e3 * (time.perf_counter() - before)})
            if not self.queues[0].put(packet):
                return
            before = time.perf_counter()

    def _stage(self, index: int) -> None:
        (name, run), out = self.stages[index], self.queues[index + 1]
        workers = 1 if index else self.at_once

        def work(packet: Packet) -> Packet:
            start = time.perf_counter()
            packet.dropped = self.dropped
            run(packet)
            packet.timings_ms[name] = 1e3 * (time.perf_counter() - start)
            return packet

        with ThreadPoolExecutor(workers) as pool:
            started: deque[Future[Packet]] = deque()
            for packet in self.queues[index]:
                started.append(pool.submit(work, packet))
                if len(started) == workers and not out.put(started.popleft().result()):
                    return
            for future in started:
                out.put(future.result())
