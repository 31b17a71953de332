"""Sparse sharing (Sun et al., AAAI 2020): every task uses its own part of one trunk's weights.

The paper finds each task's part by pruning a single-task run. Here the parts are found during joint
training: every weight has a score per task, the highest scores are selected, and scores are trained
with the straight-through estimator (Bengio et al., 2013).
"""

import copy
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from perception.trunk import Trunk


class Sparse(nn.Module):
    """One pass of the trunk per task, with the fraction `density` of each matrix and kernel.

    Scores are initialised to the weights' magnitude plus noise, so the parts are nearly equal at
    first.
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
        # The smallest selected score, stored so that evaluation and export need not sort.
        self.limits: Tensor
        self.register_buffer("limits", torch.zeros(tasks, len(self.names)))

    def forward(self, image: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for task in range(len(self.scores)):
            found += functional_call(self.trunk, self.parts(task), (image,))
        return found

    def parts(self, task: int) -> dict[str, Tensor]:
        """The trunk's weights with those of other tasks set to zero."""
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
        """The same network with a separate trunk of final weights per task, for export."""
        trunks = []
        for task in range(len(self.scores)):
            trunk = copy.deepcopy(self.trunk)
            for name, weight in self.parts(task).items():
                trunk.get_parameter(name).copy_(weight)
            trunks.append(trunk)
        return Unfolded(trunks)


class Unfolded(nn.Module):
    """One trunk per task."""

    def __init__(self, trunks: Sequence[Trunk]) -> None:
        super().__init__()
        self.trunks = nn.ModuleList(trunks)

    def forward(self, image: Tensor) -> list[Tensor]:
        return [feature for trunk in self.trunks for feature in trunk(image)]
