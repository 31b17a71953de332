"""Numbers gone wrong: which steps are left out, on all ranks together, and through which frames."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from perception.tasks.base import Raw, Task
from training.data.sample import Batch
from training.distributed import World


def unfit_loss(losses: Mapping[str, Tensor], world: World) -> str:
    """Why this step must be left out, "" if it need not be; the ranks agree that it must."""
    wrong = [task for task, loss in losses.items() if not math.isfinite(loss.detach())]
    (anywhere,) = world.total([float(len(wrong))])
    if not anywhere:
        return ""
    return f"loss of {', '.join(wrong)}" if wrong else "loss on another rank"


def unfit_gradient(norm: float, world: World) -> str:
    """The same for the norm of the gradient."""
    return "gradient" if world.largest(float(not math.isfinite(norm))) else ""


@torch.no_grad()
def guilty(
    tasks: Mapping[str, Task], batch: Batch, raws: Mapping[str, Raw], world: World
) -> list[str]:
    """Names of the frames, whatever rank saw them, whose loss is not finite by themselves.

    Where none is (a gradient that overflows behind finite losses), every frame of the joint batch.
    Every rank must ask, and every rank gets the same answer.
    """
    found: dict[int, None] = {}
    for task, raw in raws.items():
        target = batch.targets.get(task, {})
        for place, row in enumerate(batch.rows.get(task, torch.empty(0)).tolist()):
            parts = tasks[task].loss(_one(raw, place), _one(target, place))
            if not all(math.isfinite(part) for part in parts.values()):
                found[row] = None
    return world.words([batch.names[row] for row in found]) or world.words(batch.names)


def _one(tensors: Mapping[str, Tensor], place: int) -> dict[str, Tensor]:
    return {key: value[place : place + 1] for key, value in tensors.items()}


class Memory:
    """What a step changes beside the weights: running statistics and what the balancer remembers.

    A bad batch has touched them before it is known to be bad; `put_back` undoes that.
    """

    def __init__(self, *modules: nn.Module) -> None:
        self.buffers = [buffer for module in modules for buffer in module.buffers()]
        self.before = [buffer.clone() for buffer in self.buffers]

    @torch.no_grad()
    def put_back(self) -> None:
        """The buffers as they were when this was made."""
        for buffer, before in zip(self.buffers, self.before, strict=True):
            buffer.copy_(before)


def name_some(names: Sequence[str], most: int = 4) -> str:
    """The first few names, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
