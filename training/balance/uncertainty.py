"""Uncertainty weighting (Kendall et al. 2018, arXiv 1705.07115)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchjd.scalarization import UW

from training.balance.base import Scalarised


class Uncertainty(Scalarised):
    """L = sum_k (exp(-s_k) L_k + s_k) / 2 with s_k = log sigma_k^2 learned.

    One scalarizer a task, so that an absent task's s_k receives no gradient and does not move.
    """

    def __init__(self, tasks: Sequence[str], seed: int = 0) -> None:
        super().__init__(tasks, seed)
        self.methods = nn.ModuleDict({task: UW(()) for task in tasks})

    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        terms = [self.methods[task](values[row]) for row, task in enumerate(present)]
        return torch.stack(terms).sum()
