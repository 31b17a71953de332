"""What a study trains: rows of its table, a budget equal for all, and trials with an identity."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from training.config import Config, DataArgs, ModelArgs, OptimArgs, RunArgs
from training.study.changes import CHANGES, Change

HARD: Final = "hard"


@dataclass(frozen=True)
class Row:
    """One line of the table: what is trained, whatever the seed."""

    tasks: tuple[str, ...]
    model: str = "pvt-hydranet-b0"
    balance: str = "equal"
    sharing: str = HARD
    pretrained: bool = False
    note: str = ""
    change: str = ""

    @property
    def alone(self) -> bool:
        """Whether this is a single-task twin."""
        return len(self.tasks) == 1

    def name(self, all_tasks: int = 0) -> str:
        """How the report calls it."""
        kind = "STL" if self.alone else "MTL"
        whole = len(self.tasks) == all_tasks and not self.alone
        parts = [kind, "" if whole else "+".join(self.tasks), self.model]
        parts += [] if self.balance == "equal" else [self.balance]
        parts += [] if self.sharing == HARD else [self.sharing]
        parts += ["pretrained"] if self.pretrained else []
        parts += [self.change] if self.change else []
        return " ".join(part for part in [*parts, self.note] if part)


@dataclass(frozen=True)
class Budget:
    """What every run of a study gets alike."""

    data: tuple[str, ...] = ()
    size: tuple[int, int] = (128, 224)
    frames: int = 2000
    val_frames: int = 200
    epochs: int = 10
    batch: int = 16
    lr: float = 1e-3
    init: str = ""
    init_part: str = "trunk"
    freeze: str = ""
    minutes: float = 0.0
    workers: int = 1
    cache: str = ""

    def text(self) -> str:
        """In words, for the report."""
        height, width = self.size
        where = ", ".join(word if ":" in word else Path(word).name for word in self.data)
        limit = f", at most {self.minutes:g} minutes" if self.minutes else ""
        start = (
            f", from the {self.init_part} weights of {Path(self.init).name}" if self.init else ""
        )
        start += ", trunk and neck frozen" if self.freeze else ""
        return (
            f"{self.frames or 'all'} training and {self.val_frames or 'all'} validation frames of "
            f"{where} at {height}x{width}, {self.epochs} epochs of batch {self.batch}{limit}{start}"
        )


@dataclass(frozen=True)
class Trial:
    """One training run of a study."""

    row: Row
    seed: int
    budget: Budget = field(default_factory=Budget)

    @property
    def key(self) -> str:
        """Equal for equal trials; another budget is another trial."""
        told = dataclasses.asdict(self)
        for name in ("workers", "cache"):  # no number depends on them
            told["budget"].pop(name)
        if not self.budget.init:
            for name in ("init_part", "freeze"):
                told["budget"].pop(name)
        text = json.dumps(told, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def config(self, folder: str, resume: bool, device: str = "auto") -> Config:
        """The run's settings. No averaged weights: they would judge short runs by their past."""
        row, budget = self.row, self.budget
        sharing: dict[str, Any] = {} if row.sharing == HARD else {"sharing": row.sharing}
        change = CHANGES[row.change] if row.change else Change()
        return Config(
            data=DataArgs(
                data=budget.data,
                size=budget.size,
                batch=budget.batch,
                workers=budget.workers,
                limit=budget.frames,
                val_limit=budget.val_frames,
                cache=budget.cache,
                **change.data,
            ),
            model=ModelArgs(
                tasks=row.tasks,
                model=row.model,
                pretrained=row.pretrained,
                init=budget.init,
                init_part=budget.init_part,
                freeze=budget.freeze,
                **sharing,
            ),
            optim=OptimArgs(
                epochs=budget.epochs,
                lr=budget.lr,
                balance=row.balance,
                ema=change.ema,
            ),
            run=RunArgs(
                out=folder, resume=resume, seed=self.seed, max_minutes=budget.minutes, device=device
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


def row_from_json(data: dict[str, Any]) -> Row:
    """The inverse for the row of a stored trial."""
    return Row(**{**data, "tasks": tuple(data["tasks"])})
