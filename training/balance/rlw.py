"""Random loss weighting (Lin et al. 2022, arXiv 2111.10603)."""

from collections.abc import Sequence

from torch import Tensor
from torchjd.scalarization import Random

from training.balance.base import Scalarised


class RLW(Scalarised):
    """L = sum_k w_k L_k, w the softmax of normal draws, anew each step."""

    def __init__(self, tasks: Sequence[str], seed: int = 0) -> None:
        super().__init__(tasks, seed)
        self.method = Random()

    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        return self.method(values)
