"""Inference cost of networks: multiply-accumulates, and latency in torch, interleaved."""

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from perception.model import Deployed, HydraNet, build
from training.study.plan import HARD, Row


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates and latency in ms of one network, batch 1, in torch."""

    macs: int
    median_ms: float
    p10_ms: float


def network(row: Row) -> HydraNet:
    """The untrained network of a row."""
    sharing = "" if row.sharing == HARD else f"+{row.sharing}"
    return build(row.model + sharing, row.tasks)


def costs(rows: Sequence[Row], size_hw: tuple[int, int], repeats: int = 30) -> dict[Row, Cost]:
    """All networks in one session, interleaved in random order: only latency ratios count."""
    frame = torch.zeros((1, *size_hw, 3), dtype=torch.uint8)
    models = {row: Deployed(network(row)).eval() for row in rows}
    times: dict[Row, list[float]] = {row: [] for row in rows}
    macs = {row: count_macs(model, frame) for row, model in models.items()}
    with torch.inference_mode():
        rng = random.Random(0)
        for _ in range(repeats):
            for row in rng.sample(list(models), len(models)):
                start = time.perf_counter()
                models[row](frame)
                times[row].append(1000 * (time.perf_counter() - start))
    return {
        row: Cost(macs[row], statistics.median(ms), sorted(ms)[len(ms) // 10])
        for row, ms in times.items()
    }


def count_macs(model: nn.Module, frame: Tensor) -> int:
    """Multiply-accumulates of one forward pass (half of torch's count of operations)."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(frame)
    return counter.get_total_flops() // 2
