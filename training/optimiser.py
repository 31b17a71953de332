"""AdamW or Muon with a learning rate per trunk stage, the schedule, gradient clipping."""

import math
import re
from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

BETAS: Final = (0.9, 0.999)
MUON_CHANNELS: Final = 16  # least number of input and output channels

MakeOptimizer = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


def make_optimizer(
    model: nn.Module,
    balancer: nn.Module,
    lr: float,
    weight_decay: float,
    layer_decay: float,
    muon: bool = False,
) -> torch.optim.Optimizer:
    """AdamW or MuonAdamW over all trained parameters. No weight decay on norms, biases and other
    vectors, nor on the balancer's own parameters."""
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
    fused = devices <= {"cpu", "cuda"}
    if muon:
        return MuonAdamW(settings, fused)
    return torch.optim.AdamW(settings, betas=BETAS, fused=fused)


class MuonAdamW(torch.optim.Optimizer):
    """torch.optim.Muon for matrices and kernels, AdamW for everything else.

    Muon orthogonalises the momentum of a matrix; its steps are as large as those of AdamW (arXiv
    2502.16982), so that learning rates carry over. A kernel is a matrix of its output channels.
    """

    def __init__(self, settings: Sequence[dict[str, Any]], fused: bool) -> None:
        super().__init__(settings, {"fused": fused})
        every = [p for group in self.param_groups for p in group["params"]]
        self.views = {p: nn.Parameter(as_matrix(p, p)) for p in every if is_matrix(p)}
        self.parts: list[torch.optim.Optimizer] = []
        # A group of this optimiser, and the group of a part that follows its learning rate.
        self.followers: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._add(partial(torch.optim.Muon, adjust_lr_fn="match_rms_adamw"), self.views)
        self._add(partial(torch.optim.AdamW, betas=BETAS, fused=fused), {*every} - {*self.views})

    def _add(self, make: MakeOptimizer, chosen: Container[nn.Parameter]) -> None:
        leaders, groups = [], []
        states: dict[Tensor, dict[str, Any]] = {}
        for group in self.param_groups:
            own = [p for p in group["params"] if p in chosen]
            mine = {self.views.get(p, p): self.state[p] for p in own}
            if mine:
                leaders.append(group)
                groups.append(group | {"params": list(mine)})
                states |= mine
        if groups:
            part = make(groups)
            part.state.update(states)  # shared with this optimiser, whose keys are the parameters
            self.parts.append(part)
            self.followers += zip(leaders, part.param_groups, strict=True)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for leader, follower in self.followers:
            follower["lr"] = leader["lr"]
        for parameter, view in self.views.items():
            grad = parameter.grad
            view.grad = None if grad is None else as_matrix(grad, parameter)
        for part in self.parts:
            part.step()


def is_matrix(parameter: Tensor) -> bool:
    """Whether Muon updates it: no vector, no depthwise kernel, no first or last layer of few
    channels."""
    return parameter.ndim > 1 and min(parameter.shape[:2]) >= MUON_CHANNELS


def as_matrix(tensor: Tensor, like: Tensor) -> Tensor:
    """(out, rest) in the memory order of `like`; a view if `tensor` is `like`."""
    if like.ndim == 4 and not like.is_contiguous():  # channels_last
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.detach().reshape(len(tensor), -1)


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
        # Fused AdamW keeps the step count on the device of the weights. AdamW's moments are laid
        # out like the weights, Muon's are matrices.
        on_cpu = slot == "step" and not optimizer.defaults.get("fused")
        if value.shape == parameter.shape:
            state[slot] = torch.empty_like(parameter).copy_(value)
        else:
            state[slot] = value.to("cpu" if on_cpu else parameter.device)
