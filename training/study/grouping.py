"""Which tasks should share a network: the best partition under look-ahead affinities."""

import random
from collections.abc import Sequence
from typing import Any

from training.affinity import Groups, best_groups, mean_matrix, partitions, text_of
from training.study.gain import Record, RowResult
from training.study.plan import Row


def probes_of(result: RowResult) -> list[dict[str, Any]]:
    """All probes of a row, over its seeds."""
    return [probe for record in result.records for probe in record["probes"]]


def largest_probed(results: Sequence[RowResult]) -> RowResult | None:
    """The network with the most tasks, of those with several that were probed."""
    probed = [result for result in results if not result.row.single and probes_of(result)]
    return max(probed, key=lambda result: len(result.row.tasks), default=None)


def propose(results: Sequence[RowResult], most: int) -> Groups:
    """The best partition into at most `most` groups for the largest probed network; () with fewer
    than three tasks."""
    whole = largest_probed(results)
    if whole is None or len(whole.row.tasks) < 3:
        return ()
    ahead = mean_matrix([probe["ahead"] for probe in probes_of(whole)])
    return best_groups(whole.row.tasks, ahead, most)


def random_splits(tasks: Sequence[str], like: Groups, count: int = 2) -> list[Groups]:
    """Up to `count` other partitions into groups of the same sizes, drawn with a fixed seed."""
    sizes = sorted(len(group) for group in like)
    splits = [tuple(tuple(g) for g in groups) for groups in partitions(list(tasks), len(like))]
    others = [
        groups
        for groups in splits
        if sorted(len(group) for group in groups) == sizes
        and {frozenset(group) for group in groups} != {frozenset(group) for group in like}
    ]
    return random.Random(0).sample(others, min(count, len(others)))


def joined(groups: Groups, whole: Row, label: str, results: Sequence[RowResult]) -> RowResult:
    """The networks of a partition as one row of the table: each task has the scores of its group's
    network, and parameters and time are added up."""
    members = [next(r for r in results if r.row.tasks == group and not r.label) for group in groups]
    seeds = [s for s in members[0].by_seed if all(s in member.by_seed for member in members)]
    records: list[Record] = []
    for seed in seeds:
        parts = [member.by_seed[seed] for member in members]
        record: dict[str, Any] = {"seed": seed, "steps": parts[0]["steps"], "probes": []}
        for name in ("scores", "panoptic"):
            record[name] = {t: v for part in parts for t, v in part.get(name, {}).items()}
        for name in ("parameters", "seconds"):
            record[name] = sum(part[name] for part in parts)
        records.append(record)
    return RowResult(whole, records, label=f"{label} {text_of(groups)}")
