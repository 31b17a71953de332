"""Impartial losses, IMTL-L (Liu et al., ICLR 2021)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchjd.scalarization import IMTLL

from training.balance.base import Scalarised


class IMTLLosses(Scalarised):
    """L = sum_k (exp(s_k) L_k - s_k): scaled losses tend to one. s_k is learned, one a task."""

    def __init__(self, tasks: Sequence[str], seed: int = 0) -> None:
        super().__init__(tasks, seed)
        self.methods = nn.ModuleDict({task: IMTLL(()) for task in tasks})

    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        terms = [self.methods[task](values[row]) for row, task in enumerate(present)]
        return torch.stack(terms).sum()
