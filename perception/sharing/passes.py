"""One pass of a shared trunk per task: what the methods have in common that change the trunk by
task. Every task has running statistics of its own, as its maps differ from those of the others.
"""

import copy
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.hooks import RemovableHandle

from perception.trunk import Trunk


class Part(nn.Module):
    """What one task has of its own: running statistics, and what subclasses add."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        statistics = dict(trunk.named_buffers())
        self.counted = {name: "of-" + name.replace(".", "-") for name in statistics}
        for name, buffer in statistics.items():
            self.register_buffer(self.counted[name], buffer.clone())

    def tensors(self, trunk: Trunk) -> dict[str, Tensor]:
        """The tensors that replace the trunk's in this task's pass, by name."""
        return {name: self.get_buffer(own) for name, own in self.counted.items()}

    def hooks(self, trunk: Trunk) -> list[RemovableHandle]:
        """Adds this task's forward hooks to the trunk; none by default."""
        return []


class Passes(nn.Module):
    """The maps of every task, task after task, each from a pass of its own."""

    part: ClassVar[type[Part]] = Part

    def __init__(self, make_trunk: Callable[[], Trunk], tasks: int) -> None:
        super().__init__()
        self.trunk = make_trunk()
        self.channels, self.strides = self.trunk.channels, self.trunk.strides
        self.parts = nn.ModuleList(self.part(self.trunk) for _ in range(tasks))

    def forward(self, image: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for part in (cast(Part, part) for part in self.parts):
            with ExitStack() as stack:
                for handle in part.hooks(self.trunk):
                    stack.callback(handle.remove)
                found += functional_call(self.trunk, part.tensors(self.trunk), (image,))
        return found

    @torch.no_grad()
    def unfolded(self) -> "Unfolded":
        """The same network with a separate trunk of final weights per task, for export."""
        trunks = [copy.deepcopy(self.trunk) for _ in self.parts]
        parts = [cast(Part, part) for part in copy.deepcopy(self.parts)]
        for trunk, part in zip(trunks, parts, strict=True):
            trunk.load_state_dict(part.tensors(trunk), strict=False)
            part.hooks(trunk)
        return Unfolded(trunks, parts)


class Unfolded(nn.Module):
    """One trunk per task, or `order`: the number of the trunk that each task uses."""

    def __init__(
        self, trunks: Sequence[Trunk], parts: Sequence[Part] = (), order: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.trunks, self.parts = nn.ModuleList(trunks), nn.ModuleList(parts)
        self.order = order or range(len(trunks))

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [trunk(image) for trunk in self.trunks]
        return [feature for number in self.order for feature in maps[number]]
