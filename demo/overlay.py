"""The displayed frame: the scene drawn by kind, the ego lane, and a line of timings."""

from collections import deque

import cv2
import numpy as np

from demo.pipeline import Packet
from demo.status import Controls
from perception.runtime.drawing import chip, draw, text_height, text_size

EGO_COLOUR = (120, 255, 120)


class Overlay:
    """Draws packets. `controls.hidden` is read per frame, so switches act at once."""

    def __init__(self, controls: Controls, provider: str, score: float) -> None:
        self.controls, self.provider, self.score = controls, provider, score
        self.times: deque[float] = deque(maxlen=30)

    def draw(self, packet: Packet, now: float) -> None:
        """Sets packet.canvas; `now` is a monotonic clock in seconds."""
        assert packet.scene is not None
        self.times.append(now)
        packet.canvas = draw(packet.frame.image, packet.scene, self.controls.hidden, self.score)
        for points in packet.ego.values():
            draw_ego(packet.canvas, points)
        self._figures(packet)

    def fps(self) -> float:
        """Frames per second over the last 30 frames; 0 at the first frame."""
        if len(self.times) < 2 or self.times[-1] <= self.times[0]:
            return 0.0
        return (len(self.times) - 1) / (self.times[-1] - self.times[0])

    def _figures(self, packet: Packet) -> None:
        assert packet.canvas is not None
        model_ms = packet.timings_ms.get("model", 0.0)
        parts = [f"{self.fps():.1f} fps", f"model {model_ms:.1f} ms", self.provider]
        if packet.dropped:
            parts.append(f"dropped {packet.dropped}")
        text, height = "   ".join(parts), max(8, text_height(packet.canvas.shape[:2]) * 4 // 5)
        tall = text_size(text, height)[1]
        at = (height, packet.canvas.shape[0] - tall - height)
        chip(packet.canvas, text, at, height, opacity=0.6)


def draw_ego(canvas: np.ndarray, points: np.ndarray) -> None:
    """An anti-aliased line with a dark rim; `points` (N, 2) xy."""
    line = max(2, round(min(canvas.shape[:2]) / 180))
    path = [np.round(points * 16).astype(np.int32)]  # 4 fractional bits
    cv2.polylines(canvas, path, False, (40, 60, 40), line + 2, cv2.LINE_AA, shift=4)
    cv2.polylines(canvas, path, False, EGO_COLOUR, line, cv2.LINE_AA, shift=4)
