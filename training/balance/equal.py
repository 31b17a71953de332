"""The plain sum of the losses: every task weighs one."""

from collections.abc import Sequence

from torch import Tensor
from torchjd.scalarization import Sum

from training.balance.base import Scalarised


class Equal(Scalarised):
    """L = sum_k L_k."""

    def __init__(self, tasks: Sequence[str], seed: int = 0) -> None:
        super().__init__(tasks, seed)
        self.method = Sum()

    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        return self.method(values)
