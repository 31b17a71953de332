"""Resume states: everything a run depends on, in files with a SHA-256 checksum.

state-STEP.safetensors holds weights, averaged weights, optimiser, balancer and random states as
tensors, and the position in the run as JSON in the header. The last two are kept, in case one is
damaged. A finished run keeps a small one, without the weights that last.safetensors holds.
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

from perception import checkpoint
from perception.errors import UserError
from perception.files import replacing
from training.config import Config
from training.distributed import by_torchrun
from training.learner import Learner
from training.optimiser import optimizer_tensors, restore_optimizer

FORMAT: Final = 2  # in format 1, still read, the checksum did not cover the position
KEPT: Final = 2
# The parts of a state that a finished run drops.
LARGE_PARTS: Final = ("model/", "ema/", "optimizer/")
# Settings that a resumed run may change, because no number depends on them.
MAY_CHANGE: Final = ("workers", "skip_bad", "cache")
RUN_SETTINGS: Final = ("seed",)  # of the group `run`, those that must stay


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
    """Every trained parameter, named independently of the process."""
    model = [(f"model.{name}", p) for name, p in learner.model.named_parameters()]
    return model + [(f"balancer.{name}", p) for name, p in learner.balancer.named_parameters()]


def collect(learner: Learner) -> dict[str, Tensor]:
    """Everything that training changes, by names with a prefix per part."""
    tensors = {f"model/{key}": value for key, value in learner.model.state_dict().items()}
    tensors |= {f"balancer/{key}": value for key, value in learner.balancer.state_dict().items()}
    if learner.ema:
        averaged = learner.ema.module.state_dict()
        tensors |= {f"ema/{key}": value for key, value in averaged.items()}
    state = optimizer_tensors(learner.optimizer, named_trained(learner))
    return tensors | {f"optimizer/{key}": value for key, value in state.items()}


def restore(learner: Learner, tensors: Mapping[str, Tensor]) -> None:
    """Restores every part; random states last, so that nothing draws after them.

    A rank that the saved run did not have starts from a seed of its own.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        part, name = key.split("/", 1)
        parts.setdefault(part, {})[name] = value
    learner.model.load_state_dict(parts["model"])
    learner.balancer.load_state_dict(parts.get("balancer", {}))
    if learner.ema:
        learner.ema.module.load_state_dict(parts["ema"])
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


def digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """SHA-256 over a text and the names, types, shapes and bytes of tensors."""
    found = hashlib.sha256(text.encode())
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
    small: bool = False,
) -> Path:
    """Writes state-STEP.safetensors and removes older ones: all but one, or all after a `small`
    one, which lacks what last.safetensors holds. `random` holds each rank's random states.
    """
    parts = collect(learner)
    if small:
        parts = {key: value for key, value in parts.items() if not key.startswith(LARGE_PARTS)}
    for rank, states in enumerate(random):
        parts |= {f"random{rank}/{key}": torch.from_numpy(v) for key, v in states.items()}
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in parts.items()}
    place = asdict(position)
    header = {"format": FORMAT, "position": place, "sha256": digest(tensors, _text(place))}
    path = folder / f"state-{position.step:08d}.safetensors"
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"state": json.dumps(header)})
    _sync_folder(folder)  # the new name must be on the disk before an old file is removed
    for old in state_files(folder)[: -1 if small else -KEPT]:
        old.unlink(missing_ok=True)
    return path


def _text(position: Mapping[str, Any]) -> str:
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
    """(tensors, position). Raises UserError for a damaged file or one of another version."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if header["format"] not in (1, FORMAT):
            raise UserError(f"{path}: a state of another version")
        text = _text(header["position"]) if header["format"] > 1 else ""
        if header["sha256"] != digest(tensors, text):
            raise UserError(f"{path}: its content does not match its SHA-256")
        return tensors, Position(**header["position"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: damaged or not a state file ({error})") from None


def state_to_resume(folder: Path, asked: bool) -> tuple[dict[str, Tensor], Position] | None:
    """The state that a run continues from; None where it starts.

    torchrun repeats the same command after a failure, so under it --resume is accepted at the first
    start too. Elsewhere --resume without a state is an error: the folder may be misspelt.
    """
    exists = bool(state_files(folder))
    if exists and not asked:
        raise UserError(
            f"--out {folder}: holds a run already; add --resume to continue it, or choose "
            "another folder"
        )
    if asked and not exists and by_torchrun():
        print(f"--resume: {folder} holds no state yet; starting at step 0", file=sys.stderr)
        return None
    return latest_state(folder) if asked else None


def latest_state(folder: Path) -> tuple[dict[str, Tensor], Position]:
    """The newest undamaged state; a damaged one is named on stderr and the one before is used."""
    files = state_files(folder)
    if not files:
        raise UserError(f"--resume: {folder} has no state-*.safetensors to continue from")
    for path in reversed(files):
        try:
            tensors, position = read_state(path)
            return completed(folder, tensors), position
        except UserError as error:
            print(f"warning: {error}; trying the one before", file=sys.stderr)
    raise UserError(f"--resume: no undamaged state in {folder}; start again without --resume")


def completed(folder: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state; where it is a finished run's small one, with the weights of
    last.safetensors (the averaged ones). The optimiser then starts anew."""
    if any(key.startswith(LARGE_PARTS) for key in tensors):
        return tensors
    weights, _ = checkpoint.read(folder / "last.safetensors")
    for part in ("model", "ema"):
        tensors |= {f"{part}/{key}": value for key, value in weights.items()}
    return tensors


def check_same_settings(before: Mapping[str, Any], now: Config, finished: bool) -> None:
    """Raises UserError where a run would continue with other settings than it began with.

    `before` is its stored Config. A finished run may get more --epochs.
    """
    new = now.to_json()
    for group in ("data", "model", "optim", "run"):
        for key in RUN_SETTINGS if group == "run" else new[group]:
            was, wanted = before[group].get(key, new[group][key]), new[group][key]
            longer = finished and key == "epochs" and wanted > was
            if key not in MAY_CHANGE and was != wanted and not longer:
                flag = key.replace("_", "-")
                raise UserError(f"--resume: the run began with --{flag} {was!r}, not {wanted!r}")
