"""perceive --show: a window, in its own process (`python -m demo.show TITLE`).

OpenCV's GUI aborts the process when the display is missing or lost; inference must go on then.
"""

import os
import struct
import subprocess
import sys
import threading
from contextlib import AbstractContextManager

import cv2
import numpy as np

from demo.overlay import Controls
from demo.pipeline import Packet
from perception.errors import UserError

NO_DISPLAY = "--show needs a display and there is none; use --serve or --save instead"
REDRAW_S = 0.05  # keys are read at this interval while no new frame comes
HEADER = struct.Struct("<II")  # height, width; then height * width * 3 bytes BGR


def has_display() -> bool:
    """Whether this session has a display to open windows on."""
    named = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.platform != "linux" or bool(named)


class ShowSink(AbstractContextManager["ShowSink"]):
    """Shows the newest canvas. A slow or lost display never blocks the pipeline."""

    def __init__(
        self, title: str, controls: Controls, command: tuple[str, ...] = ("-m", "demo.show")
    ) -> None:
        self.command, self.controls = [sys.executable, *command, title], controls
        self.newest: np.ndarray | None = None
        self.arrived, self.closed = threading.Event(), False

    def __enter__(self) -> "ShowSink":
        self.child = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
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
        """Replaces the frame the window shows next."""
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
                print("the display was lost; continuing without the window", file=sys.stderr)

    def _keys(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            word, _, code = line.decode("ascii", "replace").strip().partition(" ")
            if word == "key" and code.isdigit():
                self.controls.key(chr(int(code)))
        # Without the window no key could end a pause.
        self.controls.paused = False

    def __exit__(self, *_: object) -> None:
        self.closed = True
        self.arrived.set()
        self.child.kill()
        self.child.wait()


def main(title: str) -> int:
    """The child process: shows images from stdin and prints keys, until stdin ends or the window is
    closed."""
    cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
    cv2.waitKey(1)
    print("ready", flush=True)
    sized = False
    while header := sys.stdin.buffer.read(HEADER.size):
        height, width = HEADER.unpack(header)
        pixels = sys.stdin.buffer.read(height * width * 3)
        if len(pixels) < height * width * 3:
            break
        if not sized:
            scale = min(1.0, 1600 / width, 900 / height)
            cv2.resizeWindow(title, max(1, int(width * scale)), max(1, int(height * scale)))
            sized = True
        cv2.imshow(title, np.frombuffer(pixels, np.uint8).reshape(height, width, 3))
        key = cv2.waitKey(1) & 0xFF
        if key != 255:
            print(f"key {key}", flush=True)
        if cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) < 1:
            print(f"key {ord('q')}", flush=True)
            break
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
