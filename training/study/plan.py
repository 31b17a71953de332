"""What a study trains: the rows of its table, and trials that are plain `train-bdd` runs."""

import dataclasses
import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from perception.sizes import format_size
from training.config import Config

HARD: Final = "hard"
# Options that change no result: they are left out of a trial's key.
NEUTRAL: Final = ("out", "resume", "device", "workers", "cache", "checkpoint_every")


@dataclass(frozen=True)
class Row:
    """One row of a study's table: a network and how it is trained, without the seed."""

    tasks: tuple[str, ...]
    model: str = "pvt-hydranet-b0"
    balance: str = "equal"
    sharing: str = HARD
    pretrained: bool = False
    times: int = 1
    """Epochs relative to the other rows: with one per task, one network for all has the compute of
    the single-task networks together."""

    @property
    def single(self) -> bool:
        """Whether this is a single-task network."""
        return len(self.tasks) == 1

    def name(self, all_tasks: int = 0) -> str:
        """Name in tables; the tasks are left out where the row has all `all_tasks` of the study."""
        kind = "STL" if self.single else "MTL"
        whole = len(self.tasks) == all_tasks and not self.single
        parts = [kind, "" if whole else "+".join(self.tasks), self.model]
        parts += [] if self.balance == "equal" else [self.balance]
        parts += [] if self.sharing == HARD else [self.sharing]
        parts += ["pretrained"] if self.pretrained else []
        parts += [] if self.times == 1 else [f"{self.times} times as long"]
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Trial:
    """One training run of a study. `base` holds the settings that all rows share."""

    row: Row
    seed: int
    base: Config = field(default_factory=Config)
    probe: bool = True
    """Log gradient cosines and look-ahead affinity after each epoch; no result depends on it."""
    held_out: bool = False
    """Validate on training frames that are kept from training, not on the validation frames."""

    def config(self, out: str = "", resume: bool = False, device: str = "auto") -> Config:
        """Settings of the run in folder `out`."""
        row, base = self.row, self.base
        model = dataclasses.replace(
            base.model,
            tasks=row.tasks,
            model=row.model,
            pretrained=row.pretrained,
            sharing="" if row.sharing == HARD else row.sharing,
        )
        return Config(
            data=base.data,
            model=model,
            optim=dataclasses.replace(
                base.optim, balance=row.balance, epochs=base.optim.epochs * row.times
            ),
            run=dataclasses.replace(
                base.run, out=out, resume=resume, seed=self.seed, device=device
            ),
        )

    @property
    def key(self) -> str:
        """Equal for trials with equal results: a hash of the options that matter."""
        text = shlex.join(options(self.config(), NEUTRAL)) + " held-out" * self.held_out
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """The part of a stored record that describes the trial."""
        return {
            "row": dataclasses.asdict(self.row),
            "seed": self.seed,
            "command": command(self.config(), f"runs/{self.key}"),
        }


def command(config: Config, out: str) -> str:
    """The command line that repeats a run, in folder `out`."""
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, out=out, resume=False))
    return shlex.join(["train-bdd", *options(config, ("device",))])


def row_from_json(data: Mapping[str, Any]) -> Row:
    """The row of a stored record."""
    return Row(**{**data, "tasks": tuple(data["tasks"])})


def options(config: Config, without: tuple[str, ...] = ()) -> list[str]:
    """The `train-bdd` options in which a configuration differs from the defaults."""
    usual, found = Config(), []
    for group in dataclasses.fields(Config):
        now, before = getattr(config, group.name), getattr(usual, group.name)
        for option in dataclasses.fields(now):
            value = getattr(now, option.name)
            if option.name not in without and value != getattr(before, option.name):
                found += _option(option.name, value)
    return found


def _option(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if name == "data":
        return [word for folder in value for word in (flag, folder)]
    if name == "size":
        return [flag, format_size(value)]
    if isinstance(value, Mapping):
        return [flag, ",".join(f"{key}={weight}" for key, weight in value.items())]
    if isinstance(value, tuple) and value and isinstance(value[0], str):
        return [flag, ",".join(value)]
    return [flag, *map(str, value)] if isinstance(value, tuple) else [flag, str(value)]


def shortened(base: Config, share: float, rate: float = 0.0) -> Config:
    """A share of the budget: fewer epochs, or one epoch on a share of the frames. `rate`: another
    learning rate. The last weights are scored: averaged ones would lag in so short a run."""
    epochs = share * base.optim.epochs
    data = dataclasses.replace(base.data, share=min(1.0, epochs))
    optim = dataclasses.replace(
        base.optim, lr=rate or base.optim.lr, ema=0.0, epochs=max(1, round(epochs))
    )
    return dataclasses.replace(base, data=data, optim=optim)


def budget_text(config: Config, rate: bool = True) -> str:
    """The settings that all rows share, for the report; without `rate` no learning rate."""
    data, optim, model, run = config.data, config.optim, config.model, config.run
    where = ", ".join(word if ":" in word else Path(word).name for word in data.data)
    share = f" (a share of {data.share:g})" if data.share < 1 else ""
    limit = f", at most {run.max_minutes:g} minutes" if run.max_minutes else ""
    start = f", from the {model.init_part} weights of {Path(model.init).name}" if model.init else ""
    speed = f", learning rate {optim.lr:g}" if rate else ""
    return (
        f"{data.limit or 'all'} training{share} and {data.val_limit or 'all'} validation frames of "
        f"{where or 'rendered roads'} at {format_size(data.size)}, {optim.epochs} epochs of batch "
        f"{data.batch}, {optim.optimizer}{speed}{limit}{start}"
    )
