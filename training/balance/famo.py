"""Fast adaptive multitask optimisation (Liu et al. 2023, arXiv 2306.03792)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from training.balance.base import Scalarised

SMALLEST: Final = 1e-8


class FAMO(Scalarised):
    """L = c sum_k z_k log L_k with z = softmax(w), c = 1 / sum_k (z_k / L_k).

    After each step w is updated by Adam with the gradient of z at w times log L_k before - after.
    Unlike torchjd's, tasks absent from a batch keep their logit and moments, and the softmax is
    over the present ones.
    """

    logits: Tensor
    first: Tensor
    second: Tensor
    moves: Tensor

    def __init__(
        self, tasks: Sequence[str], seed: int = 0, lr: float = 0.025, decay: float = 1e-3
    ) -> None:
        super().__init__(tasks, seed)
        self.lr, self.decay = lr, decay
        for name in ("logits", "first", "second", "moves"):
            self.register_buffer(name, torch.zeros(len(tasks)))
        self.before: dict[str, float] = {}

    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        self.before = dict(zip(present, values.tolist(), strict=True))
        shares = torch.softmax(self.logits[self.index(present)], 0)
        shifted = values.clamp(min=SMALLEST)
        norm = (shares / shifted).sum().detach()
        return (shares / norm * shifted.log()).sum()

    def after_step(self, losses_again: Callable[[], Mapping[str, float]]) -> None:
        after = losses_again()
        present = list(self.before)
        index = self.index(present)
        old = torch.tensor([self.before[task] for task in present]).clamp(min=SMALLEST)
        new = torch.tensor([after[task] for task in present]).clamp(min=SMALLEST)
        logits = self.logits[index].requires_grad_()
        with torch.enable_grad():
            shares = torch.softmax(logits, 0)
            (grad,) = torch.autograd.grad(shares, logits, grad_outputs=old.log() - new.log())
        if grad.isfinite().all():
            self._adam(index, grad + self.decay * logits.detach())

    def _adam(self, index: Tensor, grad: Tensor) -> None:
        self.moves[index] += 1
        self.first[index] = 0.9 * self.first[index] + 0.1 * grad
        self.second[index] = 0.999 * self.second[index] + 0.001 * grad**2
        mean = self.first[index] / (1 - 0.9 ** self.moves[index])
        spread = self.second[index] / (1 - 0.999 ** self.moves[index])
        self.logits[index] -= self.lr * mean / (spread.sqrt() + 1e-8)
