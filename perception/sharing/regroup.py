"""A trunk that splits while it is trained: all tasks share it until training finds that some
disturb others (training/regrouping.py). From then on each of the two groups has a copy of its own.

There is a trunk per task. A group uses that of its first task; the others are idle, but stay in the
checkpoint, so that its form is the same before and after a split.
"""

import copy
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from perception.sharing.passes import Unfolded
from perception.trunk import Trunk


class Regroup(nn.Module):
    """The maps of every task, task after task, each group's from one pass.

    The maps of one group are the same tensors.
    """

    leader: Tensor  # (T,), for each task the task whose trunk it uses

    def __init__(self, make_trunk: Callable[[], Trunk], tasks: int) -> None:
        super().__init__()
        first = make_trunk()
        self.channels, self.strides = first.channels, first.strides
        self.trunks = nn.ModuleList([first, *(copy.deepcopy(first) for _ in range(tasks - 1))])
        self.register_buffer("leader", torch.zeros(tasks, dtype=torch.long))

    def forward(self, image: Tensor) -> list[Tensor]:
        leaders = [int(leader) for leader in self.leader]
        maps = {leader: self.trunks[leader](image) for leader in dict.fromkeys(leaders)}
        return [feature for leader in leaders for feature in maps[leader]]

    def groups(self) -> list[list[int]]:
        """The tasks of each group, in ascending order."""
        leaders = [int(leader) for leader in self.leader]
        return [[t for t, own in enumerate(leaders) if own == one] for one in sorted({*leaders})]

    @torch.no_grad()
    def split(self, groups: Sequence[Sequence[int]]) -> list[tuple[nn.Module, nn.Module]]:
        """Splits into these groups, each a part of one that is there; returns (old, new) for every
        trunk that is a copy."""
        copies = []
        for group in groups:
            old, new = int(self.leader[group[0]]), min(group)
            if old != new:
                self.trunks[new].load_state_dict(self.trunks[old].state_dict())
                copies.append((self.trunks[old], self.trunks[new]))
        for group in groups:
            self.leader[list(group)] = min(group)
        return copies

    def unused(self) -> int:
        """Number of weights that no task uses."""
        used = {group[0] for group in self.groups()}
        idle = [trunk for task, trunk in enumerate(self.trunks) if task not in used]
        return sum(p.numel() for trunk in idle for p in trunk.parameters())

    def unfolded(self) -> Unfolded:
        """The same network with the used trunks alone, for export."""
        used = [group[0] for group in self.groups()]
        order = [used.index(int(leader)) for leader in self.leader]
        return Unfolded([cast(Trunk, self.trunks[task]) for task in used], order=order)
