"""Cameras and network streams, reconnected when they stall or break off."""

import os
import re
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import cv2
import numpy as np

from demo.pipeline import BoundedQueue, EndedError, Source, SourceFrame, frame_name
from demo.progress import say
from perception.errors import UserError
from perception.runtime.letterbox import as_bgr

# Longer than FFmpeg's own timeouts: those end a read cleanly, these abandon its thread.
OPEN_TIMEOUT_S, READ_TIMEOUT_S = 20.0, 8.0
FFMPEG_TIMEOUT_MS = 5000
CLOSE_TIMEOUT_S = 1.0  # for a pending read when the run ends


class Live(Source):
    """A camera by its number or a stream by its address.

    A read that gives nothing for `timeout_s` seconds counts as broken off. The source is then
    opened again, up to `attempts` times in a row without a frame, after pauses that double.
    """

    live = True
    attempts, pause_s, timeout_s = 5, 1.0, READ_TIMEOUT_S

    def __init__(self, address: str) -> None:
        self.address, self.shown = address, shown_address(address)
        self.closed = threading.Event()
        self.connection = Connection(address)
        if not self.connection.opens(OPEN_TIMEOUT_S):
            kind = "stream" if "://" in address else "camera"
            reason = self.connection.reason or f"no answer for {OPEN_TIMEOUT_S:.0f} s"
            raise UserError(f"{kind} {self.shown}: {reason}; check that it is connected")
        fps = self.connection.fps
        super().__init__(f"live-{self.shown}", fps if 0 < fps <= 1000 else 30.0, None)

    def __iter__(self) -> Iterator[SourceFrame]:
        start, index, failures = time.monotonic(), 0, 0
        self.epoch_ns = time.time_ns()
        while not self.closed.is_set():
            try:
                image = self.connection.images.get(self.timeout_s)
            except (EndedError, TimeoutError):
                if not self._reconnect(failures):
                    return
                failures += 1
                continue
            failures = 0
            seconds = time.monotonic() - start
            yield SourceFrame(as_bgr(image), index, seconds, frame_name(self.name, index))
            index += 1

    def _reconnect(self, failures: int) -> bool:
        """Waits and connects again; False once the attempts are used up."""
        self.connection.images.abort()
        reason = self.connection.reason or f"no frame for {self.timeout_s:g} s"
        if self.closed.is_set():
            return False
        if failures >= self.attempts:
            self.complain(f"{self.shown}: {reason}, {failures} reconnections gave no frame")
            return False
        number = f"reconnecting, {failures + 1} of {self.attempts}"
        say(f"{self.shown}: {reason}; {number}")
        self.reconnects += 1
        self.closed.wait(self.pause_s * 2**failures)
        self.connection = Connection(self.address)
        self.connection.opens(OPEN_TIMEOUT_S)
        return True

    def close(self) -> None:
        """Ends the iteration soon, also while it waits for a frame."""
        self.closed.set()
        self.connection.images.abort()
        self.connection.thread.join(CLOSE_TIMEOUT_S)


class Connection:
    """One capture, opened and read in its own thread, because neither call can be interrupted and
    either may block indefinitely. `reason` says how it ended."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.images: BoundedQueue[np.ndarray] = BoundedQueue(1)
        self.tried, self.is_open = threading.Event(), False
        self.fps, self.reason = 0.0, ""
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def opens(self, timeout_s: float) -> bool:
        """Whether it opened within so many seconds."""
        return self.tried.wait(timeout_s) and self.is_open

    def _run(self) -> None:
        try:
            capture = connect(self.address)
            try:
                self._read(capture)
            finally:
                capture.release()
        except Exception as error:  # OpenCV's errors end the connection, not the program
            self.reason = type(error).__name__  # its text may hold the address, with a password
        self.images.end()
        self.tried.set()

    def _read(self, capture: cv2.VideoCapture) -> None:
        if not capture.isOpened():
            self.reason = "does not open"
            return
        self.fps, self.is_open = capture.get(cv2.CAP_PROP_FPS), True
        self.tried.set()
        while True:
            ok, image = capture.read()
            if not ok:
                self.reason = "broke off"
                return
            if not self.images.put(image):
                return


def connect(address: str) -> cv2.VideoCapture:
    """Opens a camera number or an address; FFmpeg times out after five seconds without data."""
    # FFmpeg's messages: the errors are reported in one line of our own.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    if number := re.fullmatch(
        r"(?:/dev/video)?(\d+)", os.path.realpath(address) if os.path.exists(address) else address
    ):
        return cv2.VideoCapture(int(number[1]))
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC]
    return cv2.VideoCapture(
        address, cv2.CAP_FFMPEG, [value for limit in limits for value in (limit, FFMPEG_TIMEOUT_MS)]
    )


def shown_address(address: str) -> str:
    """An address for logs and messages: without user, password, query, and values in the path,
    which may be secrets. Anything else as it is."""
    if "://" not in address:
        return address
    parts = urlsplit(address)
    try:
        host = parts.hostname or ""
        place = f"[{host}]" if ":" in host else host
        place += f":{parts.port}" if parts.port else ""
    except ValueError:
        place = ""
    path = re.sub(r"[=@:][^/]*", "", parts.path)
    return f"{parts.scheme}://{place}{path}"
