"""Options of study-mtl: a dataclass that tyro turns into the command line."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import tyro

from perception.arguments import parse
from perception.errors import UserError, unknown_name
from training.config import Names, Size
from training.study.presets import PRESETS

BENCHMARK: Final = "benchmark"
# What the benchmark uses where no option is given: whole data sets, in crops, averaged weights.
BENCHMARK_DEFAULTS: Final[dict[str, Any]] = {
    "size": (192, 320),
    "frames": 0,
    "val_frames": 0,
    "zoom": (0.8, 2.2),
    "ema": 0.998,
    "seeds": 2,
}


@dataclass(frozen=True)
class StudyArgs:
    """Options of study-mtl."""

    preset: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="QUESTION")]
    """The question, one of the names above."""
    data: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Dataset as for train-bdd; repeat the option for several. None: rendered roads (for nyuv2, a
    rendered folder in its format)."""
    tasks: Names = ()
    """Tasks to study; none: all that the data labels."""
    model: str = "pvt-hydranet-b0"
    """Network of the zoo."""
    models: Names = ()
    """Networks of `trunks`, `baselines`, `nyuv2` and `benchmark`; none: three fitting ones."""
    methods: Names = ()
    """Balancing methods of `balance`; none: all."""
    sharings: Names = ()
    """Ways of sharing of `sharing`; none: all."""
    grid: str = ""
    """For `grid`: "tasks=det+lane,det balance=equal,pcgrad model=...": every combination."""
    networks: int = 2
    """For `groups`: the largest number of networks to split the tasks into."""
    pretrained: bool = False
    """Start every trunk from its ImageNet weights."""
    init: str = ""
    """Start every run from this file, as train-bdd --init."""
    init_part: Literal["all", "shared", "trunk"] = "trunk"
    """What is taken from it, as train-bdd --init-part."""
    freeze: Literal["", "trunk"] = ""
    """`trunk`: train heads alone, on features computed once; with --init and --init-part shared."""
    seeds: int = 3
    size: Size = (128, 224)
    """Model input of every run."""
    frames: int = 2000
    """Training frames of every run; 0: all of --data."""
    val_frames: int = 200
    """Validation frames of every run; 0: all of --data."""
    zoom: tuple[float, float] = (0.75, 1.6)
    """Scale jitter, as train-bdd --zoom."""
    epochs: int = 10
    batch: int = 16
    lr: float = 1e-3
    """Peak learning rate of every run, except in `benchmark`."""
    ema: float = 0.0
    """Decay of averaged weights; 0 scores the last weights."""
    rates: tuple[float, ...] = (5e-4, 1e-3, 2e-3)
    """For `benchmark`: learning rates that are tried per network on a tenth of the budget."""
    seen: int = 40_000
    """For `benchmark`: least number of frames seen per run; sets --epochs."""
    twin_seeds: int = 1
    """For `benchmark`: seeds of the single-task networks."""
    bootstrap: int = 200
    """For `benchmark`: resamples of the validation frames for 95 % intervals; 0: none."""
    threads: int = 2
    """For `benchmark`: threads of every network when it is timed."""
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
    quick: bool = False
    """A few steps of every run, to check that everything works."""
    report_only: bool = False
    """Train nothing; write the report of the stored results."""

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise unknown_name("question", self.preset, PRESETS)
        for name in ("seeds", "networks", "epochs", "batch", "seen", "threads"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} {getattr(self, name)}: at least 1")
        for name in ("frames", "val_frames", "minutes", "bootstrap", "twin_seeds"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: 0 or more")
        if not self.data and self.preset != BENCHMARK and not (self.frames and self.val_frames):
            raise UserError("--frames and --val-frames: give a number, or --data DIR")
        if self.freeze and not (self.init and self.init_part == "shared"):
            raise UserError("--freeze trunk: give --init CHECKPOINT --init-part shared as well")
        if 0 < self.bootstrap < 200:
            raise UserError(f"--bootstrap {self.bootstrap}: 0 for no intervals, or at least 200")
        if not self.rates or min(self.rates) <= 0:
            raise UserError("--rates: give learning rates above 0, e.g. 5e-4 1e-3 2e-3")


def parse_command_line(argv: Sequence[str] | None = None, about: str = "") -> StudyArgs:
    """The options of a command line, by default sys.argv; `about` opens the help text."""
    argv = sys.argv[1:] if argv is None else list(argv)
    default = dataclasses.replace(StudyArgs(BENCHMARK), **BENCHMARK_DEFAULTS)
    given: dict[str, Any] = {"default": default} if BENCHMARK in argv else {}
    questions = "\n".join(f"  {name}: {make.__doc__}" for name, make in PRESETS.items())
    text = f"{about}\nQuestions:\n{questions}"
    return parse(StudyArgs, "study-mtl", text, argv, **given)
