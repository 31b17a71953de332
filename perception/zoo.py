"""Named models: which trunk, which neck, which head for which task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from torch import nn

from perception.baselines.yolop import AnchorDet, DensePAN, NearestDrivable, NearestLane
from perception.errors import UserError, unknown_name
from perception.layers import BiFPN
from perception.model import HydraNet
from perception.runtime.description import View
from perception.sharing import share
from perception.tasks import TASKS, check_tasks
from perception.tasks.base import Task
from perception.trunk import Trunk


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
    if name not in ZOO:
        raise unknown_name("model", name, ZOO)
    return ZOO[name]
