"""`--init FILE`: initial weights from a checkpoint of train-bdd, or a trunk in timm's format."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from perception import checkpoint
from perception.errors import UserError, first_line, some_of
from perception.model import HydraNet
from perception.runtime.view import View
from perception.tasks import TASKS
from perception.tasks.class_names import every_name
from perception.trunk import Trunk, load_trunk_weights


def initialise(model: HydraNet, path: Path, part: str = "all") -> str:
    """Copies what fits; returns one line that says what was copied.

    From a checkpoint of train-bdd: trunk, neck and the heads that both have (`part` "all"), trunk
    and neck ("shared") or the trunk ("trunk"). From any other file: the trunk. A head with other
    classes takes what does not depend on them, and the rows of classes of the same name.
    Raises UserError where the file does not fit the network or holds NaN or infinities.
    """
    weights = read_weights(path)
    if part != "all":
        weights = {key: value for key, value in weights.items() if not key.startswith("tasks.")}
    if part == "trunk":
        weights = {key: value for key, value in weights.items() if not key.startswith("neck.")}
    check_finite(weights, f"--init {path}")
    if not any(key.startswith("neck.") for key in weights):
        trunks = [module for module in model.modules() if isinstance(module, Trunk)]
        found_in = [load_trunk_weights(trunk, weights, str(path)) for trunk in trunks]
        copied, total = found_in[0]
        return f"{path}: {copied} of {total} tensors of the trunk"
    own = model.state_dict()
    changes = match_classes(model, weights, path)
    found = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    shared = [key for key in own if not key.startswith("tasks.")]
    lacking = [key for key in shared if key not in found]
    if lacking:
        raise UserError(
            f"{path}: {lacking[0]!r} is missing or has another shape; another --model? Between "
            "ways of sharing, --init-part trunk copies the trunk"
        )
    with torch.no_grad():
        model.load_state_dict(own | found)
    heads = sorted({key.split(".")[1] for key in found if key.startswith("tasks.")})
    return "; ".join([f"{path}: trunk, neck and heads {', '.join(heads) or 'none'}", *changes])


def match_classes(model: HydraNet, weights: dict[str, Tensor], path: Path) -> list[str]:
    """Maps the rows per class in `weights` to the classes of the model's heads, in place.

    Rows of new classes keep the model's initial values. Returns a phrase per head whose classes
    differ.
    """
    changes = []
    try:
        views = file_views(path)
    except UserError:
        return []  # weights without a description
    for name, task in model.tasks.items():
        view = views.get(name, type(task).view)
        before, after = every_name(view), every_name(task.view)
        if name not in views or before == after:
            continue
        old, new, own = task.class_rows(view), task.class_rows(task.view), task.state_dict()
        for key in own if not new else []:
            weights.pop(f"tasks.{name}.{key}", None)
        for key, rows in new.items():
            given = weights.get(f"tasks.{name}.{key}")
            if given is not None and given.shape == (len(old[key]), *own[key].shape[1:]):
                kept = [(to, old[key].index(row)) for to, row in enumerate(rows) if row in old[key]]
                value = own[key].clone()
                for to, row in kept:
                    value[to] = given[row].to(value)
                weights[f"tasks.{name}.{key}"] = value
        same = [one for one in after if one in before and new]
        fresh = [one for one in after if one not in same]
        changes.append(
            f"{name}: classes carried over: {some_of(same)}; untrained: {some_of(fresh)}; "
            f"dropped: {some_of([one for one in before if one not in same])}"
        )
    return changes


def file_views(path: Path) -> dict[str, View]:
    """The view of every head in a checkpoint. Raises UserError for another kind of file."""
    meta = checkpoint.read(path)[1]
    default = {task: TASKS[task].view for task in meta.tasks if task in TASKS}
    return default | checkpoint.views_of(meta, path)


def check_finite(weights: Mapping[str, Tensor], source: str) -> None:
    """Raises UserError with the name of the first tensor that holds NaN or infinities."""
    for name, value in weights.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UserError(f"{source}: {name!r} holds NaN or infinity; use another checkpoint")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, or of a .pth file (read without running code from it)."""
    if not path.is_file():
        raise UserError(f"--init {path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, ValueError, RuntimeError, EOFError) as error:
        raise UserError(f"--init {path}: not readable ({first_line(error)})") from None
    except Exception:  # pickle.UnpicklingError, whose text explains how to allow it
        raise UserError(
            f"--init {path}: refused, it holds code or objects besides weights; give a "
            ".safetensors file, or a .pth that holds tensors only"
        ) from None
    for key in ("state_dict_ema", "state_dict", "model"):
        found = found.get(key, found) if isinstance(found, dict) else {}
    return {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
