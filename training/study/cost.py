"""What a network costs to run: multiply-accumulates, and latency of all networks in one session."""

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from perception.model import Deployed, HydraNet
from perception.zoo import build
from training.study.plan import HARD, Row


@dataclass(frozen=True)
class Cost:
    """Of one frame through one network, batch 1, in torch; times in milliseconds."""

    macs: int
    median_ms: float
    p10_ms: float


def network(row: Row) -> HydraNet:
    """The row's network, untrained."""
    sharing = "" if row.sharing == HARD else f"+{row.sharing}"
    return build(row.model + sharing, row.tasks)


def costs(rows: Sequence[Row], size_hw: tuple[int, int], repeats: int = 30) -> dict[Row, Cost]:
    """Networks interleaved in random order in one session, so that only ratios mean something."""
    frame = torch.zeros((1, *size_hw, 3), dtype=torch.uint8)
    models = {row: Deployed(network(row)).eval() for row in rows}
    times: dict[Row, list[float]] = {row: [] for row in rows}
    found = {}
    with torch.inference_mode():
        for row, model in models.items():
            with FlopCounterMode(display=False) as counter:
                model(frame)
            found[row] = counter.get_total_flops() // 2
            model(frame)
        dice = random.Random(0)
        for _ in range(repeats):
            for row in dice.sample(list(models), len(models)):
                start = time.perf_counter()
                models[row](frame)
                times[row].append(1000 * (time.perf_counter() - start))
    return {
        row: Cost(found[row], statistics.median(ms), sorted(ms)[len(ms) // 10])
        for row, ms in times.items()
    }
