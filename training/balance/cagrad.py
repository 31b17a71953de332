"""Conflict-averse gradient descent (Liu et al. 2021, arXiv 2110.14048)."""

from torchjd import aggregation

from training.balance.base import Aggregated


class CAGrad(Aggregated):
    """The direction that helps the worst task most, within c |g_0| of the mean gradient g_0:
    g_0 + c |g_0| g_w / |g_w|, w minimising g_w.g_0 + c |g_0| |g_w|. The paper's c for NYUv2.
    """

    def make(self) -> aggregation.Aggregator:
        return aggregation.CAGrad(c=0.4)
