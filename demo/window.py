"""python -m demo.window TITLE: shows pictures from stdin, writes keys to stdout.

A process of its own, because OpenCV's window code ends the whole process when the display is
missing or lost, and a car must not stop driving because someone closed a lid.
"""

import struct
import sys

import cv2
import numpy as np

HEADER = struct.Struct("<II")  # height, width; then height * width * 3 bytes BGR


def main(title: str) -> int:
    """Runs until stdin ends or the window is closed."""
    cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
    cv2.waitKey(1)
    _say("ready")
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
            _say(f"key {key}")
        if cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) < 1:
            _say(f"key {ord('q')}")
            break
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
