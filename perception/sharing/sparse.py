"""Sparse sharing (Sun et al., AAAI 2020): every task uses its own part of one trunk's weights.

The paper finds each task's part by pruning a single-task run. Here the parts are found while all
tasks are trained: every weight has a score for each task, the highest scores are in, and scores are
learned through the hard choice as if it were soft (straight-through, Bengio et al., 2013).
"""

import copy
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from perception.trunk import Trunk


class Sparse(nn.Module):
    """One pass of the trunk a task, with `density` of each of its matrices and kernels.

    Scores start at the size of the weights plus a little noise, so parts begin nearly alike and
    drift apart where tasks want different things.
    """

    def __init__(self, make_trunk: Callable[[], Trunk], tasks: int, density: float = 0.7) -> None:
        super().__init__()
        self.trunk, self.density = make_trunk(), density
        self.channels, self.strides = self.trunk.channels, self.trunk.strides
        self.names = [name for name, p in self.trunk.named_parameters() if p.ndim > 1]
        weights = [self.trunk.get_parameter(name).detach() for name in self.names]
        self.scores = nn.ModuleList(
            nn.ParameterList(w.abs() + 0.1 * w.std() * torch.rand_like(w) for w in weights)
            for _ in range(tasks)
        )
        # The smallest score that is in, kept so that evaluation and export need not sort.
        self.limits: Tensor
        self.register_buffer("limits", torch.zeros(tasks, len(self.names)))

    def forward(self, image: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for task in range(len(self.scores)):
            found += functional_call(self.trunk, self.parts(task), (image,))
        return found

    def parts(self, task: int) -> dict[str, Tensor]:
        """The trunk's weights as one task sees them."""
        chosen = {}
        scores = cast(nn.ParameterList, self.scores[task])
        for index, (name, score) in enumerate(zip(self.names, scores, strict=True)):
            if self.training:
                out = round((1 - self.density) * (score.numel() - 1))
                limit = score.detach().flatten().kthvalue(out + 1).values
                self.limits[task, index] = limit
            mask = (score >= self.limits[task, index]).to(score.dtype)
            if self.training:
                mask = mask + score - score.detach()
            chosen[name] = self.trunk.get_parameter(name) * mask
        return chosen

    @torch.no_grad()
    def unfolded(self) -> "Unfolded":
        """The same in evaluation, with a trunk of finished weights for each task: for export."""
        trunks = []
        for task in range(len(self.scores)):
            trunk = copy.deepcopy(self.trunk)
            for name, weight in self.parts(task).items():
                trunk.get_parameter(name).copy_(weight)
            trunks.append(trunk)
        return Unfolded(trunks)

    @torch.no_grad()
    def overlap(self) -> Tensor:
        """(tasks, tasks): of the weights that the row's task uses, the share that the column's
        uses too."""
        masks = []
        for scores, limits in zip(self.scores, self.limits, strict=True):
            pairs = zip(cast(nn.ParameterList, scores), limits, strict=True)
            masks.append(torch.cat([(score >= limit).flatten() for score, limit in pairs]))
        return torch.stack([torch.stack([(a & b).sum() / a.sum() for b in masks]) for a in masks])


class Unfolded(nn.Module):
    """One trunk after the other."""

    def __init__(self, trunks: Sequence[Trunk]) -> None:
        super().__init__()
        self.trunks = nn.ModuleList(trunks)

    def forward(self, image: Tensor) -> list[Tensor]:
        return [feature for trunk in self.trunks for feature in trunk(image)]
