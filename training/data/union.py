"""Several datasets as one, subsets of a dataset, and how often each frame is drawn.

Frames with a rare trait (a task or a class that few frames are labelled with) can be drawn more
often, by the repeat factor of LVIS (Gupta et al., CVPR 2019): max(1, sqrt(wanted / share)).
"""

import hashlib
import math
import multiprocessing
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from perception.errors import UserError, unknown_name
from training.data.classes import OFFICIAL, ONLY
from training.data.dataset import Dataset, Wrapper
from training.data.sample import Sample

# Frames with a trait that fewer than this share of the frames have are drawn more often.
WANTED_SHARE: Final = 0.1
MOST_REPEATS: Final = 8.0
# Seed of the choice of frames for --share, apart from the seeds of the epochs.
SHARE_SEED: Final = 2_000_003


class Union(Dataset):
    """Datasets one after the other, of which the labels of `tasks` are kept (None: all).

    Each frame has the labels of its own dataset. `weights`: how often frames of each dataset are
    drawn, relative to the others. Raises UserError for weights that do not fit.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        tasks: Sequence[str] | None = None,
        weights: Sequence[float] = (),
    ) -> None:
        self.datasets = list(datasets)
        self.weights = [float(weight) for weight in weights or [1.0] * len(self.datasets)]
        if len(self.weights) != len(self.datasets):
            raise UserError(f"{len(self.weights)} weights for {len(self.datasets)} datasets")
        if not all(0 <= weight < float("inf") for weight in self.weights) or not any(self.weights):
            raise UserError(f"dataset weights {self.weights}: give numbers from 0 up, not all 0")
        found = dict.fromkeys(task for part in self.datasets for task in part.tasks)
        self.tasks = tuple(task for task in (found if tasks is None else tasks) if task in found)
        # `conform` has given all parts the same list per task.
        self.classes = {
            task: lists for part in reversed(self.datasets) for task, lists in part.classes.items()
        }
        self.ends = np.cumsum([len(part) for part in self.datasets], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, index: int) -> Sample:
        part, row = self.place(index)
        sample = self.datasets[part][row]
        labels = {task: label for task, label in sample.labels.items() if task in self.tasks}
        return Sample(sample.image, labels, sample.name)

    def place(self, index: int) -> tuple[int, int]:
        """(dataset, index in it) of a frame. Raises IndexError beyond the end."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = int(np.searchsorted(self.ends, index, side="right"))
        return part, index - (int(self.ends[part - 1]) if part else 0)

    def name(self, index: int) -> str:
        part, row = self.place(index)
        return self.datasets[part].name(row)

    def attributes(self, index: int) -> dict[str, str] | None:
        part, row = self.place(index)
        return self.datasets[part].attributes(row)

    def source(self, task: str, index: int) -> str:
        part, row = self.place(index)
        return self.datasets[part].source(task, row)

    def notes(self) -> list[str]:
        return list(dict.fromkeys(note for part in self.datasets for note in part.notes()))

    def presence(self) -> dict[str, np.ndarray]:
        return self._joined([part.presence() for part in self.datasets])

    def label_columns(self) -> dict[str, np.ndarray]:
        return {
            f"{number} {name}": column
            for number, part in enumerate(self.datasets)
            for name, column in part.label_columns().items()
        }

    def origins(self) -> dict[str, np.ndarray]:
        return self._joined([part.origins() for part in self.datasets])

    def _joined(self, parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        names = dict.fromkeys(name for part in parts for name in part)
        empty = [np.zeros(len(dataset), bool) for dataset in self.datasets]
        return {
            name: np.concatenate([part.get(name, e) for part, e in zip(parts, empty, strict=True)])
            for name in names
        }

    def frame_weights(self) -> np.ndarray:
        pairs = zip(self.weights, self.datasets, strict=True)
        return np.concatenate([weight * part.frame_weights() for weight, part in pairs])

    def draws(self, rare: bool, wanted_share: float = WANTED_SHARE) -> np.ndarray | None:
        """(len(self),) float64: how often to draw each frame, relative to the others; None where
        each is drawn once per epoch. With `rare`, frames with rare traits more often."""
        weights = self.frame_weights()
        if rare:
            weights = weights * repeat_factors(self.presence(), len(self), wanted_share)
        return None if np.all(weights == weights[0]) else weights

    def counts(self) -> dict[str, int]:
        """Frames with a label of each task, for the log."""
        presence = self.presence()
        return {task: int(presence[task].sum()) for task in self.tasks if task in presence}

    def remarks(self) -> list[str]:
        """One line for each kind of thing in the files that is not used, and for the classes of
        boxes that no frame shows."""
        found: list[str] = []
        for part in self.datasets:
            kinds = Counter(kind for kind, _ in part.unused())
            firsts = dict(reversed(part.unused()))
            found += [f"not used: {n} x {kind}; first {firsts[kind]}" for kind, n in kinds.items()]
        presence = [part.presence() for part in self.datasets if "det" in part.tasks]
        if "det" in self.tasks and all(any("det/" in name for name in some) for some in presence):
            names = self.classes.get("det", OFFICIAL["det"])[ONLY]
            shown = {name for some in presence for name, has in some.items() if has.any()}
            lacking = [name for name in names if f"det/{name}" not in shown]
            if lacking:
                what = "any object" if len(lacking) == len(names) else ", ".join(lacking)
                found.append(f"no frame shows {what}")
        return list(dict.fromkeys(found))

    def fingerprints(self) -> list[str]:
        """Of every part, for caches."""
        return [part.fingerprint() for part in self.datasets]

    def fingerprint(self) -> str:
        return f"{self.tasks} {self.fingerprints()}"


class Subset(Wrapper):
    """Some frames of a dataset, each with its weight (as in the dataset where none are given)."""

    def __init__(
        self, dataset: Dataset, rows: np.ndarray, weights: np.ndarray | None = None
    ) -> None:
        super().__init__(dataset, rows)
        self.weights = super().frame_weights() if weights is None else weights

    def frame_weights(self) -> np.ndarray:
        return self.weights

    def fingerprint(self) -> str:
        assert self.rows is not None
        digest = hashlib.sha256(self.rows.tobytes()).hexdigest()[:16]
        return f"{self.dataset.fingerprint()} rows {digest}"


def first(parts: Sequence[Dataset], count: int) -> list[Dataset]:
    """The first `count` frames of the datasets in order; 0: all."""
    left: list[Dataset] = []
    for part in parts:
        had = sum(len(kept) for kept in left)
        fits = not count or had + len(part) <= count
        left.append(part if fits else Subset(part, np.arange(count - had)))
    return left


def select(
    parts: Sequence[Dataset],
    trait_weights: Mapping[str, float],
    share: float,
    seed: int,
    names: Sequence[Sequence[str]] = (),
) -> list[Dataset]:
    """Weights frames by trait (0 drops them), then keeps a `share` of each dataset's frames.

    `names` are, for each dataset, further traits that all its frames have.

    The frames of a share are the first of one random order, so that with one seed a smaller share
    is part of a larger one. Raises UserError for a trait that no dataset has.
    """
    traits = [part.presence() | part.origins() for part in parts]
    for part, own, some in zip(parts, names, traits, strict=False):
        some |= dict.fromkeys(own, np.ones(len(part), bool))
    known = dict.fromkeys(name for some in traits for name in some)
    for name in trait_weights:
        if name not in known:
            raise unknown_name("trait", name, known)
    selected: list[Dataset] = []
    for part, some in zip(parts, traits, strict=True):
        weights = np.ones(len(part))
        for name, weight in trait_weights.items():
            weights[some.get(name, np.zeros(len(part), bool))] *= weight
        rows = np.flatnonzero(weights)
        order = np.random.default_rng((seed, SHARE_SEED)).permutation(len(rows))
        rows = np.sort(rows[order[: math.ceil(share * len(rows) - 1e-9)]])
        whole = len(rows) == len(part) and np.all(weights == 1)
        selected.append(part if whole else Subset(part, rows, weights[rows]))
    return selected


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
    equal weights draw every frame exactly once.
    """
    count = len(weights) if count is None else count
    total = weights.sum()
    if not total > 0:
        raise UserError("no frame has a weight above 0")
    ends = np.cumsum(weights) / total * count
    ends[-1] = count  # exact in spite of rounding
    marks = np.arange(count) + rng.random()
    drawn = np.searchsorted(ends, np.minimum(marks, np.nextafter(count, 0)), side="right")
    return rng.permutation(np.minimum(drawn, len(weights) - 1))


class SkipBad(Wrapper):
    """A dataset whose unreadable frames are replaced by the next readable one.

    Each is printed on stderr once; `skipped()` lists them, also those met by loader workers. Raises
    UserError when more than `max_share` of the frames turn out unreadable.
    """

    def __init__(self, dataset: Dataset, max_share: float = 0.01) -> None:
        if not 0 <= max_share < 1:
            raise UserError(f"--skip-bad {max_share}: give a share from 0 to below 1")
        super().__init__(dataset)
        self.max_share = max_share
        # Shared memory: the main process and all workers see the same flags.
        self._bad = multiprocessing.RawArray("B", max(len(dataset), 1))

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
