"""AdamW or Muon with a learning rate per trunk stage, and the schedule."""

import math
import re
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import torch
from timm.optim import Muon
from timm.optim import muon as timm_muon
from torch import Tensor, nn

from perception.runtime.providers import cpu_has_bf16

BETAS: Final = (0.9, 0.999)
MUON_CHANNELS: Final = 16  # least number of input and output channels
# Muon's own settings; with `nesterov` timm's AdamW would become NAdamW, so other groups lack it.
MATRICES: Final = {"nesterov": True, "eps": 1e-7}
VECTORS: Final = {"use_fallback": True, "eps": 1e-8}


def make_optimizer(
    model: nn.Module,
    balancer: nn.Module,
    lr: float,
    weight_decay: float,
    layer_decay: float,
    muon: bool = False,
) -> torch.optim.Optimizer:
    """AdamW over all trained parameters, or Muon for matrices and kernels and AdamW for the rest.

    No weight decay on norms, biases and other vectors, nor on the balancer's own parameters. Muon's
    steps are as large as those of AdamW (arXiv 2502.16982), so that learning rates carry over.
    """
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    depth = 1 + max((stage_of(name) or 0 for name, _ in model.named_parameters()), default=0)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = weight_decay if parameter.ndim > 1 else 0.0
            stage = stage_of(name)
            rate = 1.0 if stage is None else layer_decay ** (depth - stage)
            by_muon = muon and is_matrix(parameter)
            groups.setdefault((rate, decay, by_muon), []).append(parameter)
    own = [parameter for parameter in balancer.parameters() if parameter.requires_grad]
    if own:
        groups.setdefault((1.0, 0.0, False), []).extend(own)
    settings = [
        {"params": parameters, "lr": lr * rate, "peak": lr * rate, "weight_decay": decay}
        | ((MATRICES if by_muon else VECTORS) if muon else {})
        for (rate, decay, by_muon), parameters in groups.items()
    ]
    devices = {parameter.device.type for group in groups.values() for parameter in group}
    if muon:
        kind = SinglePrecisionMuon if devices == {"cpu"} and not cpu_has_bf16() else Muon
        return kind(settings, lr=lr, betas=BETAS, ns_coefficients="original")
    # One pass over all tensors; devices without the kernel keep the default.
    fused = devices <= {"cpu", "cuda"}
    return torch.optim.AdamW(settings, betas=BETAS, fused=fused)


class SinglePrecisionMuon(Muon):
    """timm's Muon with its Newton-Schulz iteration in float32.

    timm has it in bf16, with no option for another precision. Where a CPU emulates bf16, that
    takes more than half of a training step (docs/log.md).
    """

    def step(self, closure: Any = None) -> Any:  # as torch.optim.Optimizer.step
        in_bf16 = timm_muon.zeropower_via_newtonschulz
        timm_muon.zeropower_via_newtonschulz = partial(in_bf16, dtype=torch.float32)
        try:
            return super().step(closure)
        finally:
            timm_muon.zeropower_via_newtonschulz = in_bf16


def is_matrix(parameter: Tensor) -> bool:
    """Whether Muon updates it: no vector, no depthwise kernel, no first or last layer of few
    channels. A kernel is a matrix of its output channels."""
    return parameter.ndim > 1 and min(parameter.shape[:2]) >= MUON_CHANNELS


def stage_of(name: str) -> int | None:
    """The stage of a trunk's parameter, from its name: 0 for the stem, then 1, 2, ... None for
    parameters of neck and heads, and those with which tasks share the trunk."""
    if not name.startswith("trunk.") or ".body." not in name:
        return None
    # timm's names: stages_0, layers_0 and blocks.0 count from 0, layer1 and s1 from 1.
    match = re.match(r"(?:(?:stages|layers|blocks)[._](\d+)|(?:layer|s)(\d+))\.",
                     name.partition(".body.")[2])  # fmt: skip
    if match is None:
        return 0
    return int(match[1]) + 1 if match[1] else int(match[2])


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


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, names: Sequence[tuple[str, nn.Parameter]]
) -> dict[str, Tensor]:
    """The optimiser's state by parameter name: "NAME:exp_avg" and so on."""
    return {
        f"{name}:{key}": value
        for name, parameter in names
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
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
        # Fused AdamW keeps the step count on the device of the weights.
        on_cpu = slot == "step" and not optimizer.defaults.get("fused")
        if value.shape == parameter.shape:
            state[slot] = torch.empty_like(parameter).copy_(value)
        else:
            state[slot] = value.to("cpu" if on_cpu else parameter.device)
