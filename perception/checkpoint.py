"""Checkpoints: one safetensors file with the weights and the JSON that rebuilds the model."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from perception.errors import UserError
from perception.files import replacing
from perception.model import Heads, HydraNet, build
from perception.runtime.view import View
from perception.tasks import TASKS
from perception.tasks.class_names import names_of, with_classes

KEY: Final = "perception"
FORMAT: Final = 1
# The largest network of the zoo takes 0.2 GB and 60 kB of header.
MAX_BYTES: Final = 1 << 29
MAX_HEADER: Final = 4 << 20
MAX_SIDE: Final = 8192


@dataclass
class Meta:
    """The description stored in a checkpoint."""

    model: str
    tasks: list[str]
    size_hw: tuple[int, int]
    scores: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    # Class names of tasks that have other than the default ones (perception/tasks/class_names.py).
    classes: dict[str, Any] = field(default_factory=dict)


def save(path: Path, weights: Mapping[str, Tensor], meta: Meta, half: bool = False) -> None:
    """Writes weights and description, whole or not at all; with `half`, in half precision."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    if half:
        tensors = {key: to_half(value) for key, value in tensors.items()}
    description = asdict(meta)
    if not meta.classes:  # then earlier versions can read the file too
        del description["classes"]
    text = json.dumps({"format": FORMAT} | description)
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={KEY: text})


def to_half(tensor: Tensor) -> Tensor:
    """float32 as float16, except where a value is too large for it."""
    if tensor.dtype != torch.float32:
        return tensor
    small = tensor.half()
    return small if torch.equal(torch.isfinite(small), torch.isfinite(tensor)) else tensor


def read(path: Path) -> tuple[dict[str, Tensor], Meta]:
    """(weights, description). Raises UserError if the file is missing, damaged or no checkpoint."""
    weights, text = _read_file(path)
    try:
        data = json.loads(text)
        if data.pop("format") != FORMAT:
            raise UserError(f"{path}: a checkpoint of another version; this one reads {FORMAT}")
        data["size_hw"] = (int(data["size_hw"][0]), int(data["size_hw"][1]))
        meta = Meta(**data)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError):
        raise UserError(f"{path}: not a checkpoint of train-bdd (no description inside)") from None
    _check(path, meta)
    return weights, meta


def _check(path: Path, meta: Meta) -> None:
    """Raises UserError if a field of the description has a wrong type."""
    tasks = meta.tasks if isinstance(meta.tasks, list) else []
    fits = {
        "model": isinstance(meta.model, str),
        "tasks": all(isinstance(t, str) for t in tasks) and 0 < len(tasks) == len(set(tasks)),
        "size_hw": all(1 <= side <= MAX_SIDE for side in meta.size_hw),
        "scores": isinstance(meta.scores, dict),
        "training": isinstance(meta.training, dict),
        "licence": isinstance(meta.licence, str),
        "classes": isinstance(meta.classes, dict) and all(task in tasks for task in meta.classes),
    }
    for name, fit in fits.items():
        if not fit:
            value = repr(getattr(meta, name))[:100]
            raise UserError(
                f"{path}: its description has {name} = {value}; train it again or download it again"
            )


def _read_file(path: Path) -> tuple[dict[str, Tensor], str]:
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    _check_sizes(path)
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY, "")
            return {key: file.get_tensor(key) for key in file.keys()}, text  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: not a readable safetensors file ({why}); download it again"
        ) from None


def _check_sizes(path: Path) -> None:
    """Bounds on sizes before anything is allocated; the library checks offsets within the file."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        header = int.from_bytes(file.read(8), "little")
    if size > MAX_BYTES:
        raise UserError(f"{path}: {size >> 20} MB, at most {MAX_BYTES >> 20} are read")
    if header > min(MAX_HEADER, max(size - 8, 0)):
        raise UserError(
            f"{path}: not a readable safetensors file (its header claims {header} bytes); "
            "download it again"
        )


def views_of(meta: Meta, path: Path) -> dict[str, View]:
    """The views of tasks with their own class names. Raises UserError where a list is malformed."""
    views = {}
    for task, names in meta.classes.items():
        if task in TASKS:
            try:
                views[task] = with_classes(task, TASKS[task].view, names)
            except UserError as error:
                raise UserError(f"{path}: {error}") from None
    return views


def own_classes(model: HydraNet) -> dict[str, Any]:
    """`Meta.classes` of a model: the names of tasks whose view is not the default."""
    return {
        name: names_of(task.view)
        for name, task in model.tasks.items()
        if task.view != type(task).view
    }


def load(path: Path, tasks: list[str] | None = None) -> tuple[HydraNet, Meta]:
    """The model in evaluation mode, with all its heads or only those of `tasks`.

    Raises UserError if the file has no head for a task in `tasks`, or its tensors do not fit.
    """
    weights, meta = read(path)
    wanted = meta.tasks if tasks is None else tasks
    for task in wanted:
        if task not in meta.tasks:
            raise UserError(f"{path}: has no task {task!r}; it has {', '.join(meta.tasks)}")
    # All heads are built first: with soft sharing the trunk has a part for each.
    model = build(meta.model, meta.tasks, views=views_of(meta, path))
    model.tasks = Heads({task: model.tasks[task] for task in wanted})
    own = model.state_dict()
    for key, value in own.items():
        if key not in weights:
            raise UserError(f"{path}: lacks {key!r}; the file is from another version")
        if weights[key].shape != value.shape:
            raise UserError(f"{path}: {key!r} has shape {tuple(weights[key].shape)}")
        if _kind(weights[key]) != _kind(value):
            raise UserError(f"{path}: {key!r} has type {weights[key].dtype}; download it again")
    with torch.no_grad():
        model.load_state_dict({key: weights[key] for key in own})
    return model.eval(), meta


def _kind(tensor: Tensor) -> tuple[bool, bool]:
    """Float types are interchangeable (half for single precision); other types are not."""
    return tensor.is_floating_point(), tensor.is_complex()
