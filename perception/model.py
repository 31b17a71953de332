"""HydraNet: one trunk, one neck, many heads; and Deployed, the network as it is exported."""

from collections.abc import ItemsView, Mapping, Sequence, ValuesView
from typing import cast

import torch
from torch import Tensor, nn

from perception.tasks.base import Raw, Task
from perception.trunk import Trunk


class Heads(nn.ModuleDict):
    """The tasks by name; unlike a ModuleDict, typed."""

    def __getitem__(self, key: str) -> Task:
        return cast(Task, super().__getitem__(key))

    def items(self) -> ItemsView[str, Task]:
        return cast(ItemsView[str, Task], super().items())

    def values(self) -> ValuesView[Task]:
        return cast(ValuesView[Task], super().values())


class HydraNet(nn.Module):
    """Frames in, raw outputs of every task out.

    Colour order and normalisation are part of the model: `frames` are uint8 (B, H, W, 3) BGR as
    OpenCV gives them, letterboxed; H and W are multiples of 32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: Trunk, neck: nn.Module, tasks: Mapping[str, Task]) -> None:
        super().__init__()
        self.trunk, self.neck = trunk, neck
        self.tasks = Heads(tasks)
        # ImageNet statistics in RGB order, on the 0..255 scale.
        mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def image(self, frames: Tensor) -> Tensor:
        """uint8 (B, H, W, 3) BGR -> normalised RGB (B, 3, H, W)."""
        rgb = frames.permute(0, 3, 1, 2).to(self.mean.dtype).flip(1)  # (B, 3, H, W)
        return (rgb - self.mean) / self.std

    def features(self, frames: Tensor) -> list[Tensor]:
        """The neck's maps, (B, width, H/s, W/s) for s in 4, 8, 16, 32."""
        return self.neck(self.trunk(self.image(frames)))

    def heads(self, features: Sequence[Tensor]) -> dict[str, Raw]:
        """Every head on the same features."""
        return {name: task(features) for name, task in self.tasks.items()}

    def forward(self, frames: Tensor) -> dict[str, Raw]:
        return self.heads(self.features(frames))


class Deployed(nn.Module):
    """uint8 frames in, every task's decoded output out, in the order of `model.tasks`."""

    def __init__(self, model: HydraNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        raws = self.model(frame)
        return tuple(task.decode(raws[name]) for name, task in self.model.tasks.items())
