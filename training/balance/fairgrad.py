"""Fair resource allocation (Ban and Ji 2024, arXiv 2402.15638)."""

from torchjd import aggregation

from training.balance.base import Aggregated


class FairGrad(Aggregated):
    """The weights w with (G G^T w)_i = w_i^(-1/alpha): alpha-fair gains. The paper's alpha, 2."""

    def make(self) -> aggregation.Aggregator:
        return aggregation.FairGrad(alpha=2.0)
