"""Resume states: everything a run depends on, in files with a SHA-256 checksum.

state-STEP.safetensors holds weights, averaged weights, optimiser, balancer and random states as
tensors, and the TrainState as JSON in the header. The last two are kept, in case one is damaged; of
a finished run the last one.
"""

import errno
import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from perception.errors import UserError
from perception.files import replacing
from training.config import Config
from training.distributed import by_torchrun
from training.learner import Learner, TrainState
from training.optimiser import optimizer_tensors, restore_optimizer

FORMAT: Final = 3
KEPT: Final = 2
LOCK: Final = "run.lock"
# Temporary names of safetensors, and of `replacing` for the files of a run.
LEFT_BEHIND: Final = (".tmp*", ".state-*", ".last.*", ".best.*", ".config.*")
# Settings that a resumed run may change: no number depends on them, or what they name is compared
# itself (the data).
MAY_CHANGE: Final = ("workers", "skip_bad", "cache", "data", "labels", "classes")
RUN_SETTINGS: Final = ("seed",)  # of the group `run`, those that must stay


def lock(folder: Path) -> IO[str]:
    """Marks a folder as that of a run until the file that is returned is closed.

    Also removes temporary files that a killed run has left. Raises UserError where another process
    has marked it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = open(folder / LOCK, "a", encoding="utf-8")  # noqa: SIM115
    try:
        # A lock of the process: unlike that of flock, loader processes do not inherit it.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise UserError(f"{folder}: cannot be locked ({error.strerror})") from None
        raise UserError(
            f"--out {folder}: another run is writing there; wait for its end, or choose another "
            "folder"
        ) from None
    for pattern in LEFT_BEHIND:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
    return file


class OtherVersionError(UserError):
    """A state that this version does not read."""


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
    """The states of torch's generators, as bytes. Augmentation has generators of its own."""
    states = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random(states: Mapping[str, Tensor]) -> None:
    """Sets the generators to what `random_states` gave."""
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def digest(tensors: Mapping[str, Tensor], state: Mapping[str, Any] | None = None) -> str:
    """SHA-256 over a state and the names, types, shapes and bytes of tensors."""
    found = hashlib.sha256(json.dumps(state, sort_keys=True).encode() if state else b"")
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def save_state(folder: Path, learner: Learner, random: Sequence[Mapping[str, Tensor]]) -> Path:
    """Writes state-STEP.safetensors and removes older ones; `random` holds each rank's states."""
    parts = collect(learner)
    for rank, states in enumerate(random):
        parts |= {f"random{rank}/{key}": value for key, value in states.items()}
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in parts.items()}
    state = asdict(learner.state)
    header = {"format": FORMAT, "state": state, "sha256": digest(tensors, state)}
    path = folder / f"state-{learner.state.step:08d}.safetensors"
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"state": json.dumps(header)})
    _sync_folder(folder)  # the new name must be on the disk before an old file is removed
    drop_states(folder, KEPT)
    return path


def drop_states(folder: Path, kept: int) -> None:
    """Removes all but the newest states."""
    for old in state_files(folder)[:-kept]:
        old.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def state_files(folder: Path) -> list[Path]:
    """The run's resume states, oldest first."""
    return sorted(folder.glob("state-*.safetensors"))


def read_state(path: Path) -> tuple[dict[str, Tensor], TrainState]:
    """(tensors, state). Raises UserError for a damaged file or one of another version."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if header["format"] != FORMAT:
            raise OtherVersionError(
                f"{path}: a state of another version; train on with --init "
                f"{path.parent / 'last.safetensors'} and another --out"
            )
        if header["sha256"] != digest(tensors, header["state"]):
            raise UserError(f"{path}: its content does not match its SHA-256")
        return tensors, TrainState(**header["state"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: damaged or not a state file ({error})") from None


def state_to_resume(folder: Path, asked: bool) -> tuple[dict[str, Tensor], TrainState] | None:
    """The state that a run continues from; None where it starts.

    torchrun repeats the same command after a failure, so under it --resume is accepted at the first
    start too. Elsewhere --resume without a state is an error: the folder may be misspelt.
    """
    exists = bool(state_files(folder))
    if asked and (exists or not by_torchrun()):
        return latest_state(folder)
    if asked:
        print(f"--resume: {folder} holds no state yet; starting at step 0", file=sys.stderr)
    elif exists:
        raise UserError(
            f"--out {folder}: holds a run already; add --resume to continue it, or choose "
            "another folder"
        )
    return None


def latest_state(folder: Path) -> tuple[dict[str, Tensor], TrainState]:
    """The newest undamaged state; a damaged one is named on stderr and the one before is used."""
    files = state_files(folder)
    if not files:
        raise UserError(f"--resume: {folder} has no state-*.safetensors to continue from")
    for path in reversed(files):
        try:
            return read_state(path)
        except OtherVersionError:
            raise
        except UserError as error:
            print(f"warning: {error}; trying the one before", file=sys.stderr)
    raise UserError(f"--resume: no undamaged state in {folder}; start again without --resume")


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


def check_same_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises UserError where the frames, classes or labels differ from those a run began with.

    Both map `train` and `val` to the `contents` of a dataset, which may have moved.
    """
    for split, was in before.items():
        found = now[split]
        for task in dict.fromkeys([*was["classes"], *found["classes"]]):
            if was["classes"].get(task) != found["classes"].get(task):
                one, two = (shown(c.get(task)) for c in (was["classes"], found["classes"]))
                raise UserError(f"--resume: the run began with the {task} classes {one}, not {two}")
        counts = f"{was['frames']} frames then, {found['frames']} now"
        whats = {"names": f"frames of split {split} ({counts})", "labels": "labels"}
        for key, what in (whats | {"masks": "masks"}).items():
            if was.get(key, found[key]) != found[key]:  # earlier runs have no digest of masks
                raise UserError(
                    f"--resume: the {what} are not those the run began with; restore them, or "
                    "train on with --init and another --out"
                )


def shown(groups: Mapping[str, Sequence[str]] | None) -> str:
    """The class names of a task in one line."""
    return "; ".join(", ".join(names) for names in (groups or {}).values()) or "none"
