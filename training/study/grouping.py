"""Which tasks should share a network: the best partition under look-ahead affinities."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perception.errors import UserError
from training.study.gain import Estimate, RowResult, gains_by_seed, mean_over_tasks

Ahead = Mapping[str, Mapping[str, float]]
"""Source tasks joined by + -> target task -> Z (see affinity.py)."""
Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Grouping:
    """A partition of the tasks, and the mean affinity that each task receives in its group."""

    groups: Groups
    score: float


def mean_matrix(probes: Sequence[Ahead]) -> dict[str, dict[str, float]]:
    """The mean of every entry over probes."""
    sums: dict[str, dict[str, list[float]]] = {}
    for probe in probes:
        for source, targets in probe.items():
            for target, value in targets.items():
                sums.setdefault(source, {}).setdefault(target, []).append(value)
    return {
        source: {target: sum(values) / len(values) for target, values in targets.items()}
        for source, targets in sums.items()
    }


def affinity_onto(others: Sequence[str], task: str, ahead: Ahead, exact: bool = True) -> float:
    """Affinity of the others in a group onto a task: the joint term where it was measured (two
    others, a group of three), else the mean over single sources as in TAG; 0 for a task alone."""
    if not others:
        return 0.0
    joint = "+".join(sorted(others))
    measured = {"+".join(sorted(sources.split("+"))): t for sources, t in ahead.items()}
    if exact and task in measured.get(joint, {}):
        return measured[joint][task]
    return sum(measured[other][task] for other in others) / len(others)


def partitions(tasks: Sequence[str], most: int) -> Iterator[list[list[str]]]:
    """Every way to split the tasks into at most `most` groups."""
    if not tasks:
        yield []
        return
    first, rest = tasks[0], tasks[1:]
    for smaller in partitions(rest, most):
        for index in range(len(smaller)):
            yield [*smaller[:index], [first, *smaller[index]], *smaller[index + 1 :]]
        if len(smaller) < most:
            yield [[first], *smaller]


def best_groupings(
    tasks: Sequence[str], ahead: Ahead, most: int = 0, exact: bool = True, count: int = 3
) -> list[Grouping]:
    """The partitions with the highest mean affinity, best first; `most` groups, 0 for any number.

    All of them are tried: 877 for seven tasks. Raises UserError for more than ten tasks.
    """
    if len(tasks) > 10:
        raise UserError(f"{len(tasks)} tasks have too many groupings to try all; name at most 10")
    found = []
    for groups in partitions(list(tasks), most or len(tasks)):
        received = [
            affinity_onto([other for other in group if other != task], task, ahead, exact)
            for group in groups
            for task in group
        ]
        ordered = tuple(sorted(tuple(group) for group in groups))
        found.append(Grouping(ordered, sum(received) / max(len(received), 1)))
    # Of equal scores the one with fewer networks: it costs less.
    return sorted(found, key=lambda grouping: (-round(grouping.score, 12), len(grouping.groups)))[
        :count
    ]


def probes_of(result: RowResult) -> list[dict[str, Any]]:
    """All probes of a row, over its seeds."""
    return [probe for record in result.records for probe in record["probes"]]


def propose(results: Sequence[RowResult], most: int) -> Groups:
    """The best partition into at most `most` groups for the largest probed network, or ()."""
    probed = [result for result in results if len(result.row.tasks) > 2 and probes_of(result)]
    if not probed:
        return ()
    whole = max(probed, key=lambda result: len(result.row.tasks))
    ahead = mean_matrix([probe["ahead"] for probe in probes_of(whole)])
    groups = best_groupings(whole.row.tasks, ahead, most, count=1)[0].groups
    order = whole.row.tasks.index
    return tuple(tuple(sorted(group, key=order)) for group in groups)


@dataclass(frozen=True)
class Outcome:
    """Networks that together do all tasks: their gain over the single-task twins, their size."""

    groups: Groups
    gain: Estimate | None
    parameters: int

    def text(self) -> str:
        """One line for the report."""
        names = " | ".join(" + ".join(group) for group in self.groups)
        gained = "not trained" if self.gain is None else f"gain {self.gain.text(1)} %"
        return f"{names}: {gained}, {self.parameters / 1e6:.2f}M parameters"


def outcome(groups: Groups, results: Sequence[RowResult]) -> Outcome:
    """Each task has the gain of its group's network; a group of one task has gain zero."""
    by_task: list[dict[int, float]] = []
    parameters = 0
    for group in groups:
        result = next(
            (r for r in results if set(r.row.tasks) == set(group) and r.records),
            None,
        )
        if result is None:
            return Outcome(groups, None, parameters)
        parameters += result.parameters
        for task in group:
            zeros = {record["seed"]: 0.0 for record in result.records}
            by_task.append(zeros if result.row.single else gains_by_seed(result, task, results))
    return Outcome(groups, mean_over_tasks(by_task), parameters)
