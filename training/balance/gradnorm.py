"""GradNorm (Chen et al. 2018, arXiv 1711.02257)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from training.balance.base import Balancer, Losses, Weights, numbers
from training.balance.border import Border, accumulate


class GradNorm(Balancer):
    """Weights w_k such that G_k = w_k |dL_k| comes to mean(G) r_k^alpha.

    r_k is the task's loss relative to its first, divided by the mean of that over tasks. |dL_k| is
    taken at the features that the heads share, so no second pass through the trunk is needed. The
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
        names = list(losses)
        index = self.index(names)
        weights = self.weights[index].clone()
        pulled = [border.pull(losses[task], [task]) for task in names]
        squares = [sum(g.float().square().sum() for g in at_leaves) for at_leaves, _ in pulled]
        norms = torch.stack([torch.as_tensor(s, device=border.leaves[0].device) for s in squares])
        border.reduce(norms)
        self._accumulate(border, names, weights, pulled)
        self._move(index, numbers(losses, values), norms.sqrt().cpu())
        self.steps += 1
        return dict(zip(names, weights.tolist(), strict=True))

    def _accumulate(
        self,
        border: Border,
        names: Sequence[str],
        weights: Tensor,
        pulled: Sequence[tuple[list[Tensor], list[Tensor]]],
    ) -> None:
        """Adds the gradient of the weighted sum, computed from the tasks' own gradients."""
        on_heads = [
            weight * grad
            for weight, (_, on_head) in zip(weights.tolist(), pulled, strict=True)
            for grad in on_head
        ]
        accumulate([p for task in names for p in border.heads[task]], border.reduced(on_heads))
        if border.shared:
            columns = zip(*(at_leaves for at_leaves, _ in pulled), strict=True)
            mixed = [
                torch.stack([w * g for w, g in zip(weights.tolist(), column, strict=True)]).sum(0)
                for column in columns
            ]
            accumulate(border.shared, border.reduced(border.push(mixed)))

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
