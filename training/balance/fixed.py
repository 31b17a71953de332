"""Fixed weights of the losses."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from training.balance.base import Scalarised


class Fixed(Scalarised):
    """L = sum_k w_k L_k; the weight of tasks that `weights` does not name is 1."""

    weights: Tensor

    def __init__(
        self, tasks: Sequence[str], seed: int = 0, weights: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(tasks, seed)
        chosen = [float((weights or {}).get(task, 1.0)) for task in tasks]
        self.register_buffer("weights", torch.tensor(chosen))

    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        return (self.weights[self.index(present)] * values).sum()
