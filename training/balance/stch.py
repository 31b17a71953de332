"""Smooth Tchebycheff scalarisation (Lin et al. 2024, arXiv 2402.19078)."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torchjd import scalarization

from training.balance.base import Scalarised

SMALLEST: Final = 1e-8


class STCH(Scalarised):
    """L = K mu log sum_k exp(log(L_k / n_k) / mu): the task with the least progress counts most.

    Progress is relative to n_k, the mean loss over the first epoch, which trains on the plain sum.
    For a task first seen later n_k is its first loss.
    """

    total: Tensor
    count: Tensor
    warm: Tensor

    def __init__(self, tasks: Sequence[str], seed: int = 0, mu: float = 1.0) -> None:
        super().__init__(tasks, seed)
        self.method = scalarization.STCH(mu)
        self.register_buffer("total", torch.zeros(len(tasks), dtype=torch.float64))
        self.register_buffer("count", torch.zeros(len(tasks), dtype=torch.float64))
        self.register_buffer("warm", torch.zeros((), dtype=torch.bool))

    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        index = self.index(present)
        fresh = (self.count[index] == 0) | ~self.warm
        self.total[index] += torch.where(fresh, values.detach().double(), 0.0)
        self.count[index] += fresh.double()
        if not self.warm:
            return values.sum()
        sizes = (self.total[index] / self.count[index]).clamp(min=SMALLEST).to(values)
        self.method.weights = torch.ones_like(values)
        return len(present) * self.method((values / sizes).clamp(min=SMALLEST).log())

    def end_epoch(self) -> None:
        self.warm.fill_(True)
