"""Impartial multi-task learning, both halves (Liu et al., ICLR 2021)."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torchjd.aggregation import IMTLG
from torchjd.scalarization import IMTLL

from training.balance.base import Aggregated


class IMTL(Aggregated):
    """IMTL-L scales the losses by exp(s_k), IMTL-G combines the gradients of the scaled losses."""

    def __init__(self, tasks: Sequence[str], seed: int = 0) -> None:
        super().__init__(IMTLG, tasks, seed)
        self.scales = nn.ModuleDict({task: IMTLL(()) for task in tasks})

    def scale(self, values: Tensor, present: Sequence[str]) -> Tensor:
        values = values.requires_grad_()
        terms = [self.scales[task](values[row]) for row, task in enumerate(present)]
        torch.stack(terms).sum().backward()  # the scales get their gradients too
        return cast(Tensor, values.grad)
