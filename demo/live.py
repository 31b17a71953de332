"""Frames of a camera or a network stream, opened again when it stalls or breaks off."""

import sys
import threading
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from demo.channel import Channel, EndedError
from demo.video import Frame, Source, quiet
from perception.errors import UserError
from perception.runtime.letterbox import as_bgr

ATTEMPTS, PAUSE_S = 5, 1.0
# Longer than FFmpeg's own limits: those end a read cleanly, these leave its thread behind.
OPEN_S, READ_S = 20.0, 8.0
FFMPEG_WAIT_MS = 5000
LEAVE_S = 1.0  # for a read to end when the run does


class Live(Source):
    """A camera by its number or a stream by its address.

    A read that gives nothing for `patience_s` seconds counts as broken off. What breaks off is
    opened again, `attempts` times without a frame in between, after pauses that double.
    """

    live = True

    def __init__(
        self,
        address: str,
        attempts: int = ATTEMPTS,
        pause_s: float = PAUSE_S,
        patience_s: float = READ_S,
    ) -> None:
        self.address, self.attempts = address, attempts
        self.pause_s, self.patience_s = pause_s, patience_s
        self.closed = threading.Event()
        self.connection = Connection(lambda: connect(address))
        if not self.connection.opens(OPEN_S):
            what = "camera" if address.isdigit() else "stream"
            why = self.connection.why or f"no answer for {OPEN_S:.0f} s"
            raise UserError(f"{what} {address}: {why}; check that it is connected")
        fps = self.connection.fps
        super().__init__(f"live-{address}", fps if 0 < fps <= 1000 else 30.0, None)

    def __iter__(self) -> Iterator[Frame]:
        start, index, failures = time.monotonic(), 0, 0
        while not self.closed.is_set():
            try:
                image = self.connection.images.get(self.patience_s)
            except (EndedError, TimeoutError):
                if not self._again(failures):
                    return
                failures += 1
                continue
            failures = 0
            seconds = time.monotonic() - start
            yield Frame(as_bgr(image), index, seconds, f"{self.name}-{index + 1:07d}")
            index += 1

    def _again(self, failures: int) -> bool:
        """Waits and connects anew, saying so; False gives up."""
        self.connection.images.abort()
        why = self.connection.why or f"no frame for {self.patience_s:g} s"
        if self.closed.is_set():
            return False
        if failures >= self.attempts:
            self.complain(f"{self.address}: {why}, {failures} new connections gave no frame either")
            return False
        number = f"connecting again, {failures + 1} of {self.attempts}"
        print(f"{self.address}: {why}; {number}", file=sys.stderr, flush=True)
        self.reconnects += 1
        self.closed.wait(self.pause_s * 2**failures)
        self.connection = Connection(lambda: connect(self.address))
        self.connection.opens(OPEN_S)
        return True

    def close(self) -> None:
        """Ends the iteration soon, also while it waits."""
        self.closed.set()
        self.connection.images.abort()
        self.connection.thread.join(LEAVE_S)


class Connection:
    """The address opened once and read in a thread of its own, because neither call can be
    interrupted and either may hang for ever. `why` says how it ended."""

    def __init__(self, open_capture: Callable[[], cv2.VideoCapture]) -> None:
        self.open_capture = open_capture
        self.images: Channel[np.ndarray] = Channel(1)
        self.tried, self.is_open = threading.Event(), False
        self.fps, self.why = 0.0, ""
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def opens(self, patience: float) -> bool:
        """Whether it opened within so many seconds."""
        return self.tried.wait(patience) and self.is_open

    def _run(self) -> None:
        try:
            capture = self.open_capture()
            try:
                self._read(capture)
            finally:
                capture.release()
        except Exception as error:  # OpenCV's own errors; the connection is lost, not the program
            self.why = str(error).strip().splitlines()[-1]
        self.images.end()
        self.tried.set()

    def _read(self, capture: cv2.VideoCapture) -> None:
        if not capture.isOpened():
            self.why = "does not open"
            return
        self.fps, self.is_open = capture.get(cv2.CAP_PROP_FPS), True
        self.tried.set()
        while True:
            ok, image = capture.read()
            if not ok:
                self.why = "broke off"
                return
            if not self.images.put(image):
                return


def connect(address: str) -> cv2.VideoCapture:
    """Opens a camera number or an address; FFmpeg gives up after five seconds without data."""
    quiet()
    if address.isdigit():
        return cv2.VideoCapture(int(address))
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC]
    return cv2.VideoCapture(
        address, cv2.CAP_FFMPEG, [value for limit in limits for value in (limit, FFMPEG_WAIT_MS)]
    )
