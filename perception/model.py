"""HydraNet: one trunk, one neck, many heads; the named networks (ZOO); and Deployed, the network as
it is exported.
"""

from collections.abc import Callable, ItemsView, Mapping, Sequence, ValuesView
from dataclasses import dataclass, field
from functools import partial
from typing import Final, cast

import torch
from torch import Tensor, nn

from perception.baselines.yolop import AnchorDet, DensePAN, NearestDrivable, NearestLane
from perception.errors import UserError, check_known
from perception.runtime.view import View
from perception.sharing import share
from perception.tasks import TASKS, check_tasks
from perception.tasks.base import Raw, Task
from perception.trunk import IMAGE_MEAN, IMAGE_STD, BiFPN, Trunk


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
        mean, std = torch.tensor(IMAGE_MEAN), torch.tensor(IMAGE_STD)
        self.register_buffer("mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, 3, 1, 1), persistent=False)

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


@dataclass(frozen=True)
class Architecture:
    """The parts of a model; `heads` replaces the registry's head of a task."""

    trunk: str
    neck: Callable[[Sequence[int], int], nn.Module] = BiFPN
    width: int = 64
    heads: Mapping[str, type[Task]] = field(default_factory=dict)


ZOO: Final[dict[str, Architecture]] = {
    "pvt-hydranet-b0": Architecture("pvt_v2_b0"),
    "pvt-hydranet-b1": Architecture("pvt_v2_b1", width=96),
    "pvt-hydranet-b2": Architecture("pvt_v2_b2", width=128),
    "pvt-hydranet-b2-li": Architecture("pvt_v2_b2_li", width=128),
    "hydranet-lite0": Architecture("tf_efficientnet_lite0"),
    "hydranet-regnet": Architecture("regnety_008"),
    "yolop-like": Architecture(
        "cs3darknet_s",
        neck=DensePAN,
        width=168,
        heads={"det": AnchorDet, "drivable": NearestDrivable, "lane": NearestLane},
    ),
    "resnet50": Architecture("resnet50", width=128),
    "swin-tiny": Architecture("swin_tiny_patch4_window7_224", width=128),
}


def build(
    name: str,
    tasks: Sequence[str],
    pretrained: bool = False,
    drop_path: float = 0.0,
    views: Mapping[str, View] | None = None,
) -> HydraNet:
    """The model `name` with a head for each of `tasks`, in the order given.

    `NAME+SHARING` shares the trunk in another way than entirely (perception/sharing). `views`
    replaces the description of a task's output, and with it the classes it is trained on.
    Raises UserError for an unknown name, with the closest match suggested.
    """
    name, _, sharing = name.partition("+")
    architecture = architecture_of(name)
    check_tasks(tasks)
    trunk = Trunk(architecture.trunk, pretrained, drop_path)
    neck = architecture.neck(trunk.channels, architecture.width)
    heads = {
        task: architecture.heads.get(task, TASKS[task])(
            architecture.width, trunk.strides, (views or {}).get(task)
        )
        for task in tasks
    }
    if sharing:
        make_trunk = partial(Trunk, architecture.trunk, pretrained, drop_path)
        trunk, neck = share(sharing, make_trunk, neck, list(heads.values()))
    return HydraNet(trunk, neck, heads)


def architecture_of(name: str) -> Architecture:
    """The entry of ZOO. Raises UserError for an unknown name."""
    if "~" in name:
        raise UserError(
            f"model {name!r}: variants (NAME~VARIANT) were removed after their ablations; "
            "docs/ablations.md has the scores and the commit that still has the code"
        )
    check_known("model", [name], ZOO)
    return ZOO[name]
