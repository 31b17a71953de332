"""The ranks of one run: started by torchrun (nccl on GPUs, gloo on CPUs), or a single process.

Gradients are summed explicitly, because a task may be labelled on one rank only and gradient
methods bypass the hooks of DistributedDataParallel.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from perception.errors import UserError, first_line
from training.balance.border import alone, split_like

T = TypeVar("T")

STARTS: Final = "TORCHELASTIC_RESTART_COUNT"  # how often torchrun has started this group again


@dataclass(frozen=True)
class World:
    """This process's rank, the number of ranks, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this rank writes files and prints."""
        return self.rank == 0

    @property
    def on_gpu(self) -> bool:
        """Whether this rank computes on a GPU; batches for it are page-locked."""
        return self.device.type == "cuda"

    @property
    def reduce(self) -> Callable[[Tensor], object]:
        """Sums a tensor over the ranks in place; does nothing for one process."""
        return alone if self.size == 1 else torch.distributed.all_reduce

    def total(self, numbers: Sequence[float], tensors: Sequence[Tensor] = ()) -> list[float]:
        """Each number and each element of the tensors summed over the ranks, in this order.

        One message, and one transfer to the host.
        """
        first = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        vector = torch.cat([first, *(tensor.detach().double().flatten() for tensor in tensors)])
        self.reduce(vector)
        return vector.tolist()

    def largest(self, number: float) -> float:
        """The largest of the ranks' numbers."""
        if self.size == 1:
            return number
        vector = torch.tensor([number], dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(vector, torch.distributed.ReduceOp.MAX)
        return float(vector)

    def agree(self, number: float) -> bool:
        """Whether all ranks hold the same number."""
        return self.largest(number) == -self.largest(-number)

    def gather(self, own: T) -> list[T]:
        """Every rank's value in rank order, on every rank."""
        everyone = [own] * self.size
        if self.size > 1:
            torch.distributed.all_gather_object(everyone, own)
        return everyone

    def gather_names(self, own: Sequence[str]) -> list[str]:
        """Every rank's names in rank order, on every rank."""
        return [name for names in self.gather(own) for name in names]

    def same_weights(self, module: nn.Module) -> None:
        """Gives every rank the leading rank's parameters and buffers."""
        if self.size > 1:
            for tensor in module.state_dict().values():
                torch.distributed.broadcast(tensor, 0)

    @torch.no_grad()
    def average_statistics(self, *modules: nn.Module) -> None:
        """Sets running statistics to their mean over the ranks: one message.

        All buffers but masks are averaged: those that are no statistics are equal on all ranks. In
        training mode batch norms do not use their statistics, and both their updates and EMA are
        linear, so averaging before they are used (validation, saving) equals averaging after every
        step.
        """
        if self.size == 1:
            return
        every = [buffer for module in modules for buffer in module.buffers()]
        buffers = [buffer for buffer in every if buffer.dtype != torch.bool]
        flat = torch.cat([buffer.double().flatten() for buffer in buffers])
        torch.distributed.all_reduce(flat)
        for buffer, mean in zip(buffers, split_like(flat / self.size, buffers), strict=True):
            buffer.copy_(mean if buffer.is_floating_point() else mean.round())

    def wait(self) -> None:
        """Returns when all ranks have called it."""
        if self.size > 1:
            torch.distributed.barrier()

    def close(self) -> None:
        """Leaves the process group."""
        if self.size > 1:
            torch.distributed.destroy_process_group()


ALONE: Final = World(0, 1, torch.device("cpu"))


def synchronise_batch_norm(world: World, *modules: nn.Module) -> None:
    """Replaces the batch norms of these modules by SyncBatchNorm, over all ranks' frames.

    On several GPUs only: torch has none for CPUs, where each rank normalises by its own frames.
    Not for heads: a head runs only where its task is labelled, and the others would wait for it.
    Names of parameters do not change. The modules themselves must not be batch norms.
    """
    if world.size > 1 and world.on_gpu:
        for module in modules:
            nn.SyncBatchNorm.convert_sync_batchnorm(module)


def join_world(device: str = "auto") -> World:
    """The world torchrun describes in the environment, or one process."""
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    use_cuda = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if use_cuda:
        # set_device refuses a device without an index.
        own = size > 1 or device in ("auto", "cuda")
        chosen = torch.device(f"cuda:{local}" if own else device)
        torch.cuda.set_device(chosen)
    else:
        chosen = torch.device("cpu" if device == "auto" else device)
    if size > 1:
        _init_process_group("nccl" if use_cuda else "gloo")
    return World(rank, size, chosen)


def _init_process_group(backend: str) -> None:
    """Raises UserError where the ranks cannot reach each other.

    torchrun keeps its store when it starts a group again, with the addresses of dead processes in
    it: each start uses its own prefix.
    """
    try:
        store, rank, size = next(iter(rendezvous("env://")))
        store = torch.distributed.PrefixStore(f"start{os.environ.get(STARTS, 0)}", store)
        torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"rank {os.environ.get('RANK')}: the ranks cannot reach each other "
            f"({first_line(error)}); check MASTER_ADDR and MASTER_PORT"
        ) from None


def by_torchrun() -> bool:
    """Whether torchrun started this process; it may start the same command again."""
    return STARTS in os.environ


def is_lost_rank(error: RuntimeError) -> bool:
    """Whether a message failed because another rank has ended."""
    signs = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe")
    return isinstance(error, torch.distributed.DistError) or any(s in str(error) for s in signs)
