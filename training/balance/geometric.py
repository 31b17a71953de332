"""Geometric loss strategy (Chennupati et al. 2019, arXiv 1904.08492)."""

from collections.abc import Sequence
from typing import Final

from torch import Tensor
from torchjd.scalarization import GeometricMean

from training.balance.base import Scalarised

# A loss of zero (a batch without one positive) would make every gradient infinite or zero.
SMALLEST: Final = 1e-6


class Geometric(Scalarised):
    """L = (prod_k L_k)^(1/K): each task weighs by the inverse of its loss."""

    def __init__(self, tasks: Sequence[str], seed: int = 0) -> None:
        super().__init__(tasks, seed)
        self.method = GeometricMean()

    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        return self.method(values.clamp(min=SMALLEST))
