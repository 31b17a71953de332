"""What a study trains: the rows of its table, and trials that are plain `train-bdd` runs."""

import dataclasses
import hashlib
import json
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
class Change:
    """Settings in which one row of an ablation differs from the others."""

    data: Mapping[str, Any] = field(default_factory=dict)
    """Fields of DataArgs."""
    optim: Mapping[str, Any] = field(default_factory=dict)
    """Fields of OptimArgs."""


CHANGES: Final[dict[str, Change]] = {
    "no augmentation": Change({"augment": "none"}),
    "flip alone": Change({"augment": "flip"}),
    "geometry alone": Change({"augment": "geometry"}),
    "colour alone": Change({"augment": "colour"}),
    "strong augmentation": Change({"augment": "strong"}),
    "rare frames repeated": Change({"repeat_rare": True}),
    "averaged weights": Change(optim={"ema": 0.99}),
}


@dataclass(frozen=True)
class Row:
    """One row of a study's table: a network and how it is trained, without the seed."""

    tasks: tuple[str, ...]
    model: str = "pvt-hydranet-b0"
    balance: str = "equal"
    sharing: str = HARD
    pretrained: bool = False
    change: str = ""

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
        parts += [self.change] if self.change else []
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Trial:
    """One training run of a study. `base` holds the settings that all rows share."""

    row: Row
    seed: int
    base: Config = field(default_factory=Config)
    probe: bool = True
    """Log gradient cosines and look-ahead affinity after each epoch; no result depends on it."""

    def config(self, out: str = "", resume: bool = False, device: str = "auto") -> Config:
        """Settings of the run in folder `out`."""
        row, base = self.row, self.base
        change = CHANGES[row.change] if row.change else Change()
        model = dataclasses.replace(
            base.model,
            tasks=row.tasks,
            model=row.model,
            pretrained=row.pretrained,
            sharing="" if row.sharing == HARD else row.sharing,
        )
        return Config(
            data=dataclasses.replace(base.data, **change.data),
            model=model,
            optim=dataclasses.replace(base.optim, balance=row.balance, **change.optim),
            run=dataclasses.replace(
                base.run, out=out, resume=resume, seed=self.seed, device=device
            ),
        )

    @property
    def key(self) -> str:
        """Equal for trials with equal results: a hash of the options that matter."""
        text = shlex.join(options(self.config(), NEUTRAL))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def command(self, out: str) -> str:
        """The command line that repeats this run."""
        return shlex.join(["train-bdd", *options(self.config(out), ("device",))])

    def to_json(self) -> dict[str, Any]:
        """The part of a stored record that describes the trial."""
        row = json.loads(json.dumps(dataclasses.asdict(self.row)))
        return {"row": row, "seed": self.seed, "command": self.command(f"runs/{self.key}")}


def row_from_json(data: Mapping[str, Any]) -> Row:
    """The row of a stored record; fields that rows no longer have are left out."""
    known = {field.name for field in dataclasses.fields(Row)}
    return Row(**{k: v for k, v in data.items() if k in known} | {"tasks": tuple(data["tasks"])})


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


def budget_text(config: Config, rate: bool = True) -> str:
    """The settings that all rows share, for the report; without `rate` no learning rate."""
    data, optim, model, run = config.data, config.optim, config.model, config.run
    where = ", ".join(word if ":" in word else Path(word).name for word in data.data)
    share = f" (a share of {data.share:g})" if data.share < 1 else ""
    limit = f", at most {run.max_minutes:g} minutes" if run.max_minutes else ""
    start = f", from the {model.init_part} weights of {Path(model.init).name}" if model.init else ""
    start += ", trunk and neck frozen" if model.freeze else ""
    speed = f", learning rate {optim.lr:g}" if rate else ""
    return (
        f"{data.limit or 'all'} training{share} and {data.val_limit or 'all'} validation frames of "
        f"{where or 'rendered roads'} at {format_size(data.size)}, {optim.epochs} epochs of batch "
        f"{data.batch}{speed}{limit}{start}"
    )
