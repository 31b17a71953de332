"""Ways of sharing a network other than one trunk for all: one file each, one line here.

The features of such a network are one list, with the maps of every task one after the other, and
each head takes its own. Training, balancing, evaluation and export need no change.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from torch import Tensor, nn

from perception.errors import check_known
from perception.sharing.attentive import Attentive
from perception.sharing.cross_stitch import CrossStitch
from perception.sharing.experts import TaskExperts
from perception.sharing.gated_adapters import GatedAdapters
from perception.sharing.mtan import MTAN
from perception.sharing.mti_net import MTINet
from perception.sharing.pad_net import PADNet
from perception.sharing.regroup import Regroup
from perception.sharing.sparse import Sparse
from perception.tasks.base import Task
from perception.trunk import STRIDES, Trunk

MakeTrunk = Callable[[], Trunk]


class EachTask(nn.Module):
    """One neck applied to the maps of each task, once for tasks with the same maps."""

    def __init__(self, neck: nn.Module) -> None:
        super().__init__()
        self.neck = neck

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        levels = len(STRIDES)
        groups = [features[start : start + levels] for start in range(0, len(features), levels)]
        different = {id(group[0]): group for group in groups}
        maps = {key: self.neck(group) for key, group in different.items()}
        return [feature for group in groups for feature in maps[id(group[0])]]


REGROUP: Final = "regroup"
# A trunk with maps per task, each through the same neck.
TRUNKS: Final[dict[str, Callable[[MakeTrunk, int], nn.Module]]] = {
    "cross-stitch": CrossStitch,
    "mtan": MTAN,
    "sparse": Sparse,
    "attentive": Attentive,
    "task-experts": TaskExperts,
    REGROUP: Regroup,
}
# One trunk and one neck, followed by modules per task.
NECKS: Final[dict[str, Callable[[nn.Module, Sequence[Task]], nn.Module]]] = {
    "gated-adapters": GatedAdapters,
    "pad-net": PADNet,
    "mti-net": MTINet,
}
SHARINGS: Final = (*TRUNKS, *NECKS)


def share(
    name: str, make_trunk: MakeTrunk, neck: nn.Module, heads: Sequence[Task]
) -> tuple[Any, Any]:
    """(trunk, neck) with maps for each head; heads get a hook that selects theirs.

    Raises UserError for an unknown name, or for a trunk that the method does not support.
    """
    check_known("way of sharing", [name], SHARINGS)
    parts = (
        (TRUNKS[name](make_trunk, len(heads)), EachTask(neck))
        if name in TRUNKS
        else (make_trunk(), NECKS[name](neck, heads))
    )
    for index, head in enumerate(heads):
        head.register_forward_pre_hook(partial(own_maps, index, len(heads)))
    return parts


def own_maps(index: int, tasks: int, head: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Forward pre-hook: selects the maps of one task."""
    maps = list(inputs[0])
    count = len(maps) // tasks
    return (maps[index * count : (index + 1) * count],)


def unfold(module: nn.Module) -> None:
    """Replaces, in place, what is computed for training alone: weights that follow from others, and
    outputs that only a loss reads. For export and for timing."""
    for name, child in list(module.named_modules()):
        if hasattr(child, "unfolded"):
            parent, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(parent), leaf, child.unfolded())
