"""A checkpoint is one safetensors file: weights, and the JSON that rebuilds the model from it."""

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
from perception.model import Heads, HydraNet
from perception.zoo import build

KEY: Final = "perception"
FORMAT: Final = 1


@dataclass
class Meta:
    """What a checkpoint says about itself."""

    model: str
    tasks: list[str]
    size_hw: tuple[int, int]
    scores: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    licence: str = ""


def save(path: Path, weights: Mapping[str, Tensor], meta: Meta) -> None:
    """Writes weights and description, whole or not at all."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    text = json.dumps({"format": FORMAT} | asdict(meta))
    with replacing(path) as beside:
        save_file(tensors, beside, metadata={KEY: text})


def read(path: Path) -> tuple[dict[str, Tensor], Meta]:
    """(weights, description). Raises UserError where the file is missing, torn or not ours."""
    weights, text = _read_file(path)
    try:
        data = json.loads(text)
        if data.pop("format") != FORMAT:
            raise UserError(f"{path}: a checkpoint of another version; this one reads {FORMAT}")
        data["size_hw"] = (int(data["size_hw"][0]), int(data["size_hw"][1]))
        meta = Meta(**data)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise UserError(f"{path}: not a checkpoint of train-bdd (no description inside)") from None
    return weights, meta


def _read_file(path: Path) -> tuple[dict[str, Tensor], str]:
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY, "")
            return {key: file.get_tensor(key) for key in file.keys()}, text  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from None


def load(path: Path, tasks: list[str] | None = None) -> tuple[HydraNet, Meta]:
    """The model in evaluation mode, with all its heads or only those of `tasks`.

    Raises UserError where the file has no head for a wanted task, or its tensors do not fit.
    """
    weights, meta = read(path)
    wanted = meta.tasks if tasks is None else tasks
    for task in wanted:
        if task not in meta.tasks:
            raise UserError(f"{path}: has no task {task!r}; it has {', '.join(meta.tasks)}")
    # All heads are built first: where the trunk is not shared whole, it has a part for each.
    model = build(meta.model, meta.tasks)
    model.tasks = Heads({task: model.tasks[task] for task in wanted})
    own = model.state_dict()
    missing = [key for key in own if key not in weights]
    if missing:
        raise UserError(f"{path}: lacks {missing[0]!r}; the file is from another version")
    wrong = [key for key in own if own[key].shape != weights[key].shape]
    if wrong:
        raise UserError(f"{path}: {wrong[0]!r} has shape {tuple(weights[wrong[0]].shape)}")
    with torch.no_grad():
        model.load_state_dict({key: weights[key] for key in own})
    return model.eval(), meta
