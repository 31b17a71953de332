"""Several ranks as if they were one: the joint batch's statistics and the joint batch's losses.

Batch norm sees the frames of all ranks, and each loss is computed on the raw outputs and targets
of all ranks, of which only the own rows carry a gradient. So a loss may be normalised by whatever
it likes (boxes, pixels, frames), and a task may be labelled on one rank only.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from perception.tasks.base import Raw, Task
from training.distributed import World


class Sum(torch.autograd.Function):
    """The sum over the ranks; its gradient is the sum of the ranks' gradients."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        torch.distributed.all_reduce(tensor)
        return tensor

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].clone()
        torch.distributed.all_reduce(gradient)
        return gradient


class JointBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the frames of all ranks (torch's own works on GPUs only).

    `counted` is 0 while this rank's rows are a stand-in that must not be seen by the others.
    """

    counted: float = 1.0

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        x = input.float()
        count = Sum.apply(x.new_tensor(self.counted * (x.numel() // x.shape[1])))
        mean = Sum.apply(self.counted * x.sum((0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = Sum.apply(self.counted * centred.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach(), float(count))
        scale = (variance + self.eps).rsqrt() * self.weight
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor, count: float) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        with torch.no_grad():
            share = self.momentum if self.momentum is not None else 0.1
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * count / max(count - 1, 1), share)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1


def join_statistics(module: nn.Module) -> None:
    """Replaces every BatchNorm2d inside by one over all ranks, with the same parameters."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            new = JointBatchNorm2d(child.num_features, child.eps, child.momentum)
            new.weight, new.bias = child.weight, child.bias
            new.running_mean, new.running_var = child.running_mean, child.running_var
            new.num_batches_tracked = child.num_batches_tracked
            setattr(module, name, new.train(child.training))
        else:
            join_statistics(child)


def run_head(head: Task, features: Sequence[Tensor], rows: Tensor | None) -> Raw:
    """The head's raw outputs of these rows.

    With None (the task is labelled on other ranks only) the head still runs, for its batch norms
    wait for each other, but on a stand-in that nobody counts; no row comes back.
    """
    if rows is not None:
        whole = len(rows) == len(features[0])
        return head(features if whole else [feature[rows] for feature in features])
    norms = [module for module in head.modules() if isinstance(module, JointBatchNorm2d)]
    for norm in norms:
        norm.counted = 0.0
    raw = head([feature[:1] for feature in features])
    for norm in norms:
        norm.counted = 1.0
    return {key: value[:0] for key, value in raw.items()}


def join_rows(world: World, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The rows (first dimension) of all ranks, in rank order; the own ones keep their gradient.

    A rank without rows may lack keys. Other dimensions are padded to the largest: signed integers
    with -1, all else with 0, as the labels' collation does.
    """
    if world.size == 1:
        return dict(own)
    specs = share_specs(world, own)
    keys = sorted({key for spec in specs for key in spec})
    return {key: _join(world, own.get(key), [spec.get(key) for spec in specs]) for key in keys}


def share_specs(world: World, own: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Type and shape of every rank's tensors."""
    spec = {key: [str(value.dtype), list(value.shape)] for key, value in own.items()}
    text = torch.frombuffer(bytearray(json.dumps(spec).encode()), dtype=torch.uint8)
    return [json.loads(data.cpu().numpy().tobytes()) for data in world.gather_all(text)]


def _join(world: World, own: Tensor | None, specs: list[Any]) -> Tensor:
    known = [spec for spec in specs if spec is not None]
    kind = getattr(torch, known[0][0].removeprefix("torch."))
    rest = [max(sizes) for sizes in zip(*(spec[1][1:] for spec in known), strict=True)]
    counts = [0 if spec is None else spec[1][0] for spec in specs]
    fill = -1 if kind in (torch.int16, torch.int32, torch.int64) else 0
    sent = torch.full((max(counts), *rest), fill, dtype=kind, device=world.device)
    if own is not None:
        sent[(slice(len(own)), *(slice(size) for size in own.shape[1:]))] = own.detach()
    carrier = sent.to(torch.uint8) if kind == torch.bool else sent
    rooms = [torch.empty_like(carrier) for _ in range(world.size)]
    torch.distributed.all_gather(rooms, carrier.contiguous())
    rows = [room[:count].to(kind) for room, count in zip(rooms, counts, strict=True)]
    if own is not None and own.requires_grad:
        rows[world.rank] = own
    return torch.cat(rows)
