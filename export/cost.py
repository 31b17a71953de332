"""What a network costs apart from time: parameters, multiply-adds, memory.

Memory is measured in a process of its own without torch:
python -m export.cost model.onnx 2 (prints the megabytes it adds)
"""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perception.errors import UserError
from perception.runtime.runner import Runner, read_description

if TYPE_CHECKING:
    from perception.model import HydraNet


def cost_of(
    model: "HydraNet", path: Path, size_hw: tuple[int, int], threads: int
) -> dict[str, Any]:
    """parameters, multiply_adds and peak_megabytes of a network and its exported file."""
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "multiply_adds": multiply_adds(model, size_hw),
        "peak_megabytes": peak_megabytes(path, threads),
    }


def multiply_adds(model: "HydraNet", size_hw: tuple[int, int]) -> int:
    """Multiply-adds per deployed frame: convolutions and all matrix products, attention included.

    Build the model with timm's fused attention off; the products of the fused call are not counted.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from export.inference_rewrite import rewrite_for_inference
    from perception.model import Deployed

    deployed = Deployed(rewrite_for_inference(model)).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        deployed(torch.zeros(1, *size_hw, 3, dtype=torch.uint8))
    return counter.get_total_flops() // 2


def peak_megabytes(path: Path, threads: int) -> float:
    """Peak memory that loading the file and running it three times adds to a fresh process, in MB.

    NaN where the operating system does not report it.
    """
    command = [sys.executable, "-m", "export.cost", str(path), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{path}: cannot be run ({done.stderr.strip()[-200:]})")
    return float(done.stdout)


def peak_resident() -> float:
    """Highest resident size of this process so far, in MB; NaN where there is no /proc.

    Not getrusage: its figure survives exec, so a child starts with that of its parent.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return float("nan")


def main() -> None:
    """Loads a model, runs three frames and prints the growth."""
    path, threads = Path(sys.argv[1]), int(sys.argv[2])
    frame = np.full((*read_description(path).size_hw, 3), 114, np.uint8)
    before = peak_resident()
    runner = Runner(path, "cpu", threads)
    for _ in range(3):
        runner.raw(frame)
    print(peak_resident() - before)


if __name__ == "__main__":
    main()
