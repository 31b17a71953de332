"""AdamW with a learning rate per trunk stage, the schedule, gradient clipping."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def make_optimizer(
    model: nn.Module, balancer: nn.Module, lr: float, weight_decay: float, layer_decay: float
) -> torch.optim.AdamW:
    """AdamW over all trained parameters. No weight decay on norms, biases and other vectors, nor on
    the balancer's own parameters."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    depth = 1 + max((stage_of(name) for name, _ in model.named_parameters()), default=0)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = weight_decay if parameter.ndim > 1 else 0.0
            rate = layer_decay ** (depth - stage_of(name)) if is_trunk(name) else 1.0
            groups.setdefault((rate, decay), []).append(parameter)
    own = [parameter for parameter in balancer.parameters() if parameter.requires_grad]
    if own:
        groups.setdefault((1.0, 0.0), []).extend(own)
    settings = [
        {"params": parameters, "lr": lr * rate, "peak": lr * rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
    # One pass over all tensors; devices without the kernel keep the default.
    devices = {parameter.device.type for group in groups.values() for parameter in group}
    return torch.optim.AdamW(settings, betas=(0.9, 0.999), fused=devices <= {"cpu", "cuda"})


def is_trunk(name: str) -> bool:
    """Whether a parameter of HydraNet belongs to the trunk."""
    return name.startswith("trunk.")


def stage_of(name: str) -> int:
    """The trunk stage of a parameter, from its name: 0 for the stem, else 1 + the stage's index."""
    match = re.search(r"(?:stages|layers|layer|s)[._]?(\d+)\.", name) if is_trunk(name) else None
    return 1 + int(match[1]) if match else 0


def rate_at(progress: float, warmup: float, last: float = 0.01) -> float:
    """Learning rate relative to its peak at `progress` in [0, 1]: linear warm-up, cosine decay."""
    if progress < warmup:
        return max(progress / warmup, 1e-3)
    fall = min((progress - warmup) / max(1 - warmup, 1e-9), 1.0)
    return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * fall))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets every group's learning rate to `rate` times its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * rate


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scales all gradients so that their joint norm is at most `limit`; returns the norm before."""
    return nn.utils.clip_grad_norm_(parameters, limit)


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, names: Sequence[tuple[str, nn.Parameter]]
) -> dict[str, Tensor]:
    """The optimiser's state by parameter name: "NAME:exp_avg" and so on."""
    return {
        f"{name}:{key}": value
        for name, parameter in names
        for key, value in optimizer.state.get(parameter, {}).items()
    }


@torch.no_grad()
def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    names: Sequence[tuple[str, nn.Parameter]],
    tensors: dict[str, Tensor],
) -> None:
    """The inverse of `optimizer_tensors`."""
    by_name = dict(names)
    for key, value in tensors.items():
        name, _, slot = key.rpartition(":")
        parameter = by_name[name]
        state: dict[str, Any] = optimizer.state[parameter]
        # Moments are laid out like the weights; fused AdamW keeps the step count on their device.
        step_device = parameter.device if optimizer.defaults.get("fused") else "cpu"
        step = slot == "step"
        state[slot] = value.to(step_device) if step else torch.empty_like(parameter).copy_(value)
