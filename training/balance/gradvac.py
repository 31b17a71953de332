"""Gradient vaccine (Wang et al. 2021, arXiv 2010.05874)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchjd.aggregation import GradVac as Vaccine

from training.balance.base import Aggregated


class GradVac(Aggregated):
    """Gradients with a cosine below its running average are rotated to that average.

    The averages are kept for all pairs of tasks; torchjd resets them whenever the number of tasks
    in a batch changes.
    """

    cosines: Tensor

    def __init__(self, tasks: Sequence[str], seed: int = 0) -> None:
        # Its own state is not in the state_dict; `cosines` is what is resumed.
        super().__init__(Vaccine, tasks, seed)
        self.register_buffer("cosines", torch.zeros(len(tasks), len(tasks)))

    def aggregate(self, matrix: Tensor, present: Sequence[str]) -> Tensor:
        index = self.index(present)
        weighting: Any = self.method.gramian_weighting
        weighting._phi_t = self.cosines[index[:, None], index].to(matrix.dtype)
        weighting._state_key = (len(present), matrix.dtype)
        vector = self.method(matrix)
        self.cosines[index[:, None], index] = weighting._phi_t.to(self.cosines.dtype)
        weighting.reset()
        return vector
