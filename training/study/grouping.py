"""Which tasks should share a network: the best partition under look-ahead affinities."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from perception.errors import UserError

Ahead = Mapping[str, Mapping[str, float]]
"""Sources joined by + -> target -> Z."""


@dataclass(frozen=True)
class Grouping:
    """Groups of tasks, and the mean affinity its tasks receive from the company they keep."""

    groups: tuple[tuple[str, ...], ...]
    score: float


def mean_ahead(probes: Sequence[Ahead]) -> dict[str, dict[str, float]]:
    """The mean over probes of every term."""
    sums: dict[str, dict[str, list[float]]] = {}
    for probe in probes:
        for sources, targets in probe.items():
            for target, value in targets.items():
                sums.setdefault(sources, {}).setdefault(target, []).append(value)
    return {
        sources: {target: sum(values) / len(values) for target, values in targets.items()}
        for sources, targets in sums.items()
    }


def onto(company: Sequence[str], task: str, ahead: Ahead, exact: bool = True) -> float:
    """Affinity of the others of a group onto a task: the exact term where it was measured (two
    others, a group of three), else the mean over pairs as TAG takes it; 0 for a task alone."""
    if not company:
        return 0.0
    joint = "+".join(sorted(company))
    measured = {"+".join(sorted(sources.split("+"))): t for sources, t in ahead.items()}
    if exact and task in measured.get(joint, {}):
        return measured[joint][task]
    return sum(measured[other][task] for other in company) / len(company)


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
            onto([other for other in group if other != task], task, ahead, exact)
            for group in groups
            for task in group
        ]
        ordered = tuple(sorted(tuple(group) for group in groups))
        found.append(Grouping(ordered, sum(received) / max(len(received), 1)))
    # Of equal scores the one with fewer networks: it costs less.
    return sorted(found, key=lambda grouping: (-round(grouping.score, 12), len(grouping.groups)))[
        :count
    ]
