"""Steps with a NaN or infinite loss or gradient: the frames that cause it, and the buffers to
restore."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from perception.tasks.base import Raw, Task, total_loss
from training.data.sample import Batch
from training.distributed import World


@torch.no_grad()
def nonfinite_frames(
    tasks: Mapping[str, Task], batch: Batch, raws: Mapping[str, Raw], world: World
) -> list[str]:
    """Names of frames (on any rank) whose own loss is NaN or inf.

    Where there is none (a gradient that overflows behind finite losses), all frames of the joint
    batch. All ranks must call it, and all get the same answer.
    """
    found: dict[int, None] = {}
    for task, raw in raws.items():
        target = batch.targets[task]
        for place, row in enumerate(batch.rows[task].tolist()):
            loss = total_loss(tasks[task].loss(_one(raw, place), _one(target, place)))
            if not math.isfinite(loss):
                found[row] = None
    names = world.gather_names([batch.names[row] for row in found])
    return names or world.gather_names(batch.names)


def _one(tensors: Mapping[str, Tensor], place: int) -> dict[str, Tensor]:
    return {key: value[place : place + 1] for key, value in tensors.items()}


class Memory:
    """A copy of the buffers that a step changes: running statistics and the balancer's state.

    They have changed before it is known that the step must be skipped; `put_back` restores them.
    """

    def __init__(self, *modules: nn.Module) -> None:
        self.buffers = [buffer for module in modules for buffer in module.buffers()]
        self.before = [buffer.clone() for buffer in self.buffers]

    @torch.no_grad()
    def put_back(self) -> None:
        """The buffers as they were when this was made."""
        for buffer, before in zip(self.buffers, self.before, strict=True):
            buffer.copy_(before)
