"""Ways of sharing a trunk other than hard sharing: one file each, one line here.

Such a trunk returns four maps per task, in one list, and each head takes its own four. Training,
balancing, evaluation and export need no change.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from torch import Tensor, nn

from perception.errors import unknown_name
from perception.sharing.cross_stitch import CrossStitch
from perception.sharing.mtan import MTAN
from perception.sharing.sparse import Sparse
from perception.trunk import STRIDES, Trunk

SHARINGS: Final[dict[str, Callable[[Callable[[], Trunk], int], nn.Module]]] = {
    "cross-stitch": CrossStitch,
    "mtan": MTAN,
    "sparse": Sparse,
}


class EachTask(nn.Module):
    """One neck applied to the maps of each task."""

    def __init__(self, neck: nn.Module) -> None:
        super().__init__()
        self.neck = neck

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        levels = len(STRIDES)
        groups = [features[start : start + levels] for start in range(0, len(features), levels)]
        return [feature for group in groups for feature in self.neck(group)]


def share(
    name: str, make_trunk: Callable[[], Trunk], neck: nn.Module, heads: Sequence[nn.Module]
) -> tuple[Any, Any]:
    """(trunk, neck) with maps for each head; heads get a hook that selects theirs.

    Raises UserError for an unknown name, or for a trunk that the method does not support.
    """
    if name not in SHARINGS:
        raise unknown_name("way of sharing", name, SHARINGS)
    for index, head in enumerate(heads):
        head.register_forward_pre_hook(partial(own_maps, index))
    return SHARINGS[name](make_trunk, len(heads)), EachTask(neck)


def own_maps(index: int, head: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Forward pre-hook: selects the maps of one task."""
    levels = len(STRIDES)
    return (list(inputs[0])[index * levels : (index + 1) * levels],)
