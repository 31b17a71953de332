"""Conflict-free inverse gradients (Liu et al. 2024, arXiv 2408.11104)."""

from torchjd import aggregation

from training.balance.base import Aggregated


class ConFIG(Aggregated):
    """The direction with the same cosine to every task's gradient, as long as their projections
    on it together.
    """

    def make(self) -> aggregation.Aggregator:
        return aggregation.ConFIG()
