"""python -m export.memory MODEL.onnx THREADS: prints the megabytes a model adds to this process.

A process of its own and without torch, so that nothing but the model is counted.
"""

import sys
from pathlib import Path

import numpy as np

from perception.runtime.runner import Runner, read_description


def peak() -> float:
    """Highest resident size of this process so far, in MB; NaN where there is no /proc.

    Not getrusage: its figure survives exec, so a child starts with its parent's.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return float("nan")


def main() -> None:
    """Loads, runs three frames, prints the growth."""
    path, threads = Path(sys.argv[1]), int(sys.argv[2])
    frame = np.full((*read_description(path).size_hw, 3), 114, np.uint8)
    before = peak()
    runner = Runner(path, "cpu", threads)
    for _ in range(3):
        runner.raw(frame)
    print(peak() - before)


if __name__ == "__main__":
    main()
