"""The ranks of one run: started by torchrun (nccl on GPUs, gloo on CPUs), or one process alone.

Gradients are summed by hand, because a task may be labelled on one rank only and gradient methods
bypass the hooks of DistributedDataParallel. Messages between ranks are arrays, never pickles.
"""

import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from perception.errors import UserError
from training.balance.border import alone

STARTS: Final = "TORCHELASTIC_RESTART_COUNT"  # how often torchrun has started this group again


@dataclass(frozen=True)
class World:
    """Which rank this is, of how many, on which device."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this rank writes files and prints."""
        return self.rank == 0

    @property
    def reduce(self) -> Callable[[Tensor], object]:
        """Sums a tensor over the ranks in place; the identity for one process."""
        return alone if self.size == 1 else torch.distributed.all_reduce

    def total(self, numbers: list[float]) -> list[float]:
        """Each number summed over the ranks."""
        if self.size == 1:
            return numbers
        vector = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(vector)
        return vector.tolist()

    def largest(self, number: float) -> float:
        """The largest of the ranks' numbers."""
        if self.size == 1:
            return number
        vector = torch.tensor([number], dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(vector, torch.distributed.ReduceOp.MAX)
        return float(vector)

    def gather_all(self, data: Tensor) -> list[Tensor]:
        """Every rank's bytes (uint8, any length), in rank order, on every rank."""
        if self.size == 1:
            return [data]
        data = data.to(self.device)
        lengths = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.size)]
        torch.distributed.all_gather(lengths, torch.tensor([len(data)], device=self.device))
        most = max(int(length) for length in lengths)
        padded = torch.zeros(most, dtype=torch.uint8, device=self.device)
        padded[: len(data)] = data
        rooms = [torch.empty_like(padded) for _ in range(self.size)]
        torch.distributed.all_gather(rooms, padded)
        return [room[: int(length)] for room, length in zip(rooms, lengths, strict=True)]

    def gather(self, arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Every rank's arrays in rank order, on the leading rank; an empty list elsewhere."""
        if self.size == 1:
            return [arrays]
        everyone = self.gather_all(pack(arrays))
        return [unpack(data.cpu()) for data in everyone] if self.leads else []

    def words(self, own: Sequence[str]) -> list[str]:
        """Every rank's words in rank order, on every rank."""
        if self.size == 1:
            return list(own)
        text = torch.frombuffer(bytearray(json.dumps(list(own)).encode()), dtype=torch.uint8)
        everyone = [json.loads(data.cpu().numpy().tobytes()) for data in self.gather_all(text)]
        return [word for words in everyone for word in words]

    def agree(self, number: float) -> bool:
        """Whether all ranks hold the same number."""
        return self.largest(number) == -self.largest(-number)

    def same_weights(self, module: nn.Module) -> None:
        """Gives every rank the leading rank's parameters and buffers."""
        if self.size > 1:
            for tensor in module.state_dict().values():
                torch.distributed.broadcast(tensor, 0)

    def wait(self) -> None:
        """Lets no rank go on before all have come here."""
        if self.size > 1:
            torch.distributed.barrier()

    def close(self) -> None:
        """Leaves the process group."""
        if self.size > 1:
            torch.distributed.destroy_process_group()


def join_world(device: str = "auto") -> World:
    """The world torchrun describes in the environment, or one process."""
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    use_cuda = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if use_cuda:
        chosen = torch.device(f"cuda:{local}" if size > 1 or device == "auto" else device)
        torch.cuda.set_device(chosen)
    else:
        chosen = torch.device("cpu" if device == "auto" else device)
    if size > 1:
        _meet("nccl" if use_cuda else "gloo")
    return World(rank, size, chosen)


def _meet(backend: str) -> None:
    """Makes the process group. Raises UserError where the ranks do not find each other.

    torchrun keeps its store when it starts a group again, with the addresses of the dead in it:
    each start has a name of its own there.
    """
    try:
        store, rank, size = next(iter(rendezvous("env://")))
        store = torch.distributed.PrefixStore(f"start{os.environ.get(STARTS, 0)}", store)
        torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    except (RuntimeError, ValueError) as error:
        line = str(error).strip().splitlines()[0][:120]
        raise UserError(
            f"rank {os.environ.get('RANK')}: the ranks do not find each other ({line})"
        ) from None


def by_torchrun() -> bool:
    """Whether torchrun started this process; it may start the same command again."""
    return STARTS in os.environ


def pack(arrays: dict[str, np.ndarray]) -> Tensor:
    """Arrays as bytes (uint8 tensor), in numpy's own pickle-free format."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    return torch.from_numpy(np.frombuffer(stream.getvalue(), np.uint8).copy())


def unpack(data: Tensor) -> dict[str, np.ndarray]:
    """The inverse of `pack`."""
    with np.load(io.BytesIO(data.numpy().tobytes()), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def is_lost_rank(error: RuntimeError) -> bool:
    """Whether a message between ranks failed, because one of them is gone."""
    words = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe")
    return isinstance(error, torch.distributed.DistError) or any(w in str(error) for w in words)
