"""The command line of render-roads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from training.config import Size


@dataclass(frozen=True)
class DriveArgs:
    """One drive as a video: consecutive frames, moving traffic."""

    out: tyro.conf.Positional[Path]
    frames: int = 100
    fps: float = 10.0
    size: Size = (384, 640)
    seed: int = 7


@dataclass(frozen=True)
class FolderArgs:
    """Single frames with every label, in BDD100K's official layout."""

    out: tyro.conf.Positional[Path]
    train: int = 200
    val: int = 50
    size: Size = (720, 1280)
    seed: int = 0


Choice = (
    Annotated[DriveArgs, tyro.conf.subcommand("drive")]
    | Annotated[FolderArgs, tyro.conf.subcommand("folder")]
)
