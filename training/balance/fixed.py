"""Weights of the user's choice."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchjd.scalarization import Constant

from training.balance.base import Scalarised


class Fixed(Scalarised):
    """L = sum_k w_k L_k; tasks that `weights` does not name weigh one."""

    weights: Tensor

    def __init__(
        self, tasks: Sequence[str], seed: int = 0, weights: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(tasks, seed)
        chosen = [float((weights or {}).get(task, 1.0)) for task in tasks]
        self.register_buffer("weights", torch.tensor(chosen))

    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        return Constant(self.weights[self.index(present)])(values)
