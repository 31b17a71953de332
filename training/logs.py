"""Output of a run: log.jsonl, progress bar, score table, overlays of validation frames."""

import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from rich import box, progress
from rich.console import Console
from rich.table import Table

from perception.files import write_atomic
from perception.runtime.drawing import draw
from perception.runtime.letterbox import Letterbox, as_bgr
from perception.runtime.scene import Scene

if TYPE_CHECKING:
    from training.evaluation.predictor import LabelledFrame

OVERLAYS: Final = 8  # frames of a picture
WITHOUT_TEXT: Final = 64  # columns of a progress bar that are not text of its own
FURTHER: Final = 3  # scores per task in addition to its headline

Scores = dict[str, dict[str, float]]


class JsonLog:
    """One JSON object per line; NaN is written as null.

    `offset` is the length stored in a resume state: a resumed run truncates the file there, so that
    no step is logged twice. A file that is shorter, e.g. one that was deleted, is continued at its
    end.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(path, "r+b" if path.exists() else "w+b")  # noqa: SIM115
        end = min(offset, self.file.seek(0, io.SEEK_END))
        self.file.truncate(end)
        self.file.seek(end)

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends one line and flushes it to the operating system."""
        self.file.write(json.dumps(json_values(record, 9)).encode() + b"\n")
        self.file.flush()

    def sync(self) -> int:
        """Makes the log durable; returns its length."""
        os.fsync(self.file.fileno())
        return self.file.tell()

    def close(self) -> None:
        self.file.close()


def json_values(value: Any, digits: int = 17) -> Any:
    """Plain values for JSON: NaN and infinities as null, floats with so many significant digits."""
    if isinstance(value, Mapping):
        return {str(key): json_values(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(item, digits) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return value


def make_progress(console: Console, *columns: str) -> progress.Progress:
    """A bar with the time left, and `columns` of text that its tasks have as fields.

    It vanishes at its end, and is not there where the output is no terminal.
    """
    return progress.Progress(
        progress.TextColumn("[bold]{task.description}"),
        progress.BarColumn(bar_width=20),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("left"),
        *(progress.TextColumn(f"{{task.fields[{name}]}}") for name in columns),
        console=console,
        refresh_per_second=2,
        transient=True,
        disable=not console.is_terminal,
    )


class EpochProgress:
    """The steps of an epoch: a bar on a terminal, elsewhere a line for each tenth."""

    def __init__(self, console: Console, title: str, steps: int, done: int) -> None:
        self.console, self.title, self.steps, self.done = console, title, steps, done
        self.first, self.frames, self.start = done, 0, monotonic()
        self.bar = make_progress(console, "text")
        self.line = self.bar.add_task(title, total=steps, completed=done, text="")

    def __enter__(self) -> "EpochProgress":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def step(self, frames: int, losses: Mapping[str, float]) -> None:
        """One more step on so many frames; as many losses are shown as there is room for."""
        self.done, self.frames = self.done + 1, self.frames + frames
        seconds = monotonic() - self.start
        text = f"{self.frames / seconds:.1f} frames/s"
        parts = [f"{task} {value:.3f}" for task, value in losses.items()]
        if self.console.is_terminal:
            for part in parts:
                longer = f"{text}  {part}"
                text = longer if len(longer) <= self.console.width - WITHOUT_TEXT else text
            self.bar.update(self.line, completed=self.done, text=text)
        elif 10 * self.done // self.steps > 10 * (self.done - 1) // self.steps:
            left = seconds / (self.done - self.first) * (self.steps - self.done)
            time = timedelta(seconds=round(left or seconds))
            text = f"{text}, {time}{' left' if left else ''}, {', '.join(parts)}"
            line = f"{self.title}: {self.done}/{self.steps} steps, {text}"
            self.console.print(line, soft_wrap=True, highlight=False)


def score_table(scores: Scores, headlines: Mapping[str, str], title: str) -> Table:
    """One row per task with its headline score and the next three; NaN is left out."""
    table = Table("task", "headline", "further scores", title=title, box=box.SIMPLE)
    for task, values in scores.items():
        known = [(key, value) for key, value in values.items() if math.isfinite(value)]
        head = [f"{key} {value:.2f}" for key, value in known if key == headlines[task]]
        rest = [f"{key} {value:.2f}" for key, value in known if key != headlines[task]]
        if head:
            table.add_row(task, *head, "  ".join(rest[:FURTHER]))
    return table


class Overlays:
    """Draws the outputs of the first frames of an evaluation, at the model's size."""

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self.size_hw = size_hw
        self.pictures: list[np.ndarray] = []

    def add(self, frame: "LabelledFrame", scene: Scene) -> None:
        """One frame, in its own coordinates."""
        if frame.image is not None and len(self.pictures) < OVERLAYS:
            drawn = draw(as_bgr(frame.image), scene)
            self.pictures.append(Letterbox(frame.size_hw, self.size_hw).apply(drawn))


def write_sheet(path: Path, pictures: Sequence[np.ndarray], columns: int = 2) -> None:
    """Equal-sized uint8 (H, W, 3) BGR pictures as a grid, in the format of the path's suffix."""
    if not pictures:
        return
    blank = np.zeros_like(pictures[0])
    padded = [*pictures, *[blank] * (-len(pictures) % columns)]
    rows = [np.hstack(padded[start : start + columns]) for start in range(0, len(padded), columns)]
    _, data = cv2.imencode(path.suffix, np.vstack(rows))
    write_atomic(path, data.tobytes())
