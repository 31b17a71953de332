"""Balancing methods: how tasks share one trunk. A new method is one line in BALANCERS, and one file
where it has mathematics of its own.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from torchjd import aggregation, scalarization

from perception.errors import UserError, check_known
from training.balance.base import Aggregated, Balancer, PerTask, Plain
from training.balance.border import Border
from training.balance.dwa import DWA
from training.balance.famo import FAMO
from training.balance.fixed import Fixed
from training.balance.gradnorm import GradNorm
from training.balance.gradvac import GradVac
from training.balance.imtl import IMTL
from training.balance.nash_mtl import NashMTLMethod
from training.balance.stch import STCH

__all__ = ["AT_FEATURES", "BALANCERS", "Balancer", "Border", "check_method", "make_balancer"]

# A loss of zero (a batch without positives) would make gradients infinite or zero.
SMALLEST: Final = 1e-6

BALANCERS: Final[dict[str, Callable[..., Balancer]]] = {
    # Losses to one scalar.
    "equal": partial(Plain, scalarization.Sum),  # sum_k L_k
    "fixed": Fixed,
    # Kendall et al. 2018, arXiv 1705.07115: sum_k (exp(-s_k) L_k + s_k) / 2, s_k = log sigma_k^2
    # is learned
    "uncertainty": partial(PerTask, scalarization.UW),
    "dwa": DWA,
    # Lin et al. 2022, arXiv 2111.10603: sum_k w_k L_k, w the softmax of normal samples, new in
    # each step
    "rlw": partial(Plain, scalarization.Random),
    "gradnorm": GradNorm,
    # Chennupati et al. 2019, arXiv 1904.08492: (prod_k L_k)^(1/K), so that weights are
    # proportional to the inverse of the loss
    "geometric": partial(Plain, scalarization.GeometricMean, smallest=SMALLEST),
    "famo": FAMO,
    # Liu et al., ICLR 2021: sum_k (exp(s_k) L_k - s_k), s_k is learned and brings the scaled
    # losses to about one
    "imtl-l": partial(PerTask, scalarization.IMTLL),
    "stch": STCH,
    # Gradients to one gradient.
    # Yu et al. 2020, arXiv 2001.06782: g_i -= (g_i.g_j / |g_j|^2) g_j where g_i.g_j < 0, in random
    # order over j; then the sum over i
    "pcgrad": partial(Aggregated, aggregation.PCGrad),
    # Liu et al. 2021, arXiv 2110.14048: g_0 + c |g_0| g_w / |g_w|, w minimising
    # g_w.g_0 + c |g_0| |g_w|, g_0 the mean gradient; c as in the paper for NYUv2
    "cagrad": partial(Aggregated, partial(aggregation.CAGrad, c=0.4)),
    # Sener and Koltun 2018, arXiv 1810.04650: the shortest vector in the convex hull of the
    # gradients (Frank-Wolfe)
    "mgda": partial(Aggregated, aggregation.MGDA),
    "nash-mtl": NashMTLMethod,
    "imtl": IMTL,
    # Liu et al., ICLR 2021: weights that sum to one, with equal projections on all gradients
    "imtl-g": partial(Aggregated, aggregation.IMTLG),
    # Senushkin et al. 2023, arXiv 2305.19000: principal components of the gradients scaled to the
    # smallest one; then the mean
    "aligned-mtl": partial(Aggregated, aggregation.AlignedMTL),
    "gradvac": GradVac,
    # Chen et al. 2020, arXiv 2010.06808: each coordinate keeps the gradients of one sign, sampled
    # with probability (1 + sum g / sum |g|) / 2
    "graddrop": partial(Aggregated, aggregation.GradDrop),
    # Liu et al. 2024, arXiv 2408.11104: the direction with equal cosine to every gradient, scaled
    # by their summed projections
    "config": partial(Aggregated, aggregation.ConFIG),
    # Quinton and Rey 2024, arXiv 2406.16232: gradients projected on the cone of directions that
    # harm no task; then the mean
    "upgrad": partial(Aggregated, aggregation.UPGrad),
    # Ban and Ji 2024, arXiv 2402.15638: (G G^T w)_i = w_i^(-1/alpha), alpha as in the paper
    "fairgrad": partial(Aggregated, partial(aggregation.FairGrad, alpha=2.0)),
}

AT_FEATURES: Final = "@features"


def make_balancer(name: str, tasks: Sequence[str], seed: int = 0, **options: Any) -> Balancer:
    """The balancer of a name in BALANCERS. With the suffix `@features` it compares the tasks'
    gradients at the neck's outputs. Raises UserError for an unknown name."""
    check_method(name)
    balancer = BALANCERS[name.removesuffix(AT_FEATURES)](tasks, seed=seed, **options)
    if isinstance(balancer, Aggregated):
        balancer.at_features = name.endswith(AT_FEATURES)
    return balancer


def check_method(name: str) -> None:
    """Raises UserError for a name that `make_balancer` does not know."""
    method = name.removesuffix(AT_FEATURES)
    check_known("balancing method", [method], BALANCERS)
    kind = BALANCERS[method]
    kind = kind.func if isinstance(kind, partial) else kind
    if method != name and not (isinstance(kind, type) and issubclass(kind, Aggregated)):
        raise UserError(f"--balance {name}: {method} compares no gradients; use --balance {method}")
