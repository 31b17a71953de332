"""What a network costs besides time: parameters, multiply-adds, memory."""

import subprocess
import sys
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from export.inference_rewrite import lean
from perception.errors import UserError
from perception.model import Deployed, HydraNet


def parameters(model: HydraNet) -> int:
    """All weights of the network as it is trained."""
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: HydraNet, size_hw: tuple[int, int]) -> int:
    """Of one deployed frame: convolutions and all matrix products, attention's included.

    Build the model with timm's fused attention off; the fused call's products are hidden on a CPU.
    """
    deployed = Deployed(lean(model)).eval()  # type: ignore[arg-type]
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        deployed(torch.zeros(1, *size_hw, 3, dtype=torch.uint8))
    return counter.get_total_flops() // 2


def peak_megabytes(path: Path, threads: int) -> float:
    """What loading the file and running it thrice adds to a fresh process, at its highest.

    NaN where the system does not tell.
    """
    command = [sys.executable, "-m", "export.memory", str(path), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{path}: it could not be run alone ({done.stderr.strip()[-200:]})")
    return float(done.stdout)
