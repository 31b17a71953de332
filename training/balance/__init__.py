"""Balancing methods: how tasks share one trunk. A new method is one file and one line in BALANCERS.

Methods that torchjd implements are in torchjd_methods.py.
"""

from collections.abc import Sequence
from typing import Any, Final

from perception.errors import UserError, unknown_name
from training.balance.base import Aggregated, Balancer
from training.balance.border import Border
from training.balance.dwa import DWA
from training.balance.famo import FAMO
from training.balance.gradnorm import GradNorm
from training.balance.gradvac import GradVac
from training.balance.imtl import IMTL
from training.balance.nash_mtl import NashMTLMethod
from training.balance.stch import STCH
from training.balance.torchjd_methods import (
    IMTLG,
    MGDA,
    RLW,
    AlignedMTL,
    CAGrad,
    ConFIG,
    Equal,
    FairGrad,
    Fixed,
    Geometric,
    GradDrop,
    IMTLLosses,
    PCGrad,
    Uncertainty,
    UPGrad,
)

__all__ = ["AT_FEATURES", "BALANCERS", "Balancer", "Border", "check_method", "make_balancer"]

BALANCERS: Final[dict[str, type[Balancer]]] = {
    # losses to one scalar
    "equal": Equal,
    "fixed": Fixed,
    "uncertainty": Uncertainty,
    "dwa": DWA,
    "rlw": RLW,
    "gradnorm": GradNorm,
    "geometric": Geometric,
    "famo": FAMO,
    "imtl-l": IMTLLosses,
    "stch": STCH,
    # gradients to one gradient
    "pcgrad": PCGrad,
    "cagrad": CAGrad,
    "mgda": MGDA,
    "nash-mtl": NashMTLMethod,
    "imtl": IMTL,
    "imtl-g": IMTLG,
    "aligned-mtl": AlignedMTL,
    "gradvac": GradVac,
    "graddrop": GradDrop,
    "config": ConFIG,
    "upgrad": UPGrad,
    "fairgrad": FairGrad,
}

AT_FEATURES: Final = "@features"


def make_balancer(name: str, tasks: Sequence[str], seed: int = 0, **options: Any) -> Balancer:
    """The balancer of a name in BALANCERS. With the suffix `@features` it compares the tasks'
    gradients at the neck's outputs. Raises UserError for an unknown name."""
    check_method(name)
    balancer = BALANCERS[name.removesuffix(AT_FEATURES)](tasks, seed, **options)
    if isinstance(balancer, Aggregated):
        balancer.at_features = name.endswith(AT_FEATURES)
    return balancer


def check_method(name: str) -> None:
    """Raises UserError for a name that `make_balancer` does not know."""
    method = name.removesuffix(AT_FEATURES)
    if method not in BALANCERS:
        raise unknown_name("balancing method", method, BALANCERS)
    if method != name and not issubclass(BALANCERS[method], Aggregated):
        raise UserError(f"--balance {name}: {method} compares no gradients; use --balance {method}")
