"""What `provider="auto"` picks: the fastest provider whose outputs agree with the CPU's.

A provider can return wrong numbers or crash, so each is tried in a child process
(`python -m perception.runtime.choose MODEL PROVIDER THREADS`); the result is cached per model.
One that was refused for its time is tried again later, because the machine may have been busy.
"""

import hashlib
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from perception.errors import MALFORMED
from perception.files import cache_folder, write_atomic
from perception.runtime.description import Description
from perception.runtime.providers import Engine, candidates, load, read_description, versions

RULES = 2  # part of the cache key: results from before refusals expired are ignored
TRIAL_TIMEOUT_S = 180
REPEATS = 5
# How long a refusal for time holds. No shorter way is known to see that the machine was busy: the
# times of one process next to others are long and even (docs/log.md).
SLOW_S = 3600.0


def choose(path: Path, threads: int) -> tuple[str, str]:
    """(provider, why). Falls back to `cpu`, which needs no trial."""
    names = candidates()
    if names == ["cpu"]:
        return "cpu", "the only one installed"
    key, cache = _key(path, threads, names), cache_folder() / "providers.json"
    known = _read(cache)
    if key in known:
        return known[key]["provider"], f"{known[key]['said']}; tried at an earlier start"
    known[key] = _try_all(path, threads, names)
    _write(cache, known)
    return known[key]["provider"], known[key]["said"]


def _try_all(path: Path, threads: int, names: list[str]) -> dict[str, Any]:
    """The first, in order, that agrees with the CPU and is no slower; `until`: how long that
    holds, in seconds since 1970, where another one was refused for its time."""
    chosen, said, slow = "cpu", list[str](), False
    for name in names[:-1]:
        verdict = trial(path, name, threads)
        if not verdict["reason"]:
            chosen, times = name, f"{verdict['ms']:.0f} ms, ONNX Runtime {verdict['cpu_ms']:.0f}"
            said.insert(0, f"fastest of the engines tried ({times})")
            break
        said.append(f"{name} not used: {verdict['reason']}")
        slow |= verdict.get("slow", False)
    found = {"provider": chosen, "said": "; ".join(said)}
    return found | ({"until": time.time() + SLOW_S} if slow else {})


def trial(path: Path, provider: str, threads: int) -> dict[str, Any]:
    """{"reason": why it is refused or "", "slow": whether for its time, "ms", "cpu_ms"}, measured
    in a child process."""
    command = [sys.executable, "-m", __name__, str(path), provider, str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TRIAL_TIMEOUT_S, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [""])[-1][:160]
            return {"reason": f"its trial ended with code {done.returncode} {last}".strip()}
        return json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"reason": f"its trial took over {TRIAL_TIMEOUT_S} s"}  # for good: it would again
    except (ValueError, IndexError, OSError) as error:
        return {"reason": f"its trial gave no result ({error})"}


def compare(path: Path, provider: str, threads: int) -> dict[str, Any]:
    """Runs in the child: outputs and times of both engines on the same images."""
    description = read_description(path)
    reference, other = load(path, "cpu", threads), load(path, provider, threads)
    reason = ""
    for image in trial_images(description.size_hw):
        expected = dict(zip(reference.names, reference.run(image), strict=True))
        got = dict(zip(other.names, other.run(image), strict=True))
        reason = reason or difference(description, expected, got)
    cpu_ms, ms = _times([reference, other], image)
    slow = not reason and ms > cpu_ms
    if slow:
        reason = f"slower than ONNX Runtime ({ms:.0f} against {cpu_ms:.0f} ms)"
    return {"reason": reason, "slow": slow, "ms": ms, "cpu_ms": cpu_ms}


def difference(
    description: Description, expected: dict[str, np.ndarray], got: dict[str, np.ndarray]
) -> str:
    """Why two sets of outputs disagree; empty where they agree up to bfloat16's rounding."""
    for name in description.views:
        if name not in got or got[name].shape != expected[name].shape:
            return f"output {name} is missing or has another shape"
    found = description.differences(expected, got, "bf16")
    return next((f"output {one.text('the CPU')}" for one in found if not one.agrees), "")


def trial_images(size_hw: tuple[int, int]) -> list[np.ndarray]:
    """Two fixed uint8 (1, H, W, 3) images: a plain road, and texture."""
    height, width = size_hw
    road = np.full((height, width, 3), (200, 170, 140), np.uint8)
    road[height // 2 :] = (90, 90, 90)
    for x in (-0.9, -0.3, 0.3, 0.9):
        foot = (round(width * (0.5 + x)), height)
        cv2.line(road, (width // 2, height // 2), foot, (235, 235, 235), max(1, width // 160))
    cv2.rectangle(
        road, (width // 3, height // 2), (width // 2, height * 3 // 4), (40, 30, 160), cv2.FILLED
    )
    coarse = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    texture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return [road[None], texture[None]]


def _times(engines: list[Engine], image: np.ndarray) -> list[float]:
    """Fastest of REPEATS runs per engine in ms, interleaved so that other load affects both."""
    best = [np.inf] * len(engines)
    for _ in range(REPEATS):
        for i, engine in enumerate(engines):
            start = time.perf_counter()
            engine.run(image)
            best[i] = min(best[i], 1000 * (time.perf_counter() - start))
    return best


def _key(path: Path, threads: int, names: list[str]) -> str:
    """Changes with the model's bytes, the libraries' versions and the available providers."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    known = versions("onnxruntime", "openvino")
    libraries = [f"{package}={known.get(package, '-')}" for package in ("onnxruntime", "openvino")]
    return " ".join([f"rules={RULES}", digest, f"threads={threads}", *libraries, *names])


def _read(cache: Path) -> dict[str, dict[str, Any]]:
    """Earlier results that still hold; a missing or damaged cache counts as empty."""
    try:
        entries = json.loads(cache.read_text())
        return {
            key: entry
            for key, entry in entries.items()
            if entry["provider"] in candidates()
            and isinstance(entry["said"], str)
            and time.time() < entry.get("until", math.inf)
        }
    except (OSError, *MALFORMED):
        return {}


def _write(cache: Path, known: dict[str, dict[str, Any]]) -> None:
    """Keeps the last 50 results; without a writable cache every start tries again."""
    kept = dict(list(known.items())[-50:])
    try:
        write_atomic(cache, json.dumps(kept, indent=1))
    except OSError:
        return


if __name__ == "__main__":
    print(json.dumps(compare(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
