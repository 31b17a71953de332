"""Cross-stitch networks (Misra et al., CVPR 2016): one trunk per task, mixed after every stage."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from perception.errors import UserError
from perception.trunk import Trunk


class CrossStitch(nn.Module):
    """After each stage every task's map becomes a learned mixture of all tasks' maps.

    Mixing weights are initialised to 0.9 for the task's own map and 0.1 in total for the others,
    as in the paper. Raises UserError for a trunk that timm does not build as a list of stages.
    """

    def __init__(self, make_trunk: Callable[[], Trunk], tasks: int) -> None:
        super().__init__()
        self.columns = nn.ModuleList(make_trunk() for _ in range(tasks))
        first = cast(Trunk, self.columns[0])
        self.channels, self.strides = first.channels, first.strides
        body: Any = first.body
        if not isinstance(body, nn.ModuleDict) or not hasattr(body, "return_layers"):
            raise UserError(f"cross-stitch does not support the trunk {first.name!r}")
        returned = cast(Mapping[str, object], body.return_layers)
        others = 0.1 / max(tasks - 1, 1)
        start = torch.full((tasks, tasks), others)
        start.fill_diagonal_(0.9 if tasks > 1 else 1.0)
        self.mixes = nn.ParameterList(start.clone() for _ in returned)

    def forward(self, image: Tensor) -> list[Tensor]:
        columns = [cast(Trunk, column) for column in self.columns]
        bodies = [cast(Mapping[str, nn.Module], column.body) for column in columns]
        wanted = cast(Mapping[str, object], columns[0].body.return_layers)
        maps: list[Tensor] = [image] * len(columns)
        levels: list[list[Tensor]] = []
        for name in bodies[0]:
            maps = [body[name](x) for body, x in zip(bodies, maps, strict=True)]
            if name in wanted:
                maps = mixed(maps, self.mixes[len(levels)])
                levels.append(maps)
        kept = levels[-len(self.channels) :]  # those at the strides of the neck
        return [
            x if x.shape[1] == channels else x.permute(0, 3, 1, 2)
            for task in range(len(columns))
            for channels, x in zip(self.channels, (level[task] for level in kept), strict=True)
        ]


def mixed(maps: list[Tensor], mix: Tensor) -> list[Tensor]:
    """Row t of `mix` holds the weights of the maps in the new map of task t."""
    return [torch.stack([w * x for w, x in zip(row, maps, strict=True)]).sum(0) for row in mix]
