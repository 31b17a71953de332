"""The resume state: every number a run depends on, in files that prove themselves whole.

state-STEP.safetensors holds weights, averaged weights, optimiser, balancer and random states as
tensors, the rest as JSON in the header with a SHA-256 of the tensors. Each is written beside,
synced and renamed; the last two are kept, so a torn one costs one checkpoint, not the run.
"""

import hashlib
import json
import os
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from perception.errors import UserError
from perception.files import replacing
from training.distributed import by_torchrun
from training.loop import Learner
from training.optimiser import optimizer_tensors, restore_optimizer

FORMAT: Final = 2  # 1 did not seal the position; it is still read
KEPT: Final = 2


@dataclass
class Position:
    """Where the run stands; a resumed run starts at batch `batch` of `epoch`."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    log_offset: int = 0
    seconds: float = 0.0
    best: float | None = None
    bad_in_row: int = 0
    bad_total: int = 0
    config: dict[str, Any] = field(default_factory=dict)


def named_trained(learner: Learner) -> list[tuple[str, torch.nn.Parameter]]:
    """Every trained parameter with a name that outlives the process."""
    model = [(f"model.{name}", p) for name, p in learner.model.named_parameters()]
    return model + [(f"balancer.{name}", p) for name, p in learner.balancer.named_parameters()]


def collect(learner: Learner) -> dict[str, Tensor]:
    """What is learned and remembered, by names with a prefix for each part."""
    tensors = {f"model/{key}": value for key, value in learner.model.state_dict().items()}
    tensors |= {f"balancer/{key}": value for key, value in learner.balancer.state_dict().items()}
    if learner.ema:
        averaged = learner.ema.module.state_dict()
        tensors |= {f"ema/{key}": value for key, value in averaged.items()}
    state = optimizer_tensors(learner.optimizer, named_trained(learner))
    return tensors | {f"optimizer/{key}": value for key, value in state.items()}


def restore(learner: Learner, tensors: Mapping[str, Tensor]) -> None:
    """Puts every part back; random states last, so that nothing draws after them.

    A rank that the saved run did not have starts from numbers of its own.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        part, name = key.split("/", 1)
        parts.setdefault(part, {})[name] = value
    learner.model.load_state_dict(parts.get("model", {}))
    learner.balancer.load_state_dict(parts.get("balancer", {}))
    if learner.ema:
        learner.ema.module.load_state_dict(parts.get("ema", {}))
    restore_optimizer(learner.optimizer, named_trained(learner), parts.get("optimizer", {}))
    rank = learner.world.rank
    if f"random{rank}" in parts:
        restore_random(parts[f"random{rank}"])
    else:
        torch.manual_seed(int(learner.balancer.steps) * 10_007 + rank)


def random_states() -> dict[str, Tensor]:
    """The state of every generator of this process, as bytes."""
    states = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    version, words, gauss = random.getstate()
    states["python"] = _bytes(json.dumps([version, list(words), gauss]))
    name, keys, place, has_gauss, cached = np.random.get_state(legacy=True)
    numpy_state = [name, np.asarray(keys).tolist(), place, has_gauss, cached]
    states["numpy"] = _bytes(json.dumps(numpy_state))
    return states


def restore_random(states: Mapping[str, Tensor]) -> None:
    """Sets the generators to what `random_states` gave."""
    if "torch" in states:
        torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    if "python" in states:
        version, words, gauss = json.loads(states["python"].numpy().tobytes())
        random.setstate((version, tuple(words), gauss))
    if "numpy" in states:
        np.random.set_state(tuple(json.loads(states["numpy"].numpy().tobytes())))


def _bytes(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(text.encode(), np.uint8).copy())


def digest(tensors: Mapping[str, Tensor], words: str = "") -> str:
    """SHA-256 over names, types, shapes and bytes, after some words."""
    found = hashlib.sha256(words.encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def save_state(
    folder: Path,
    learner: Learner,
    position: Position,
    random: Sequence[Mapping[str, np.ndarray]],
) -> Path:
    """Writes state-STEP.safetensors and removes all but the last two.

    `random` holds each rank's random states.
    """
    parts = collect(learner)
    for rank, states in enumerate(random):
        parts |= {f"random{rank}/{key}": torch.from_numpy(v) for key, v in states.items()}
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in parts.items()}
    place = asdict(position)
    header = {"format": FORMAT, "position": place, "sha256": digest(tensors, _words(place))}
    path = folder / f"state-{position.step:08d}.safetensors"
    with replacing(path) as beside:
        save_file(tensors, beside, metadata={"state": json.dumps(header)})
    _sync_folder(folder)  # the new name must be on the disk before an old one goes
    for old in state_files(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def _words(position: Mapping[str, Any]) -> str:
    return json.dumps(position, sort_keys=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def state_files(folder: Path) -> list[Path]:
    """The run's resume states, oldest first."""
    return sorted(folder.glob("state-*.safetensors"))


def read_state(path: Path) -> tuple[dict[str, Tensor], Position]:
    """Raises UserError where the file is torn, altered or of another version."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if header["format"] not in (1, FORMAT):
            raise UserError(f"{path}: a state of another version")
        words = _words(header["position"]) if header["format"] > 1 else ""
        if header["sha256"] != digest(tensors, words):
            raise UserError(f"{path}: its content does not match its SHA-256")
        return tensors, Position(**header["position"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: torn or not a state file ({error})") from None


def state_to_resume(folder: Path, asked: bool) -> tuple[dict[str, Tensor], Position] | None:
    """The state a run goes on from; None where it starts.

    torchrun starts the same command again after a loss, so under it --resume is right for the
    first start too. Elsewhere an empty folder is a slip of the pen. Raises UserError.
    """
    there = bool(state_files(folder))
    if there and not asked:
        raise UserError(
            f"--out {folder}: a run is there already; add --resume to go on with it, or "
            "choose another folder"
        )
    if asked and not there and by_torchrun():
        print(f"--resume: {folder} holds no state yet; starting at step 0", file=sys.stderr)
        return None
    return latest_state(folder) if asked else None


def latest_state(folder: Path) -> tuple[dict[str, Tensor], Position]:
    """The newest state that is whole; a torn one is named on stderr and the one before is used."""
    files = state_files(folder)
    if not files:
        raise UserError(f"--resume: {folder} has no state-*.safetensors to go on from")
    for path in reversed(files):
        try:
            return read_state(path)
        except UserError as error:
            print(f"warning: {error}; trying the one before", file=sys.stderr)
    raise UserError(f"--resume: no whole state file in {folder}; start again without --resume")
