"""Datasets that label different tasks, as one; and which of its frames an epoch draws.

Frames with something rare (a task few frames are labelled for, a class few show) are drawn more
often, by the repeat factor of LVIS (Gupta et al., CVPR 2019): max(1, sqrt(wanted / share)).
"""

import multiprocessing
import sys
from collections.abc import Sequence
from typing import Final

import numpy as np

from perception.errors import UserError
from training.data.sample import Dataset, Sample

# Traits that less than this share of the frames have are drawn more often.
WANTED_SHARE: Final = 0.1
MOST_REPEATS: Final = 8.0


class Union:
    """Datasets one after the other; each labels what it labels, the batch says which rows have it.

    `weights`: how much of what is drawn comes from each dataset, relative to its size (1 = its
    natural share). Raises UserError for weights that do not fit.
    """

    def __init__(self, datasets: Sequence[Dataset], weights: Sequence[float] | None = None) -> None:
        self.datasets = list(datasets)
        self.weights = [float(weight) for weight in weights or [1.0] * len(self.datasets)]
        if len(self.weights) != len(self.datasets):
            raise UserError(f"{len(self.weights)} weights for {len(self.datasets)} datasets")
        if not all(0 <= weight < float("inf") for weight in self.weights) or not any(self.weights):
            raise UserError(f"dataset weights {self.weights}: give numbers from 0 up, not all 0")
        self.tasks = tuple(dict.fromkeys(task for part in self.datasets for task in part.tasks))
        self.ends = np.cumsum([len(part) for part in self.datasets], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, index: int) -> Sample:
        part, row = self.place(index)
        return self.datasets[part][row]

    def place(self, index: int) -> tuple[int, int]:
        """(dataset, index in it) of a frame. Raises IndexError beyond the end."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = int(np.searchsorted(self.ends, index, side="right"))
        return part, index - (int(self.ends[part - 1]) if part else 0)

    def name(self, index: int) -> str:
        """The frame's name without reading it, where its dataset knows it."""
        part, row = self.place(index)
        name = getattr(self.datasets[part], "name", None)
        return str(name(row)) if callable(name) else f"{part}:{row}"

    def presence(self) -> dict[str, np.ndarray]:
        """(len(self),) bool for each trait any dataset tells of: a task, a class, an attribute."""
        parts = [traits(part) for part in self.datasets]
        names = dict.fromkeys(name for part in parts for name in part)
        empty = [np.zeros(len(dataset), bool) for dataset in self.datasets]
        return {
            name: np.concatenate([part.get(name, e) for part, e in zip(parts, empty, strict=True)])
            for name in names
        }

    def sample_weights(self, wanted_share: float = WANTED_SHARE) -> np.ndarray:
        """(len(self),) float64: how often to draw each frame, relative to the others."""
        return repeat_factors(self.presence(), len(self), wanted_share) * self.frame_weights()

    def frame_weights(self) -> np.ndarray:
        """The same without regard to what is rare: each dataset's weight times the frame's own."""
        pairs = zip(self.weights, self.datasets, strict=True)
        return np.concatenate([weight * frame_weights(part) for weight, part in pairs])

    def counts(self) -> dict[str, int]:
        """Frames that are labelled for each task, for the log."""
        presence = self.presence()
        return {task: int(presence[task].sum()) for task in self.tasks if task in presence}


def traits(dataset: Dataset) -> dict[str, np.ndarray]:
    """What a dataset says of its frames without reading them; all its tasks on all frames if it
    says nothing."""
    presence = getattr(dataset, "presence", None)
    if callable(presence):
        return dict(presence())
    return {task: np.ones(len(dataset), bool) for task in dataset.tasks}


def frame_weights(dataset: Dataset) -> np.ndarray:
    """(len(dataset),) float64: how often to draw each frame relative to the dataset's others."""
    weights = getattr(dataset, "frame_weights", None)
    return np.asarray(weights() if callable(weights) else np.ones(len(dataset)), np.float64)


