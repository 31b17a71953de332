"""How tasks share one trunk. A new method: one file here and one line in BALANCERS."""

from collections.abc import Callable
from typing import Final

from training.balance.aligned_mtl import AlignedMTL
from training.balance.base import Balancer
from training.balance.border import Border
from training.balance.cagrad import CAGrad
from training.balance.config_method import ConFIG
from training.balance.dwa import DWA
from training.balance.equal import Equal
from training.balance.fairgrad import FairGrad
from training.balance.famo import FAMO
from training.balance.fixed import Fixed
from training.balance.geometric import Geometric
from training.balance.graddrop import GradDrop
from training.balance.gradnorm import GradNorm
from training.balance.gradvac import GradVac
from training.balance.imtl import IMTL
from training.balance.imtl_g import IMTLG
from training.balance.imtl_l import IMTLLosses
from training.balance.mgda import MGDA
from training.balance.nash_mtl import NashMTLMethod
from training.balance.pcgrad import PCGrad
from training.balance.rlw import RLW
from training.balance.stch import STCH
from training.balance.uncertainty import Uncertainty
from training.balance.upgrad import UPGrad

__all__ = ["BALANCERS", "Balancer", "Border"]

BALANCERS: Final[dict[str, Callable[..., Balancer]]] = {
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
