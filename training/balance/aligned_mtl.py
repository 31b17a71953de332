"""Independent component alignment (Senushkin et al. 2023, arXiv 2305.19000)."""

from torchjd import aggregation

from training.balance.base import Aggregated


class AlignedMTL(Aggregated):
    """The gradients' principal components are brought to the length of the smallest; the mean."""

    def make(self) -> aggregation.Aggregator:
        return aggregation.AlignedMTL()
