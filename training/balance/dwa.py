"""Dynamic weight average (Liu et al. 2019, arXiv 1803.10704)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from training.balance.base import Scalarised


class DWA(Scalarised):
    """w_k = K exp(r_k / T) / sum_i exp(r_i / T), r_k = L_k(t-1) / L_k(t-2) over epochs t.

    Unlike torchjd's, it keeps a history per task, because a task may be labelled in some batches or
    epochs only. The weight of a task with fewer than two epochs is 1.
    """

    total: Tensor
    count: Tensor
    newer: Tensor
    older: Tensor

    def __init__(self, tasks: Sequence[str], seed: int = 0, temperature: float = 2.0) -> None:
        super().__init__(tasks, seed)
        self.temperature = temperature
        starts = {"total": 0.0, "count": 0.0, "newer": torch.nan, "older": torch.nan}
        for name, value in starts.items():
            self.register_buffer(name, torch.full((len(tasks),), value, dtype=torch.float64))

    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        index = self.index(present)
        self.total[index] += values.detach().double()
        self.count[index] += 1
        return (self.weights(index).to(values) * values).sum()

    def weights(self, index: Tensor) -> Tensor:
        """Weights of the tasks at `index`, from the two epochs before."""
        rates = self.newer[index] / self.older[index].clamp(min=1e-12)
        known = rates.isfinite()
        weights = torch.ones_like(rates)
        if known.any():
            weights[known] = known.sum() * torch.softmax(rates[known] / self.temperature, 0)
        return weights

    def end_epoch(self) -> None:
        seen = self.count > 0
        self.older[seen] = self.newer[seen]
        self.newer[seen] = self.total[seen] / self.count[seen]
        self.total.zero_()
        self.count.zero_()
