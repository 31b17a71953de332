"""Options of study-mtl: a dataclass that tyro turns into the command line."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import tyro

from perception.arguments import parse
from perception.errors import UserError
from perception.fields import Names, Size, Tasks

# Options of train-bdd that people try -> those of a study.
SLIPS: Final = {
    "--balance": "--methods",
    "--sharing": "--sharings",
    "--seed": "--seeds",
    "--limit": "--frames",
    "--val-limit": "--val-frames",
    "--max-minutes": "--minutes",
    "--device": "--devices",
}


@dataclass(frozen=True)
class StudyArgs:
    """Options of study-mtl."""

    question: Literal["stl-vs-mtl", "sharing", "balance", "groups", "trunks", "grid"]
    """See above."""
    data: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Dataset as for train-bdd; repeat the option for several. None: rendered roads."""
    tasks: Tasks = ()
    """Tasks to study; none: all that the data labels (with --quick the first two)."""
    model: str = "pvt-hydranet-b0"
    """Network of the zoo."""
    models: Names = ()
    """Networks of `trunks`; none: --model and two others."""
    methods: Names = ()
    """Balancing methods of `balance`; none: all."""
    sharings: Names = ()
    """Ways of sharing of `sharing`; none: all."""
    grid: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """For `grid`: "tasks=singles,all sharing=hard,mtan model=..."; repeat it to join grids."""
    networks: int = 2
    """For `groups`: the largest number of networks to split the tasks into."""
    pretrained: bool = False
    """Start every trunk from its ImageNet weights."""
    init: str = ""
    """Start every run from this file, as train-bdd --init."""
    init_part: Literal["all", "shared", "trunk"] = "trunk"
    """What is taken from it, as train-bdd --init-part."""
    seeds: int = 3
    """Runs of each row, with seeds 0, 1, ..."""
    size: Size = (128, 224)
    """Model input of every run."""
    frames: int = 2000
    """Training frames of every run; 0: all of --data."""
    val_frames: int = 200
    """Validation frames of every run; 0: all of --data."""
    zoom: tuple[float, float] = (0.75, 1.6)
    """Scale jitter, as train-bdd --zoom."""
    epochs: int = 10
    """Passes over the training frames in every run."""
    seen: int = 0
    """Least number of frames seen per run; sets --epochs. 0: as --epochs says."""
    batch: int = 16
    """Frames per training step of every run."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """Optimiser of every run, as train-bdd --optimizer."""
    lr: float = 1e-3
    """Peak learning rate of every run, unless --rates are given."""
    rates: tuple[float, ...] = ()
    """Learning rates to try for each row, on a fifth of the budget with a seed of its own, scored
    on training frames that are kept from training; e.g. 5e-4 1e-3 2e-3."""
    ema: float = 0.0
    """Decay of averaged weights; 0 scores the last weights."""
    minutes: float = 0.0
    """Time limit of each run; 0: none."""
    workers: int = 1
    """Loader processes of each run."""
    cache: str = ""
    """Folder for decoded frames, shared by all runs."""
    devices: Names = ()
    """One run at a time on each of these, e.g. cuda:0,cuda:1 or cpu,cpu; none: one run."""
    out: Path = Path("runs/study")
    """Folder of results.jsonl, the runs and the report; give it again to resume."""
    plan: bool = False
    """Train nothing; print runs, frames, hours and the smallest difference that can be resolved."""
    quick: bool = False
    """A few steps of every run, to check that everything works."""
    report_only: bool = False
    """Train nothing; write the report of the stored results."""

    def __post_init__(self) -> None:
        for name in ("seeds", "networks", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} {getattr(self, name)}: at least 1")
        for name in ("frames", "val_frames", "minutes", "seen"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: 0 or more")
        if not self.data and not (self.frames and self.val_frames):
            raise UserError("--frames and --val-frames: give a number, or --data DIR")
        if any(rate <= 0 for rate in self.rates):
            raise UserError("--rates: give learning rates above 0, e.g. 5e-4 1e-3 2e-3")


def parse_command_line(argv: Sequence[str] | None = None, about: str = "") -> StudyArgs:
    """The options of a command line, by default sys.argv; `about` opens the help text.

    Raises UserError for an option of train-bdd that has another name here.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    for word in (word.partition("=")[0].replace("_", "-") for word in argv):
        if word in SLIPS:
            raise UserError(f"{word} is an option of train-bdd; study-mtl has {SLIPS[word]}")
    return parse(StudyArgs, "study-mtl", about, argv)
