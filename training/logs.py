"""What a run says: log.jsonl (the record), TensorBoard (the curves), a bar and tables (the eye)."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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

Scores = dict[str, dict[str, float]]


class JsonLog:
    """One JSON object a line, appended; NaN is written as null. `offset` is what a checkpoint
    stores: a resumed run cuts the file there, so no step is told twice."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(path, "r+b" if path.exists() else "w+b")  # noqa: SIM115
        self.file.truncate(offset)
        self.file.seek(offset)

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends one line and hands it to the system."""
        self.file.write(json.dumps(_plain(record)).encode() + b"\n")
        self.file.flush()

    def sync(self) -> int:
        """Makes the log durable; returns its length."""
        os.fsync(self.file.fileno())
        return self.file.tell()

    def close(self) -> None:
        self.file.close()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value


class Curves:
    """TensorBoard, where it is installed."""

    def __init__(self, folder: Path, step: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.writer = None
            return
        self.writer = SummaryWriter(str(folder), purge_step=step or None)

    def add(self, values: Mapping[str, float], step: int) -> None:
        """One point on each curve."""
        if self.writer:
            for name, value in values.items():
                if math.isfinite(value):
                    self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        if self.writer:
            self.writer.close()


def make_progress(console: Console) -> Progress:
    """A bar with the losses, images a second and the time left."""
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[losses]}"),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=2,
    )


def score_table(scores: Scores, headlines: Mapping[str, str], title: str) -> Table:
    """A row a task: its headline score, then the others."""
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
