"""The window of `perceive --show`, kept in a child process (demo.window)."""

import os
import subprocess
import sys
import threading
from contextlib import AbstractContextManager
from types import TracebackType

import numpy as np

from demo.controls import Controls
from demo.pipeline import Packet
from demo.window import HEADER
from perception.errors import UserError

NO_DISPLAY = "--show needs a display and there is none; use --serve or --save instead"
REDRAW_S = 0.05  # so that keys are read while nothing new comes


def display_there() -> bool:
    """Whether this session has a screen to open windows on."""
    named = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.platform != "linux" or bool(named)


class ShowSink(AbstractContextManager["ShowSink"]):
    """Shows the newest canvas. A slow or lost display never holds up the pipeline."""

    def __init__(
        self, title: str, controls: Controls, command: tuple[str, ...] = ("-m", "demo.window")
    ) -> None:
        if not display_there():
            raise UserError(NO_DISPLAY)
        self.command, self.controls = [sys.executable, *command, title], controls
        self.newest: np.ndarray | None = None
        self.arrived, self.closed = threading.Event(), False

    def __enter__(self) -> "ShowSink":
        self.child = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.child.stdout is not None
        if self.child.stdout.readline().strip() != b"ready":
            self.child.wait()
            raise UserError(NO_DISPLAY)
        self.threads = [
            threading.Thread(target=run, daemon=True) for run in (self._send, self._keys)
        ]
        for thread in self.threads:
            thread.start()
        return self

    def write(self, packet: Packet) -> None:
        """Replaces what the window will show next."""
        self.newest = packet.canvas
        self.arrived.set()

    def _send(self) -> None:
        assert self.child.stdin is not None
        try:
            while not self.closed:
                self.arrived.wait(REDRAW_S)
                self.arrived.clear()
                if self.newest is not None:
                    height, width = self.newest.shape[:2]
                    self.child.stdin.write(HEADER.pack(height, width))
                    self.child.stdin.write(np.ascontiguousarray(self.newest).data)
                    self.child.stdin.flush()
        except (BrokenPipeError, ValueError, OSError):
            if not (self.closed or self.controls.quit):
                print("the display is gone; going on without the window", file=sys.stderr)

    def _keys(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            word, _, code = line.decode("ascii", "replace").strip().partition(" ")
            if word == "key" and code.isdigit():
                self.controls.key(chr(int(code)))
        # Nobody could press a key again: a pause would last for ever.
        self.controls.paused = False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closed = True
        self.arrived.set()
        self.child.kill()
        self.child.wait()
