"""What networks cost to run: `bench-onnx` on all of them, exported, interleaved in one process."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from perception.sizes import format_size
from training.study.plan import HARD, Row
from training.study.trials import Log


@dataclass(frozen=True)
class Cost:
    """Multiply-adds, p10 of the latency in ms, and the latency relative to the first network."""

    macs: int
    p10_ms: float
    ratio: float


def costs(rows: Sequence[Row], size_hw: tuple[int, int], rounds: int, log: Log) -> dict[Row, Cost]:
    """The cost of rows with the same tasks in ONNX Runtime, batch 1. Balancing and start do not
    change it. Without the extra `export`: prints why, and returns nothing."""
    shared = {row: "" if row.sharing == HARD else f"+{row.sharing}" for row in rows}
    names = {row: f"zoo:{row.model}{sharing}" for row, sharing in shared.items()}
    with TemporaryDirectory() as folder:
        path = Path(folder, "bench.json")
        words = [*dict.fromkeys(names.values()), "--tasks", ",".join(rows[0].tasks)]
        words += ["--size", format_size(size_hw), "--rounds", str(rounds), "--json", str(path)]
        command = [sys.executable, "-m", "export.bench_onnx", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
            log(f"The networks were not timed: bench-onnx {' '.join(words[:-2])}: {reason[0]}")
            return {}
        found = {one["name"]: one for one in json.loads(path.read_text())["subjects"]}
    return {
        row: Cost(
            found[name]["cost"]["multiply_adds"],
            found[name]["ms"]["model"]["p10"],
            found[name]["ratio"]["median"],
        )
        for row, name in names.items()
    }
