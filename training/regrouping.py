"""Regrouping while training: tasks that disturb each other in a trunk get trunks of their own.

After TAG (Fifty et al., NeurIPS 2021): look-ahead affinities are probed again and again; where the
best partition of a group has a higher affinity than the group, and not by chance, the group is
split. The partition is chosen on the older half of the probes and tested on the newer half, in a
one-sided paired t-test at 5 %. Groups are never joined again. The length of a probe's step counts
idle trunks too: with four tasks it is up to twice as long as with one trunk.
"""

import copy
from collections.abc import Sequence
from typing import Any, Final, cast

import numpy as np
from scipy import stats
from torch import nn, optim

from perception.sharing.regroup import Regroup
from training.affinity import Ahead, Groups, Matrix, best_groups, mean_matrix, probe, received
from training.data.sample import Batch
from training.learner import Learner

PROBES: Final = 40  # per run
STEPS: Final = (15, 100)  # least and most between two probes
WINDOW: Final = 8  # probes that a decision rests on
LEVEL: Final = 0.05


class Regrouping:
    """Probes and splits the trunk of a learner. The probes since the last split are in its state,
    so that a resumed run decides by all of them."""

    def __init__(self, learner: Learner, steps: int) -> None:
        self.learner = learner
        self.every = min(max(steps // PROBES, STEPS[0]), STEPS[1])

    def due(self) -> bool:
        """Whether to probe after this step: while there is a group to split."""
        trunk = self.learner.model.trunk
        if not isinstance(trunk, Regroup) or not self.learner.shared:
            return False
        return trunk.unused() > 0 and self.learner.state.step % self.every == 0

    def step(self, batch: Batch) -> dict[str, Any]:
        """Probes on a batch and splits groups where that is better; the result is plain JSON."""
        found = probe(self.learner, batch)
        state, names = self.learner.state, list(self.learner.model.tasks)
        trunk = cast(Regroup, self.learner.model.trunk)
        groups = tuple(tuple(names[task] for task in group) for group in trunk.groups())
        if found["tasks"] == names:
            state.ahead = [*state.ahead, cast(Matrix, found["ahead"])][-WINDOW:]
        parted = groups
        if len(state.ahead) == WINDOW:
            parted = tuple(part for group in groups for part in split(group, state.ahead))
        if parted != groups:
            state.ahead = []
            self.apply([[names.index(task) for task in group] for group in parted])
        return found | {"groups": parted, "split": parted != groups}

    def apply(self, groups: Sequence[Sequence[int]]) -> None:
        """Splits the trunk, that of the averaged network, and the optimiser's state."""
        for old, new in cast(Regroup, self.learner.model.trunk).split(groups):
            copy_state(self.learner.optimizer, old, new)
        if self.learner.ema:
            self.learner.ema.module.trunk.split(groups)


def split(group: Sequence[str], ahead: Sequence[Ahead]) -> Groups:
    """The group, or its two parts where they are better by the probes `ahead`, oldest first."""
    half = len(ahead) // 2
    parts = best_groups(group, mean_matrix(ahead[:half]), most=2)
    gains = [received(parts, one) - received([group], one) for one in ahead[half:]]
    least = stats.t.ppf(1 - LEVEL, len(gains) - 1) * stats.sem(gains)
    return parts if np.mean(gains) > least else (tuple(group),)


def copy_state(optimizer: optim.Optimizer, old: nn.Module, new: nn.Module) -> None:
    """Copies the optimiser's state of the parameters of `old` to those of its copy `new`."""
    for one, two in zip(old.parameters(), new.parameters(), strict=True):
        if one in optimizer.state:
            optimizer.state[two] = copy.deepcopy(optimizer.state[one])
