"""GradNorm (Chen et al. 2018, arXiv 1711.02257)."""

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from training.balance.base import Balancer, Losses, Weights, accumulate_all, numbers
from training.balance.border import Border


class GradNorm(Balancer):
    """Weights w_k such that G_k = w_k |dL_k| comes to mean(G) r_k^alpha.

    r_k is the task's loss relative to its first, divided by the mean of that over tasks. |dL_k| is
    taken at the features that the heads share: each head is passed once, and the trunk once. The
    weights take gradient steps on sum_k |G_k - mean(G) r_k^alpha| and are then rescaled to their
    former sum.
    """

    weights: Tensor
    first: Tensor

    def __init__(
        self, tasks: Sequence[str], seed: int = 0, alpha: float = 1.5, lr: float = 0.025
    ) -> None:
        super().__init__(tasks, seed)
        self.alpha, self.lr = alpha, lr
        self.register_buffer("weights", torch.ones(len(tasks)))
        self.register_buffer("first", torch.full((len(tasks),), torch.nan))

    def backward(
        self, losses: Losses, border: Border, values: Mapping[str, float] | None = None
    ) -> Weights:
        names, index = list(losses), self.index(list(losses))
        weights = self.weights[index].clone()
        factors = weights.tolist()
        pulled = [
            border.pull(w * losses[task], [task]) for w, task in zip(factors, names, strict=True)
        ]
        zero = torch.zeros((), device=border.leaves[0].device)
        squares = [sum((g.float().square().sum() for g in grads), zero) for grads, _ in pulled]
        norms = torch.stack(squares)
        border.reduce(norms)
        by_map = zip(*(grads for grads, _ in pulled), strict=True)
        at_leaves = [reduce(torch.add, grads) for grads in by_map]
        on_heads = [grad for _, grads in pulled for grad in grads]
        accumulate_all(border, names, at_leaves, on_heads)
        self._move(index, numbers(losses, values), norms.sqrt().cpu() / weights)
        self.steps += 1
        return dict(zip(names, factors, strict=True))

    def _move(self, index: Tensor, values: Tensor, norms: Tensor) -> None:
        unseen = self.first[index].isnan()
        self.first[index] = torch.where(unseen, values, self.first[index])
        ratio = values / self.first[index].clamp(min=1e-8)
        relative = ratio / ratio.mean().clamp(min=1e-8)
        weights = self.weights[index]
        gap = weights * norms - (weights * norms).mean() * relative**self.alpha
        moved = (weights - self.lr * gap.sign() * norms).clamp(min=1e-3)
        if moved.isfinite().all():
            self.weights[index] = moved * weights.sum() / moved.sum()
