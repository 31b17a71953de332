"""Gradient surgery (Yu et al. 2020, arXiv 2001.06782)."""

from torchjd import aggregation

from training.balance.base import Aggregated


class PCGrad(Aggregated):
    """Each task's gradient loses its component against every task that it conflicts with:
    g_i -= (g_i.g_j / |g_j|^2) g_j where g_i.g_j < 0, in random order; then the sum over i.
    """

    def make(self) -> aggregation.Aggregator:
        return aggregation.PCGrad()
