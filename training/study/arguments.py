"""What study-mtl can be told: a dataclass that tyro turns into the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from perception.errors import UserError
from training.config import Names, Size


@dataclass
class Arguments:
    """Does sharing help? Train every row of a question and report."""

    preset: tyro.conf.Positional[
        Literal[
            "stl-vs-mtl",
            "pairs",
            "trunks",
            "balance",
            "sharing",
            "baselines",
            "scratch-vs-pretrained",
            "nyuv2",
            "groups",
            "ablation",
            "grid",
        ]
    ]
    """The question."""
    data: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Dataset as for train-bdd, again for each further one; none: rendered roads (for nyuv2, a
    rendered folder in its format)."""
    tasks: Names = ()
    """Tasks to study; none: all that the data labels."""
    model: str = "pvt-hydranet-b0"
    """Network of the zoo."""
    models: Names = ()
    """Networks of `trunks`, `baselines` and `nyuv2`; none: a fitting few."""
    methods: Names = ()
    """Balancing methods of `balance`; none: all."""
    sharings: Names = ()
    """Ways of sharing of `sharing`; none: all."""
    pretrained: bool = False
    """Start every trunk from its ImageNet weights."""
    init: str = ""
    """Start every run from this file, as train-bdd --init."""
    init_part: Literal["all", "shared", "trunk"] = "trunk"
    """What is taken from it, as train-bdd --init-part."""
    freeze: Literal["", "trunk"] = ""
    """`trunk`: train heads alone, on features computed once; with --init and --init-part shared."""
    grid: str = ""
    """For `grid`: "tasks=det+lane,det balance=equal,pcgrad model=...": every combination."""
    networks: int = 2
    """For `groups`: into how many networks the tasks may be split."""
    seeds: int = 3
    size: Size = (128, 224)
    frames: int = 2000
    """Training frames of every run."""
    val_frames: int = 200
    epochs: int = 10
    batch: int = 16
    lr: float = 1e-3
    minutes: float = 0.0
    """Limit of each run; 0: none."""
    workers: int = 1
    """Loader processes of each run."""
    cache: str = ""
    """Folder for decoded frames, shared by all runs."""
    devices: Names = ()
    """Devices to use at once, e.g. cuda:0,cuda:1; none: one, the best there is."""
    out: Path = Path("runs/study")
    """Folder of results.jsonl, the runs and the report; give it again to go on."""
    quick: bool = False
    """A few steps of everything, to see that it works."""
    report_only: bool = False
    """Train nothing; write the report of what is stored."""

    def __post_init__(self) -> None:
        for name in ("seeds", "networks", "frames", "val_frames", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least 1")
        if self.freeze and not (self.init and self.init_part == "shared"):
            raise UserError("--freeze trunk: give --init CHECKPOINT --init-part shared as well")
        if self.minutes < 0:
            raise UserError(f"--minutes {self.minutes}: 0 or more")


def parse_command_line(words: list[str] | None = None) -> Arguments:
    """The arguments of a command line (sys.argv without `words`)."""
    return tyro.cli(Arguments, args=words, prog="study-mtl")
