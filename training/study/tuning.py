"""The learning rate of each row: the best of `--rates` in short runs of its own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from perception.tasks import TASKS
from training.config import Config
from training.evaluation.scores import headline
from training.study.arguments import StudyArgs
from training.study.plan import Row, Trial, shortened
from training.study.trials import Log, Store, run_trials

BUDGET: Final = 0.2  # of a run's budget, per learning rate
SEED: Final = 1000  # no run of a table has it


@dataclass(frozen=True)
class Search:
    """The mean headline score of a row at each learning rate that finished."""

    row: Row
    scores: Mapping[float, float]

    @property
    def best(self) -> float:
        """The rate with the highest score; 0 if no run finished."""
        return max(self.scores, key=self.scores.__getitem__, default=0.0)

    def text(self) -> str:
        """One line: every rate with its score, the chosen one, and whether it is at the edge."""
        if not self.scores:
            return f"{self.row.name()}: no learning rate was tried to the end"
        tried = ", ".join(f"{rate:g} scored {score:.2f}" for rate, score in self.scores.items())
        edge = len(self.scores) > 1 and self.best in (min(self.scores), max(self.scores))
        hint = " (at the edge of --rates: a further rate may be better)" if edge else ""
        return f"{self.row.name()}: learning rate {tried}; {self.best:g} is taken{hint}"


def search_trials(rows: Sequence[Row], rates: Sequence[float], base: Config) -> list[Trial]:
    """One short run for each row and rate, scored on training frames that are held out."""
    return [
        Trial(row, SEED, shortened(base, BUDGET, rate), probe=False, held_out=True)
        for row in rows
        for rate in rates
    ]


def search_rates(rows: Sequence[Row], args: StudyArgs, base: Config, log: Log) -> list[Search]:
    """Tries every rate for every row, and prints what each scored. Without --rates: []."""
    trials = search_trials(rows, args.rates, base)
    if trials and not args.report_only:
        log(f"Learning rates: {len(trials)} runs.")
        run_trials(trials, args.out, args.devices, log)
    stored = Store(args.out).read()
    found = []
    for row in rows if args.rates else ():
        heads = [(task, TASKS[task]) for task in row.tasks]
        scores = {}
        for trial in (trial for trial in trials if trial.row == row):
            score = headline(heads, stored.get(trial.key, {}).get("scores", {}))
            if math.isfinite(score):
                scores[trial.base.optim.lr] = score
        found.append(Search(row, scores))
        log(found[-1].text())
    return found


def base_of(row: Row, searches: Sequence[Search], base: Config) -> Config:
    """The settings of a row: with the learning rate that was found for it, if one was."""
    rate = next((search.best for search in searches if search.row == row), 0.0)
    return replace(base, optim=replace(base.optim, lr=rate)) if rate else base
