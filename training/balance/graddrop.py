"""Gradient sign dropout (Chen et al. 2020, arXiv 2010.06808)."""

from torchjd import aggregation

from training.balance.base import Aggregated


class GradDrop(Aggregated):
    """Each coordinate keeps the gradients of one sign, drawn with the probability of its share:
    P = (1 + sum g / sum |g|) / 2.
    """

    def make(self) -> aggregation.Aggregator:
        return aggregation.GradDrop()
