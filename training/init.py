"""`--init FILE`: initial weights from a checkpoint of train-bdd, or a trunk in timm's format."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

import perception
from perception.errors import UserError
from perception.hub import CHECKPOINT, local_file
from perception.model import HydraNet
from perception.trunk import Trunk, load_trunk_weights


def initialise(model: HydraNet, path: Path, part: str = "all") -> str:
    """Copies what fits; returns one line that says what was copied.

    From a checkpoint of train-bdd: trunk, neck and the heads that both have (`part` "all"), trunk
    and neck ("shared") or the trunk ("trunk"). From any other file: the trunk.
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
    found = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    shared = [key for key in own if not key.startswith("tasks.")]
    lacking = [key for key in shared if key not in found]
    if lacking:
        raise UserError(f"{path}: {lacking[0]!r} is missing or has another shape; another --model?")
    with torch.no_grad():
        model.load_state_dict(own | found)
    heads = sorted({key.split(".")[1] for key in found if key.startswith("tasks.")})
    return f"{path}: trunk, neck and heads {', '.join(heads) or 'none'}"


def init_file(name: str) -> Path:
    """The file that `--init` means: a path, hf://… or `default` for the pretrained model."""
    if name != "default":
        return local_file(name, CHECKPOINT)
    return Path(perception.__path__[0]) / "models" / "pvt-hydranet-b0.safetensors"


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
        raise UserError(f"--init {path}: not readable ({error})") from None
    except Exception as error:  # weights_only refuses with pickle.UnpicklingError
        raise UserError(f"--init {path}: refused, it holds more than weights ({error})") from None
    for key in ("state_dict_ema", "state_dict", "model"):
        found = found.get(key, found) if isinstance(found, dict) else {}
    return {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
