"""Unconflicting projection of gradients (Quinton and Rey 2024, arXiv 2406.16232)."""

from torchjd import aggregation

from training.balance.base import Aggregated


class UPGrad(Aggregated):
    """Each gradient is projected on the cone of directions that harm no task; then the mean."""

    def make(self) -> aggregation.Aggregator:
        return aggregation.UPGrad()
