"""Impartial gradients, IMTL-G (Liu et al., ICLR 2021)."""

from torchjd import aggregation

from training.balance.base import Aggregated


class IMTLG(Aggregated):
    """The combination, of weights that sum to one, whose projections on all gradients are equal."""

    def make(self) -> aggregation.Aggregator:
        return aggregation.IMTLG()
