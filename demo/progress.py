"""How fast a run is: the progress line, the figures of the page, and the summary at the end."""

import sys
import time
from collections import deque
from typing import Any, TextIO

from demo.pipeline import Packet

KEPT = 2000  # timings per stage, so that long runs need no more memory
EVERY_S, EVERY_S_IN_A_FILE = 0.5, 15.0


def say(line: str) -> None:
    """A line for the user, next to what goes to stdout."""
    print(line, file=sys.stderr, flush=True)


class Statistics:
    """Counts frames and keeps the newest timings of each stage; prints the progress."""

    def __init__(self, out: TextIO | None = None) -> None:
        self.out = out or sys.stderr
        self.begin(None)

    def begin(self, total: int | None, still: bool = False, at_once: int = 1) -> None:
        """Starts the clock for an input: all from the first frame's decoding on counts. The model
        works on `at_once` frames at the same time."""
        self.total, self.still, self.at_once = total, still, at_once
        self.frames, self.dropped, self.model_ms = 0, 0, 0.0
        self.timings: dict[str, deque[float]] = {}
        self.start = self.end = self.printed = time.monotonic()

    def add(self, packet: Packet) -> None:
        """Counts one finished frame and prints the progress now and then."""
        self.frames += 1
        self.dropped = packet.dropped
        for stage, ms in packet.timings_ms.items():
            self.timings.setdefault(stage, deque(maxlen=KEPT)).append(ms)
        self.model_ms += packet.timings_ms.get("model", 0.0)
        self.end = time.monotonic()
        tty = self.out.isatty()
        if self.end - self.printed >= (EVERY_S if tty else EVERY_S_IN_A_FILE):
            self.printed = self.end
            line = self.progress()
            print(
                f"\r{line:<60}" if tty else line, end="" if tty else "\n", file=self.out, flush=True
            )

    def progress(self) -> str:
        """One line: frames, rate, and the time left where the length is known."""
        rate = self.fps()
        line = f"{self.frames}/{self.total or '?'} frames, {rate:.1f} fps"
        if self.total and rate:
            left = max(0, self.total - self.frames) / rate
            line += f", {left // 60:.0f}:{left % 60:02.0f} left"
        return line + (f", {self.dropped} dropped" if self.dropped else "")

    def fps(self) -> float:
        """Frames per second of the whole run, up to the last finished frame."""
        return self.frames / (self.end - self.start) if self.end > self.start else 0.0

    def fps_with(self, share: float) -> float:
        """An estimate of `fps` if the model took `share` of its time: the rest stays, and no stage
        becomes faster than it is."""
        frames = max(self.frames, 1)
        model_ms = self.model_ms / frames / self.at_once
        frame_ms = (self.end - self.start) * 1e3 / frames - (1 - share) * model_ms
        rest = [sum(t) / len(t) for one, t in self.timings.items() if one in ("decode", "finish")]
        return 1e3 / max(frame_ms, *rest, 1e-3)

    def snapshot(self) -> dict[str, Any]:
        """The same figures as a JSON-able dict."""
        stages = {
            stage: {"median_ms": _quantile(times, 0.5), "p90_ms": _quantile(times, 0.9)}
            for stage, times in list(self.timings.items())
        }
        counts = {"frames": self.frames, "dropped": self.dropped, "total": self.total}
        return {**counts, "fps": self.fps(), "stages": stages}

    def summary(self) -> str:
        """The whole run as printed text."""
        unit = "photo" if self.still else "frame"
        count = f"{self.frames} {unit}" + ("" if self.frames == 1 else "s")
        if not self.frames or (self.still and self.frames == 1):
            return count
        model_fps = 1000 * self.at_once * self.frames / self.model_ms if self.model_ms else 0.0
        share = 100 * self.fps() / model_fps if model_fps else 0.0
        of_model = f" ({share:.0f} % of the model's)" if share else ""
        means = {stage: sum(times) / len(times) for stage, times in self.timings.items()}
        others = sum(means.get(stage, 0.0) for stage in ("decode", "infer", "finish"))
        lines = [
            f"{count}, {self.dropped} dropped",
            f"whole pipeline {self.fps():.1f} fps{of_model}, model alone {model_fps:.1f} fps",
            f"not the model: {others - means.get('model', 0.0):.1f} ms per frame",
        ]
        lines += [
            f"  {stage:<8} median {_quantile(times, 0.5):6.1f} ms   "
            f"p90 {_quantile(times, 0.9):6.1f} ms"
            for stage, times in self.timings.items()
        ]
        return "\n".join(lines)


def _quantile(times: deque[float], share: float) -> float:
    ordered = sorted(times.copy())  # a copy, because another thread may append
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
