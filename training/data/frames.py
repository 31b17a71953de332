"""The frames of a run: chosen, weighed and joined once, into one list of (dataset, row).

Frames with a rare trait (a task or a class that few frames are labelled with) can be drawn more
often, by the repeat factor of LVIS (Gupta et al., CVPR 2019): max(1, sqrt(wanted / share)).
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from perception.errors import UserError, check_known
from training.data.cached import Cached
from training.data.class_lookup import ClassLookup, joint_lists
from training.data.classes import OFFICIAL, ONLY, ClassLists
from training.data.dataset import Dataset
from training.data.sample import Sample

# Frames with a trait that fewer than this share of the frames have are drawn more often.
WANTED_SHARE: Final = 0.1
MOST_REPEATS: Final = 8.0
# Seed of the choice of frames for --share, apart from the seeds of the epochs.
SHARE_SEED: Final = 2_000_003


class Choice(NamedTuple):
    """Some frames of a dataset, how often to draw each, where they are kept decoded, and further
    traits that all of them have."""

    dataset: Dataset
    rows: np.ndarray  # (n,) int64
    weights: np.ndarray  # (n,) float64
    cached: Cached | None = None
    traits: tuple[str, ...] = ()


class Frames(Dataset):
    """Frames of several datasets, each with the labels of its own dataset in `tasks` (None: all).

    Their classes are those of `lists` (default: all classes of all). Raises UserError for a class
    that these lack.
    """

    def __init__(
        self,
        choices: Sequence[Dataset | Choice],
        tasks: Sequence[str] | None = None,
        lists: ClassLists | None = None,
    ) -> None:
        self.choices = [whole(one) if isinstance(one, Dataset) else one for one in choices]
        datasets = [choice.dataset for choice in self.choices]
        found = dict.fromkeys(task for dataset in datasets for task in dataset.tasks)
        self.tasks = tuple(task for task in (found if tasks is None else tasks) if task in found)
        lists = lists or joint_lists(datasets)
        self.lookups = [ClassLookup(dataset, lists) for dataset in datasets]
        own = {task for lookup in self.lookups for task in lookup.own}
        self.classes = {task: lists.groups[task] for task in lists.groups if task in own}
        counts = [len(choice.rows) for choice in self.choices]
        self.part = np.repeat(np.arange(len(counts)), counts)
        self.row = np.concatenate([np.zeros(0, np.int64), *(c.rows for c in self.choices)])

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, index: int) -> Sample:
        part, row = self.place(index)
        choice, lookup = self.choices[part], self.lookups[part]
        sample = (choice.cached or choice.dataset)[row]
        labels = {
            task: lookup(task, label) for task, label in sample.labels.items() if task in self.tasks
        }
        return Sample(sample.image, labels, sample.name)

    def place(self, index: int) -> tuple[int, int]:
        """(dataset, row in it) of a frame. Raises IndexError beyond the end."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return int(self.part[index]), int(self.row[index])

    def name(self, index: int) -> str:
        part, row = self.place(index)
        return self.choices[part].dataset.name(row)

    def attributes(self, index: int) -> dict[str, str] | None:
        part, row = self.place(index)
        return self.choices[part].dataset.attributes(row)

    def notes(self) -> list[str]:
        parts = zip(self.choices, self.lookups, strict=True)
        notes = [note for choice, lookup in parts for note in choice.dataset.notes() + lookup.notes]
        return list(dict.fromkeys(notes))

    def presence(self) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for number, (choice, lookup) in enumerate(zip(self.choices, self.lookups, strict=True)):
            for trait, has in lookup.traits(choice.dataset.presence()).items():
                into = found.setdefault(trait, np.zeros(len(self), bool))
                into[self.part == number] = has[choice.rows]
        return found

    def label_columns(self) -> dict[str, np.ndarray]:
        return {
            f"{number} {name}": column
            for number, choice in enumerate(self.choices)
            for name, column in choice.dataset.label_columns().items()
        }

    def draws(self, rare: bool) -> np.ndarray | None:
        """(len(self),) float64: how often to draw each frame, relative to the others; None where
        each is drawn once per epoch. With `rare`, frames with rare traits more often."""
        weights = np.concatenate([choice.weights for choice in self.choices])
        if rare:
            weights = weights * repeat_factors(self.presence(), len(self))
        return None if np.all(weights == weights[:1]) else weights

    def counts(self) -> dict[str, int]:
        """Frames with a label of each task, for the log."""
        presence = self.presence()
        return {task: int(presence[task].sum()) for task in self.tasks if task in presence}

    def remarks(self) -> list[str]:
        """One line for each kind of thing in the files that is not used, and for the classes of
        boxes that no frame shows."""
        found: list[str] = []
        for dataset in (choice.dataset for choice in self.choices):
            kinds = Counter(kind for kind, _ in dataset.unused())
            firsts = dict(reversed(dataset.unused()))
            found += [f"not used: {n} x {kind}; first {firsts[kind]}" for kind, n in kinds.items()]
        datasets = [choice.dataset for choice in self.choices if "det" in choice.dataset.tasks]
        known = [any("det/" in trait for trait in dataset.presence()) for dataset in datasets]
        if "det" in self.tasks and all(known):
            names = self.classes.get("det", OFFICIAL["det"])[ONLY]
            shown = {trait for trait, has in self.presence().items() if has.any()}
            lacking = [name for name in names if f"det/{name}" not in shown]
            if lacking:
                what = "any object" if len(lacking) == len(names) else ", ".join(lacking)
                found.append(f"no frame shows {what}")
        return list(dict.fromkeys(found))


