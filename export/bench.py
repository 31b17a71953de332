"""Interleaved latency measurements: random order, warmed up, pinned, with confidence intervals."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from perception.errors import UserError
from perception.runtime.description import KEY
from perception.runtime.providers import CPU, load, ort_session, versions
from perception.runtime.runner import Runner

MODEL: Final = "model"
TYPES: Final = {
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}


@dataclass
class Subject:
    """A loaded model to time: `run()` returns milliseconds by stage, one of them `model`."""

    name: str
    provider: str
    run: Callable[[], dict[str, float]]
    megabytes: float = 0.0  # of the file
    load_s: float = 0.0
    cost: dict[str, int] = field(default_factory=dict)  # of a network of the zoo
    times: dict[str, list[float]] = field(default_factory=dict)


def open_subject(
    name: str,
    path: Path,
    provider: str,
    threads: int,
    frame_hw: tuple[int, int],
    size_hw: tuple[int, int],
) -> Subject:
    """Loads a model file on a provider.

    A model of this project is timed from a frame of `frame_hw` to the scene. Of any other file
    only the model call is timed, at `size_hw` where its axes are free.

    Raises UserError where the file cannot be read or has more than one input.
    """
    plain = ort_session(path, 1, CPU, optimise=False)
    megabytes = path.stat().st_size / 1e6
    if KEY in plain.get_modelmeta().custom_metadata_map:
        start = time.perf_counter()
        runner = Runner(path, provider, threads)
        load_s = time.perf_counter() - start
        frame = np.random.default_rng(0).integers(0, 256, (*frame_hw, 3), dtype=np.uint8)
        return Subject(name, provider, lambda: runner(frame).timings_ms, megabytes, load_s)
    inputs = plain.get_inputs()
    if len(inputs) != 1:
        raise UserError(
            f"{path}: has {len(inputs)} inputs; only models with one image input can be timed"
        )
    array = example(inputs[0].shape, inputs[0].type, size_hw, str(path))
    start = time.perf_counter()
    engine = load(path, provider, threads)
    load_s = time.perf_counter() - start

    def run() -> dict[str, float]:
        start = time.perf_counter()
        engine.run(array)
        return {MODEL: 1e3 * (time.perf_counter() - start)}

    return Subject(name, provider, run, megabytes, load_s)


def example(
    shape: Sequence[int | str | None], kind: str, size_hw: tuple[int, int], source: str
) -> np.ndarray:
    """Random model input; free axes become batch 1, 3 channels, `size_hw`."""
    if kind not in TYPES or len(shape) != 4:
        raise UserError(
            f"{source}: its input is {kind} {shape}; only image inputs with 4 axes can be timed"
        )
    last = shape[3] == 3
    usual = (1, *size_hw, 3) if last else (1, 3, *size_hw)
    sizes = [a if isinstance(a, int) else b for a, b in zip(shape, usual, strict=True)]
    rng = np.random.default_rng(0)
    if kind == "tensor(uint8)":
        return rng.integers(0, 256, sizes, dtype=np.uint8)
    return rng.standard_normal(sizes).astype(TYPES[kind])


def measure(
    subjects: Sequence[Subject],
    rounds: int,
    warmup: int,
    pause: float = 0.01,
    seed: int = 0,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Fills `times`: each round runs every subject once, in a new random order.

    `pause` seconds between runs let the threads of the previous subject stop spinning.
    """
    rng = np.random.default_rng(seed)
    for subject in subjects:
        for _ in range(warmup):
            subject.run()
    for _ in range(rounds):
        for index in rng.permutation(len(subjects)):
            time.sleep(pause)
            for stage, milliseconds in subjects[index].run().items():
                subjects[index].times.setdefault(stage, []).append(milliseconds)
            tick()


def summary(times: Sequence[float]) -> dict[str, float]:
    """Median, 10th and 90th percentile in ms."""
    p10, median, p90 = np.percentile(times, (10, 50, 90))
    return {"median": float(median), "p10": float(p10), "p90": float(p90)}


def ratio(
    times: Sequence[float], baseline: Sequence[float], seed: int = 0, draws: int = 2000
) -> dict[str, float]:
    """Ratios of the medians (with a 95 % bootstrap interval) and of p10, times over baseline.

    Whole rounds are resampled: both subjects of a round ran under the same load.
    """
    ours, theirs = np.asarray(times), np.asarray(baseline)
    rows = np.random.default_rng(seed).integers(0, len(ours), (draws, len(ours)))
    drawn = np.median(ours[rows], 1) / np.median(theirs[rows], 1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return {
        "median": float(np.median(ours) / np.median(theirs)),
        "low": float(low),
        "high": float(high),
        "p10": float(np.percentile(ours, 10) / np.percentile(theirs, 10)),
    }


def pin(threads: int) -> list[int]:
    """Pins this process to as many cores as threads; returns them."""
    cv2.setNumThreads(threads)
    allowed = sorted(os.sched_getaffinity(0))
    if threads > len(allowed):
        raise UserError(
            f"--threads {threads}: this process has {len(allowed)} cores; give at most that"
        )
    os.sched_setaffinity(0, allowed[:threads])
    return allowed[:threads]


def machine() -> dict[str, Any]:
    """CPU, system and package versions that the times depend on."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": versions("onnxruntime", "onnxruntime-gpu", "openvino", "numpy"),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
