"""The frames of each step, augmented and batched: a function of (seed, epoch, position)
for any number of ranks and workers.

The only state is epoch and position, so a stopped run continues at the next step. Augmentation is
a function of (seed, epoch, frame), so that workers need no state.
"""

import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from perception.errors import UserError
from perception.files import WriteError
from training.config import DataArgs
from training.data.augment import Transform, make_augmentation
from training.data.dataset import Dataset
from training.data.frames import Frames, draw
from training.data.sample import Batch, Sample, collate

# Seconds a worker keeps running after SIGTERM, so that the main process can save first.
SECONDS_TO_END: Final = 60

Key = tuple[int, ...]  # epoch, index, and which repeat where a frame is drawn more than once


@dataclass(eq=False)
class Order:
    """Batches of (epoch, index) for one rank: its share of each joint batch of `batch` frames.

    The joint batches are the same for any number of ranks, so a run may be resumed on another. The
    last one of an epoch is filled with the epoch's first frames, so that none is left out.
    """

    count: int
    batch: int
    seed: int
    rank: int = 0
    ranks: int = 1
    weights: np.ndarray | None = None  # (count,) how often to draw each frame; None: once
    epoch: int = 0
    start: int = 0

    def __post_init__(self) -> None:
        if min(self.batch, self.count) < self.ranks:
            raise UserError(
                f"--batch {self.batch} of {self.count} frames leaves some of {self.ranks} ranks "
                "without one"
            )

    def at(self, epoch: int, start: int = 0) -> None:
        """The next iteration yields this epoch from joint batch `start` on."""
        self.epoch, self.start = epoch, start

    @property
    def steps(self) -> int:
        """Joint batches per epoch."""
        return -(-self.count // self.batch)

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        keys = self._keys(self.epoch)
        for step in range(self.start, self.steps):
            whole = keys[step * self.batch : (step + 1) * self.batch]
            yield whole[self.rank :: self.ranks]

    def _keys(self, epoch: int) -> list[Key]:
        """The epoch's frames in order; a repeat has its own key and so its own augmentation."""
        rng = np.random.default_rng((self.seed, epoch))
        drawn = rng.permutation(self.count) if self.weights is None else draw(self.weights, rng)
        keys: list[Key] = []
        repeats: Counter[int] = Counter()
        for index in np.resize(drawn, self.steps * min(self.batch, self.count)).tolist():
            keys.append((epoch, index, repeats[index]) if repeats[index] else (epoch, index))
            repeats[index] += 1
        return keys


class SkipBad:
    """Frames of which unreadable ones are replaced by the next readable one.

    Each is printed on stderr once; `skipped()` lists them, also those met by loader workers. Raises
    UserError when more than `max_share` of the frames turn out unreadable.
    """

    def __init__(self, frames: Dataset, max_share: float = 0.01) -> None:
        self.frames, self.max_share = frames, max_share
        # Shared memory: the main process and all workers see the same flags.
        self._bad = multiprocessing.RawArray("B", max(len(frames), 1))

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        for step in range(len(self)):
            at = (index + step) % len(self)
            if self._bad[at]:
                continue
            try:
                return self.frames[at]
            except WriteError:
                raise  # of --cache: no fault of the frame
            except UserError as error:
                self._remember(at, error)
        raise UserError("no frame of the dataset can be read; run check-bdd on its folder")

    def skipped(self) -> list[int]:
        """Indices of the frames found unreadable so far."""
        return np.flatnonzero(np.frombuffer(self._bad, np.uint8)[: len(self)]).tolist()

    def _remember(self, index: int, error: UserError) -> None:
        self._bad[index] = 1
        count = len(self.skipped())
        if count > self.max_share * len(self):
            raise UserError(
                f"{count} of {len(self)} frames are bad, more than --skip-bad allows "
                f"({self.max_share:.1%}); the last: {error}"
            ) from None
        print(f"skipped ({count} of {len(self)}): {error}", file=sys.stderr, flush=True)


@dataclass(eq=False)
class TransformedFrames(TorchDataset[Sample]):
    """A dataset's samples, transformed with random numbers that belong to (seed, epoch, index)."""

    dataset: Dataset | SkipBad
    transform: Transform
    seed: int

    def __getitem__(self, key: Key) -> Sample:
        try:
            sample = self.dataset[key[1]]
        except WriteError:
            raise  # of --cache: no fault of the frame
        except UserError as error:
            raise UserError(f"{error} (or pass --skip-bad SHARE)") from None
        return self.transform(sample, np.random.default_rng((self.seed, *key)))


def quiet_worker(_: int) -> None:
    """One OpenCV and torch thread per worker; workers ignore SIGINT.

    A scheduler sends SIGTERM to every process of a job: a worker continues, so that the main
    process can save and end it, and exits by itself after SECONDS_TO_END.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(SECONDS_TO_END))
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def collate_shared(samples: Sequence[Sample]) -> Batch:
    """A batch; in a loader process already in shared memory. Left to the queue, a /dev/shm that is
    too small would raise in the queue's thread, and the main process would never return."""
    batch = collate(samples)
    return batch if get_worker_info() is None else batch.each(Tensor.share_memory_)


def loader(
    frames: TransformedFrames, order: Order, workers: int, pin: bool = False
) -> DataLoader[Any]:
    """Batches in the given order; workers live as long as the loader."""
    return DataLoader(
        frames,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=collate_shared,
        pin_memory=pin,
        worker_init_fn=quiet_worker,
        persistent_workers=workers > 0,
        prefetch_factor=2 if workers else None,
        # Its own generator: a new loader after a resume must not draw from the run's.
        generator=torch.Generator(),
    )


def training_loader(
    frames: Frames, order: Order, args: DataArgs, seed: int, pin: bool = False
) -> DataLoader[Any]:
    """Augmented frames of a run, batch by batch in the order given."""
    readable = SkipBad(frames, args.skip_bad) if args.skip_bad else frames
    augmented = TransformedFrames(readable, make_augmentation(args), seed)
    return loader(augmented, order, worker_count(args.workers), pin)


def worker_count(wanted: int) -> int:
    """Loader processes for --workers; -1: one per core, at most 8."""
    return wanted if wanted >= 0 else min(os.cpu_count() or 1, 8)
