"""The grouping search put to the test: its proposal as rows to train, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from training.study.gain import Estimate, Line, estimate, task_gains
from training.study.grouping import best_groupings, mean_ahead
from training.study.plan import Row

Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Outcome:
    """Networks that together do all tasks: what each gained over the twins, and their size."""

    groups: Groups
    gain: Estimate | None
    parameters: int

    def text(self) -> str:
        """One line for the report."""
        names = " | ".join(" + ".join(group) for group in self.groups)
        gained = "not trained" if self.gain is None else f"gain {self.gain.text(1)} %"
        return f"{names}: {gained}, {self.parameters / 1e6:.2f}M parameters"


def propose(lines: Sequence[Line], most: int) -> Groups:
    """The best split of the tasks of the largest network that was looked at, or nothing."""
    looked = [line for line in lines if len(line.row.tasks) > 2 and probes_of(line)]
    if not looked:
        return ()
    whole = max(looked, key=lambda line: len(line.row.tasks))
    ahead = mean_ahead([probe["ahead"] for probe in probes_of(whole)])
    groups = best_groupings(whole.row.tasks, ahead, most, count=1)[0].groups
    order = whole.row.tasks.index
    return tuple(tuple(sorted(group, key=order)) for group in groups)


def probes_of(line: Line) -> list[dict[str, dict[str, dict[str, float]]]]:
    """What was seen between its tasks, over all seeds."""
    return [probe for record in line.records for probe in record["probes"]]


def rows_of(groups: Groups, like: Row) -> list[Row]:
    """A row for each group."""
    return [replace(like, tasks=group) for group in groups]


def outcome(groups: Groups, lines: Sequence[Line]) -> Outcome:
    """The gain of a task is that of its group's network; a task alone is its own twin: zero."""
    by_seed: list[list[float]] = []
    parameters = 0
    for group in groups:
        line = next((ln for ln in lines if set(ln.row.tasks) == set(group) and ln.records), None)
        if line is None:
            return Outcome(groups, None, parameters)
        parameters += line.parameters
        seeds = len(line.records)
        for task in group:
            by_seed.append([0.0] * seeds if line.row.alone else task_gains(line, task, lines))
    known = [gains for gains in by_seed if gains]
    seeds = min((len(gains) for gains in known), default=0)
    return Outcome(
        groups, estimate([sum(g[s] for g in known) / len(known) for s in range(seeds)]), parameters
    )