def whole(dataset: Dataset) -> Choice:
    """All frames of a dataset, each drawn once."""
    return Choice(dataset, np.arange(len(dataset)), np.ones(len(dataset)))


def weighed(choices: Sequence[Choice], weights: Sequence[float]) -> list[Choice]:
    """The choices, each drawn `weights` times as often. Raises UserError for weights that do not
    fit."""
    if len(weights) != len(choices):
        raise UserError(f"{len(weights)} weights for {len(choices)} datasets")
    if not all(0 <= weight < float("inf") for weight in weights) or not any(weights):
        raise UserError(f"dataset weights {[*weights]}: give numbers from 0 up, not all 0")
    pairs = zip(choices, weights, strict=True)
    return [choice._replace(weights=choice.weights * weight) for choice, weight in pairs]


def first(choices: Sequence[Choice], count: int) -> list[Choice]:
    """The first `count` frames of the choices in order; 0: all."""
    kept: list[Choice] = []
    for choice in choices:
        left = max(count - sum(len(one.rows) for one in kept), 0) if count else None
        kept.append(choice._replace(rows=choice.rows[:left], weights=choice.weights[:left]))
    return kept


def select(
    choices: Sequence[Choice],
    trait_weights: Mapping[str, float],
    share: float,
    seed: int,
) -> list[Choice]:
    """Weights frames by trait (0 drops them), then keeps a `share` of each dataset's frames.

    The frames of a share are the first of one random order, so that with one seed a smaller share
    is part of a larger one. Raises UserError for a trait that no dataset has.
    """
    traits = [
        one.dataset.presence() | dict.fromkeys(one.traits, np.ones(len(one.rows), bool))
        for one in choices
    ]
    known = dict.fromkeys(name for some in traits for name in some)
    check_known("trait", trait_weights, known)
    selected: list[Choice] = []
    for choice, some in zip(choices, traits, strict=True):
        weights = choice.weights.copy()
        for name, weight in trait_weights.items():
            weights[some.get(name, np.zeros(len(weights), bool))] *= weight
        rows = np.flatnonzero(weights)
        order = np.random.default_rng((seed, SHARE_SEED)).permutation(len(rows))
        rows = np.sort(rows[order[: math.ceil(share * len(rows) - 1e-9)]])
        selected.append(choice._replace(rows=choice.rows[rows], weights=weights[rows]))
    return selected


def repeat_factors(presence: dict[str, np.ndarray], count: int) -> np.ndarray:
    """(count,) float64: for each frame the factor of the rarest trait it has, at least 1."""
    factors = np.ones(count)
    for has in presence.values():
        share = has.mean() if count else 0.0
        if 0 < share < WANTED_SHARE:
            factor = min(float(np.sqrt(WANTED_SHARE / share)), MOST_REPEATS)
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
