"""Named recipes: which trunk, which neck, which head for which task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from perception.errors import unknown_name
from perception.model import HydraNet
from perception.neck import NECKS
from perception.sharing import share
from perception.tasks import TASKS
from perception.tasks.base import Task
from perception.tasks.det_anchor import AnchorDet
from perception.tasks.nearest import NearestDrivable, NearestLane
from perception.trunk import Trunk
from perception.variants import VARIANTS


@dataclass(frozen=True)
class Recipe:
    """A model by its parts; `heads` replaces the registry's head of a task."""

    trunk: str
    neck: str = "bifpn"
    width: int = 64
    heads: Mapping[str, type[Task]] = field(default_factory=dict)


ZOO: Final[dict[str, Recipe]] = {
    "pvt-hydranet-b0": Recipe("pvt_v2_b0"),
    "pvt-hydranet-b1": Recipe("pvt_v2_b1", width=96),
    "pvt-hydranet-b2": Recipe("pvt_v2_b2", width=128),
    "hydranet-regnet": Recipe("regnety_008"),
    "yolop-like": Recipe(
        "cs3darknet_s",
        neck="dense-pan",
        width=168,
        heads={"det": AnchorDet, "drivable": NearestDrivable, "lane": NearestLane},
    ),
    "resnet50": Recipe("resnet50", width=128),
    "swin-tiny": Recipe("swin_tiny_patch4_window7_224", width=128),
}


def build(
    name: str, tasks: Sequence[str], pretrained: bool = False, drop_path: float = 0.0
) -> HydraNet:
    """The model `name` with a head for each of `tasks`, in the order given.

    `NAME+SHARING` shares the trunk otherwise than whole (perception/sharing); `NAME~VARIANT` has
    one decision changed (perception/variants).
    Raises UserError for an unknown name, with the near miss suggested.
    """
    name, _, sharing = name.partition("+")
    recipe = recipe_of(name)
    for task in tasks:
        if task not in TASKS:
            raise unknown_name("task", task, TASKS)
    trunk = Trunk(recipe.trunk, pretrained, drop_path)
    neck = NECKS[recipe.neck](trunk.channels, recipe.width)
    kinds = {task: recipe.heads.get(task, TASKS[task]) for task in tasks}
    heads = {task: kind(recipe.width, trunk.strides) for task, kind in kinds.items()}
    if sharing:
        make_trunk = partial(Trunk, recipe.trunk, pretrained, drop_path)
        trunk, neck = share(sharing, make_trunk, neck, list(heads.values()))
    return HydraNet(trunk, neck, heads)


def recipe_of(name: str) -> Recipe:
    """The recipe of `NAME` or `NAME~VARIANT`. Raises UserError for an unknown one."""
    name, _, variant = name.partition("~")
    if name not in ZOO:
        raise unknown_name("model", name, ZOO)
    if not variant:
        return ZOO[name]
    if variant not in VARIANTS:
        raise unknown_name("variant", variant, VARIANTS)
    changes = dict(VARIANTS[variant])
    changes["heads"] = {**ZOO[name].heads, **changes.get("heads", {})}
    return replace(ZOO[name], **changes)
