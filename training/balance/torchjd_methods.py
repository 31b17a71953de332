"""Balancing methods that torchjd implements; here they get state per task and this project's
interface. Methods with mathematics of their own have a file each.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torchjd import aggregation, scalarization

from training.balance.base import Aggregated, Scalarised

# A loss of zero (a batch without positives) would make gradients infinite or zero.
SMALLEST: Final = 1e-6


class Equal(Scalarised):
    """The plain sum: L = sum_k L_k."""

    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        return scalarization.Sum()(values)


class Fixed(Scalarised):
    """Given weights: L = sum_k w_k L_k; the weight of tasks that `weights` does not name is 1."""

    weights: Tensor

    def __init__(
        self, tasks: Sequence[str], seed: int = 0, weights: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(tasks, seed)
        chosen = [float((weights or {}).get(task, 1.0)) for task in tasks]
        self.register_buffer("weights", torch.tensor(chosen))

    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        return scalarization.Constant(self.weights[self.index(present)])(values)


class RLW(Scalarised):
    """Random loss weighting (Lin et al. 2022, arXiv 2111.10603): L = sum_k w_k L_k, w the softmax
    of normal samples, new in each step."""

    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        return scalarization.Random()(values)


class Geometric(Scalarised):
    """Geometric loss strategy (Chennupati et al. 2019, arXiv 1904.08492): L = (prod_k L_k)^(1/K).

    The weight of a task is proportional to the inverse of its loss.
    """

    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        return scalarization.GeometricMean()(values.clamp(min=SMALLEST))


class Uncertainty(Scalarised):
    """Uncertainty weighting (Kendall et al. 2018, arXiv 1705.07115).

    L = sum_k (exp(-s_k) L_k + s_k) / 2 with s_k = log sigma_k^2 learned. One scalarizer per task,
    so that an absent task's s_k receives no gradient.
    """

    def __init__(self, tasks: Sequence[str], seed: int = 0) -> None:
        super().__init__(tasks, seed)
        self.methods = nn.ModuleDict({task: scalarization.UW(()) for task in tasks})

    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        terms = [self.methods[task](values[row]) for row, task in enumerate(present)]
        return torch.stack(terms).sum()


class IMTLLosses(Scalarised):
    """Impartial losses, IMTL-L (Liu et al., ICLR 2021): L = sum_k (exp(s_k) L_k - s_k).

    s_k is learned, one per task, and brings the scaled losses to about one.
    """

    def __init__(self, tasks: Sequence[str], seed: int = 0) -> None:
        super().__init__(tasks, seed)
        self.methods = nn.ModuleDict({task: scalarization.IMTLL(()) for task in tasks})

    def scalar(self, values: Tensor, present: Sequence[str]) -> Tensor:
        terms = [self.methods[task](values[row]) for row, task in enumerate(present)]
        return torch.stack(terms).sum()


class AlignedMTL(Aggregated):
    """Independent component alignment (Senushkin et al. 2023, arXiv 2305.19000).

    The gradients' principal components are scaled to the smallest one; then the mean.
    """

    def make(self) -> aggregation.Aggregator:
        return aggregation.AlignedMTL()


class CAGrad(Aggregated):
    """Conflict-averse gradient descent (Liu et al. 2021, arXiv 2110.14048).

    The direction that most improves the worst task within c |g_0| of the mean gradient g_0:
    g_0 + c |g_0| g_w / |g_w|, w minimising g_w.g_0 + c |g_0| |g_w|. c as in the paper for NYUv2.
    """

    def make(self) -> aggregation.Aggregator:
        return aggregation.CAGrad(c=0.4)


class ConFIG(Aggregated):
    """Conflict-free inverse gradients (Liu et al. 2024, arXiv 2408.11104).

    The direction with equal cosine to every task's gradient, scaled by their summed projections.
    """

    def make(self) -> aggregation.Aggregator:
        return aggregation.ConFIG()


class FairGrad(Aggregated):
    """Fair resource allocation (Ban and Ji 2024, arXiv 2402.15638).

    Weights w with (G G^T w)_i = w_i^(-1/alpha), alpha = 2 as in the paper.
    """

    def make(self) -> aggregation.Aggregator:
        return aggregation.FairGrad(alpha=2.0)


class GradDrop(Aggregated):
    """Gradient sign dropout (Chen et al. 2020, arXiv 2010.06808).

    Each coordinate keeps the gradients of one sign, sampled with probability
    P = (1 + sum g / sum |g|) / 2.
    """

    def make(self) -> aggregation.Aggregator:
        return aggregation.GradDrop()


class IMTLG(Aggregated):
    """Impartial gradients, IMTL-G (Liu et al., ICLR 2021).

    The combination, with weights that sum to one, whose projections on all gradients are equal.
    """

    def make(self) -> aggregation.Aggregator:
        return aggregation.IMTLG()


class MGDA(Aggregated):
    """Multiple-gradient descent (Sener and Koltun 2018, arXiv 1810.04650).

    The shortest vector in the convex hull of the tasks' gradients (Frank-Wolfe).
    """

    def make(self) -> aggregation.Aggregator:
        return aggregation.MGDA()


class PCGrad(Aggregated):
    """Gradient surgery (Yu et al. 2020, arXiv 2001.06782).

    Each task's gradient loses its component against every conflicting task:
    g_i -= (g_i.g_j / |g_j|^2) g_j where g_i.g_j < 0, in random order; then the sum over i.
    """

    def make(self) -> aggregation.Aggregator:
        return aggregation.PCGrad()


class UPGrad(Aggregated):
    """Unconflicting projection of gradients (Quinton and Rey 2024, arXiv 2406.16232).

    Each gradient is projected on the cone of directions that harm no task; then the mean.
    """

    def make(self) -> aggregation.Aggregator:
        return aggregation.UPGrad()
