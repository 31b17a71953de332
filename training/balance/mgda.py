"""Multiple-gradient descent (Sener and Koltun 2018, arXiv 1810.04650)."""

from torchjd import aggregation

from training.balance.base import Aggregated


class MGDA(Aggregated):
    """The shortest vector in the convex hull of the tasks' gradients (Frank-Wolfe)."""

    def make(self) -> aggregation.Aggregator:
        return aggregation.MGDA()
