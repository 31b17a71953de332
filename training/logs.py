"""Output of a run: log.jsonl, progress bar, score table, overlays of validation frames."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from perception.files import write_atomic
from perception.runtime.drawing import draw
from perception.runtime.letterbox import Letterbox
from perception.runtime.scene import Scene, read_output
from perception.runtime.view import View

Scores = dict[str, dict[str, float]]


class JsonLog:
    """One JSON object per line; NaN is written as null.

    `offset` is the length stored in a resume state: a resumed run truncates the file there, so that
    no step is logged twice.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(path, "r+b" if path.exists() else "w+b")  # noqa: SIM115
        self.file.truncate(offset)
        self.file.seek(offset)

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


def make_progress(console: Console, *columns: str) -> Progress:
    """A bar with the time left, and `columns` of text that its tasks have as fields."""
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        *(TextColumn(f"{{task.fields[{name}]}}") for name in columns),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=2,
        transient=not columns,
    )


def score_table(scores: Scores, headlines: Mapping[str, str], title: str) -> Table:
    """One row per task: its headline score, then the others."""
    table = Table(title=title)
    table.add_column("task")
    table.add_column("headline", justify="right")
    table.add_column("further scores")
    for task, values in scores.items():
        headline = headlines[task]
        rest = {key: value for key, value in values.items() if key != headline}
        shown = list(rest.items())[:8]
        more = f"  … {len(rest) - 8} more in log.jsonl" if len(rest) > 8 else ""
        table.add_row(
            task,
            f"{headline} {values[headline]:.2f}",
            "  ".join(f"{key} {value:.2f}" for key, value in shown) + more,
        )
    return table


def overlay(
    frame: np.ndarray, outputs: dict[str, np.ndarray], views: dict[str, View]
) -> np.ndarray:
    """A model-size uint8 (H, W, 3) BGR frame with its decoded outputs drawn on it."""
    size_hw = (frame.shape[0], frame.shape[1])
    box = Letterbox(size_hw, size_hw)
    seen = {name: read_output(array, views[name], box) for name, array in outputs.items()}
    return draw(frame, Scene(size_hw, seen))


def write_sheet(path: Path, pictures: Sequence[np.ndarray], columns: int = 2) -> None:
    """Equal-sized uint8 (H, W, 3) BGR pictures as a grid in one PNG."""
    if not pictures:
        return
    blank = np.zeros_like(pictures[0])
    padded = [*pictures, *[blank] * (-len(pictures) % columns)]
    rows = [np.hstack(padded[start : start + columns]) for start in range(0, len(padded), columns)]
    _, png = cv2.imencode(".png", np.vstack(rows))
    write_atomic(path, png.tobytes())
