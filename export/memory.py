"""Memory that a model needs, measured in a process of its own without torch.

Example: python -m export.memory model.onnx 2 (prints the megabytes it adds)
"""

import subprocess
import sys
from pathlib import Path

import numpy as np

from perception.errors import UserError
from perception.runtime.runner import Runner, read_description


def peak_megabytes(path: Path, threads: int) -> float:
    """Peak memory that loading the file and running it three times adds to a fresh process, in MB.

    NaN where the operating system does not report it.
    """
    command = [sys.executable, "-m", "export.memory", str(path), str(threads)]
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