class Subset:
    """Some frames of a dataset, each with its weight (all 1 where none are given)."""

    def __init__(
        self, dataset: Dataset, rows: np.ndarray, weights: np.ndarray | None = None
    ) -> None:
        self.dataset, self.rows = dataset, np.asarray(rows, np.int64)
        self.weights = frame_weights(dataset)[self.rows] if weights is None else weights
        self.tasks = dataset.tasks

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[int(self.rows[index])]

    def presence(self) -> dict[str, np.ndarray]:
        """The dataset's traits."""
        return {name: has[self.rows] for name, has in traits(self.dataset).items()}

    def frame_weights(self) -> np.ndarray:
        """(len(self),) how often to draw each frame."""
        return self.weights

    def name(self, index: int) -> str:
        """The frame's name, where the dataset knows it."""
        name = getattr(self.dataset, "name", None)
        row = int(self.rows[index])
        return str(name(row)) if callable(name) else str(row)


def first(parts: Sequence[Dataset], count: int) -> list[Dataset]:
    """The datasets cut so that `count` frames are left, the first ones; 0 leaves all."""
    left: list[Dataset] = []
    for part in parts:
        had = sum(len(kept) for kept in left)
        fits = not count or had + len(part) <= count
        left.append(part if fits else Subset(part, np.arange(count - had)))
    return left


def repeat_factors(
    presence: dict[str, np.ndarray], count: int, wanted_share: float = WANTED_SHARE
) -> np.ndarray:
    """(count,) float64: for each frame the factor of the rarest trait it has, at least 1."""
    factors = np.ones(count)
    for has in presence.values():
        share = has.mean() if count else 0.0
        if 0 < share < wanted_share:
            factor = min(float(np.sqrt(wanted_share / share)), MOST_REPEATS)
            np.maximum(factors, np.where(has, factor, 1.0), out=factors)
    return factors


def draw(weights: np.ndarray, rng: np.random.Generator, count: int | None = None) -> np.ndarray:
    """(count,) int64 indices in random order, each about count * weight / sum(weights) times.

    Systematic resampling: a frame's number of draws differs from its share by less than one, so
    equal weights draw every frame exactly once, and nothing rare is missed by chance for long.
    """
    count = len(weights) if count is None else count
    total = weights.sum()
    if not total > 0:
        raise UserError("no frame has a weight above 0")
    ends = np.cumsum(weights) / total * count
    ends[-1] = count  # rounding must not lose the last
    marks = np.arange(count) + rng.random()
    drawn = np.searchsorted(ends, np.minimum(marks, np.nextafter(count, 0)), side="right")
    return rng.permutation(np.minimum(drawn, len(weights) - 1))


class SkipBad:
    """A dataset whose bad frames are replaced by the next good one, up to a share of them.

    Each is named on stderr once; `skipped()` lists them, also those met by loader workers. Raises
    UserError when more than `max_share` of the frames turn out bad.
    """

    def __init__(self, dataset: Dataset, max_share: float = 0.01) -> None:
        if not 0 <= max_share < 1:
            raise UserError(f"--skip-bad {max_share}: give a share from 0 to below 1")
        self.dataset, self.max_share = dataset, max_share
        self.tasks = dataset.tasks
        # Shared memory: what one worker finds bad, all others and the log know.
        self._bad = multiprocessing.RawArray("B", max(len(dataset), 1))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        for step in range(len(self)):
            at = (index + step) % len(self)
            if self._bad[at]:
                continue
            try:
                return self.dataset[at]
            except UserError as error:
                self._remember(at, error)
        raise UserError("no frame of the dataset can be read; run check-bdd on its folder")

    def skipped(self) -> list[int]:
        """Indices of the frames found bad so far."""
        return np.flatnonzero(np.frombuffer(self._bad, np.uint8)[: len(self)]).tolist()

    def presence(self) -> dict[str, np.ndarray]:
        """The dataset's traits."""
        return traits(self.dataset)

    def name(self, index: int) -> str:
        """The frame's name, where the dataset knows it."""
        name = getattr(self.dataset, "name", None)
        return str(name(index)) if callable(name) else str(index)

    def _remember(self, index: int, error: UserError) -> None:
        self._bad[index] = 1
        count = len(self.skipped())
        if count > self.max_share * len(self):
            raise UserError(
                f"{count} of {len(self)} frames are bad, more than --skip-bad allows "
                f"({self.max_share:.1%}); the last: {error}"
            ) from None
        print(f"skipped ({count} of {len(self)}): {error}", file=sys.stderr, flush=True)
