"""What eval-bdd can be told: a dataclass that tyro turns into the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from perception.errors import UserError


@dataclass
class Arguments:
    """Score a model on a BDD100K folder."""

    file: tyro.conf.Positional[Path]
    """A checkpoint of train-bdd (.safetensors) or an exported .onnx."""
    data: str = ""
    """Folder of a dataset, or KIND:DIR as for train-bdd; without it: rendered roads."""
    split: Literal["train", "val", "test"] = "val"
    """Which part of the folder."""
    protocol: Literal["bdd", "panoptic", "both"] = "both"
    """Official metrics, those of the panoptic driving papers, or both."""
    json: Path | None = None
    """Write all scores here."""
    markdown: Path | None = None
    """Write the tables here."""
    submission: Path | None = None
    """Write the benchmark server's files into this new folder."""
    limit: int = 0
    """Only the first N frames."""
    batch: int = 8
    """Frames a forward pass (a checkpoint's; an .onnx takes one at a time)."""
    bootstrap: int = 0
    """Resample the frames N times for 95 % intervals; 1000 is usual."""
    provider: str = "cpu"
    """What an .onnx runs on: cpu, cuda, openvino, …; auto measures."""
    threads: int = 4
    """Threads that read frames and keep scores."""
    skip_bad: bool = False
    """Leave out frames that cannot be read, and say so."""

    def __post_init__(self) -> None:
        for name, least in (("limit", 0), ("batch", 1), ("bootstrap", 0), ("threads", 1)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} {getattr(self, name)}: must be at least {least}")
