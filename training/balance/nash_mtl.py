"""Multi-task learning as a bargaining game (Navon et al. 2022, arXiv 2202.01017)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchjd.aggregation import NashMTL

from training.balance.base import Aggregated


class NashMTLMethod(Aggregated):
    """The weights a with G G^T a = 1 / a: the Nash bargaining solution.

    The solver starts from each task's last weight; one solver per number of present tasks.
    """

    last: Tensor

    def __init__(self, tasks: Sequence[str], seed: int = 0) -> None:
        super().__init__(partial(NashMTL, n_tasks=len(tasks)), tasks, seed)
        self.register_buffer("last", torch.ones(len(tasks)))
        self.solvers = {len(tasks): self.method}

    def aggregate(self, matrix: Tensor, present: Sequence[str]) -> Tensor:
        if len(present) == 1:  # the solver needs two; the solution for one is its unit gradient
            return matrix[0] / matrix[0].norm().clamp(min=1e-12)
        index = self.index(present)
        solver = self.solvers.setdefault(len(present), NashMTL(n_tasks=len(present)))
        weighting: Any = solver.weighting
        weighting.prvs_alpha = self.last[index].numpy()
        vector = solver(matrix)
        self.last[index] = torch.from_numpy(weighting.prvs_alpha).to(self.last.dtype)
        return vector
