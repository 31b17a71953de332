"""Impartial multi-task learning, both halves (Liu et al., ICLR 2021)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchjd.aggregation import IMTLG
from torchjd.scalarization import IMTLL

from training.balance.base import Aggregated
from training.balance.border import accumulate


class IMTL(Aggregated):
    """IMTL-L scales the losses by exp(s_k), IMTL-G combines the gradients of the scaled losses."""

    def __init__(self, tasks: Sequence[str], seed: int = 0) -> None:
        super().__init__(IMTLG, tasks, seed)
        self.scales = nn.ModuleDict({task: IMTLL(()) for task in tasks})

    def scale(self, values: Tensor, present: Sequence[str]) -> Tensor:
        values = values.requires_grad_()
        terms = [self.scales[task](values[row]) for row, task in enumerate(present)]
        own = [parameter for task in present for parameter in self.scales[task].parameters()]
        weights, *grads = torch.autograd.grad(torch.stack(terms).sum(), [values, *own])
        accumulate(own, grads)
        return weights
