"""From `--data` to a training and a validation dataset."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from perception.errors import UserError, unknown_name
from training.config import DataArgs
from training.data import rendered
from training.data.bdd.cache import fingerprint
from training.data.bdd100k import BDD100K
from training.data.cached import Cached
from training.data.choose import near_names, open_dataset
from training.data.sample import Dataset, Sample
from training.data.union import Subset, Union, first, traits

RENDERED_TRAIN, RENDERED_VAL = 8000, 200
# Validation roads come from another seed than any training road can.
VAL_SEED = 1_000_003
# Which frames a share holds has nothing to do with the order of an epoch.
SHARE_SEED = 2_000_003


class Joined(Union):
    """A union of which only the wanted tasks are kept."""

    def __init__(
        self, parts: Sequence[Dataset], tasks: Sequence[str], weights: Sequence[float] = ()
    ) -> None:
        super().__init__(parts, weights)
        self.tasks = tuple(task for task in tasks if task in self.tasks)

    @property
    def marks(self) -> list[str]:
        """What tells the parts' content apart, for caches: files by fingerprint, roads by seed."""
        return [part_name(part) for part in self.datasets]

    def draws(self, rare: bool) -> np.ndarray | None:
        """(len(self),) how often to draw each frame; None where each is drawn once an epoch."""
        weights = self.sample_weights() if rare else self.frame_weights()
        return None if np.all(weights == weights[0]) else weights

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        labels = {task: label for task, label in sample.labels.items() if task in self.tasks}
        return Sample(sample.image, labels, sample.name)


def open_sources(args: DataArgs, tasks: Sequence[str], seed: int) -> tuple[Joined, Joined]:
    """Training and validation frames. Raises UserError where no data has a wanted task."""
    train = first(choose(open_training(args, tasks, seed), args, seed), args.limit)
    weights = list(args.data_weights)
    if args.data and args.rendered:
        train.append(open_folder(f"rendered:{args.rendered}", "train", args, tasks))
        weights = [*(weights or [1.0] * len(args.data)), args.rendered_weight]
    joined = (
        Joined(train, tasks, weights),
        Joined(first(open_validation(args, tasks, seed), args.val_limit), tasks),
    )
    place = ", ".join(args.data) or "rendered roads"
    missing = [task for task in tasks if task not in joined[0].tasks]
    if missing:
        raise UserError(
            f"--tasks {','.join(missing)}: {place} has no labels for it"
            + near_names(missing, args.data)
        )
    if not sum(len(part) for part in joined[0].datasets[: len(args.data) or 1]):
        raise UserError(f"{place}: no training frames" + " are left" * bool(args.trait_weights))
    return joined


def open_training(args: DataArgs, tasks: Sequence[str], seed: int) -> list[Dataset]:
    """Each --data, whole; without any, rendered roads."""
    if args.data:
        return [open_folder(word, "train", args, tasks) for word in args.data]
    known = [task for task in tasks if task in rendered.TASKS]
    return [rendered.RenderedRoads(args.limit or RENDERED_TRAIN, seed, args.size, known)]


def open_validation(args: DataArgs, tasks: Sequence[str], seed: int) -> list[Dataset]:
    """The same for validation."""
    if args.data:
        return [open_folder(word, "val", args, tasks) for word in args.data]
    known = [task for task in tasks if task in rendered.TASKS]
    count = args.val_limit or RENDERED_VAL
    return [rendered.RenderedRoads(count, seed + VAL_SEED, args.size, known)]


def choose(parts: Sequence[Dataset], args: DataArgs, seed: int) -> list[Dataset]:
    """What --trait-weights and --share leave of each dataset.

    The frames of a share are the first of one random order, so that with one seed a smaller share
    is part of a larger one. Raises UserError for a trait that no dataset knows.
    """
    shown = [all_traits(part) for part in parts]
    known = dict.fromkeys(name for some in shown for name in some)
    for name in args.trait_weights:
        if name not in known:
            raise unknown_name("trait", name, known)
    chosen: list[Dataset] = []
    for part, some in zip(parts, shown, strict=True):
        weights = np.ones(len(part))
        for name, weight in args.trait_weights.items():
            weights[some.get(name, np.zeros(len(part), bool))] *= weight
        rows = np.flatnonzero(weights)
        order = np.random.default_rng((seed, SHARE_SEED)).permutation(len(rows))
        rows = np.sort(rows[order[: math.ceil(args.share * len(rows) - 1e-9)]])
        whole = len(rows) == len(part) and np.all(weights == 1)
        chosen.append(part if whole else Subset(part, rows, weights[rows]))
    return chosen


def all_traits(part: Dataset) -> dict[str, np.ndarray]:
    """What its labels show of each frame, and where the frame is from."""
    inner = part.dataset if isinstance(part, Cached) else part
    origins = getattr(inner, "origins", None)
    return traits(part) | (dict(origins()) if callable(origins) else {})


def open_folder(word: str, split: str, args: DataArgs, tasks: Sequence[str]) -> Dataset:
    """One split of a `--data` word. Wrong labels are found now, or with --skip-bad when read."""
    # A decoded frame may be enlarged a little; more would train on blur.
    sharp = max(1.0, args.zoom[1] / 1.6) if split == "train" else 1.0
    size_hw = (round(args.size[0] * sharp), round(args.size[1] * sharp))
    dataset = open_dataset(word, split, tasks, size_hw, strict=not args.skip_bad)
    if not args.cache:
        return dataset
    # The key changes with all that an index was read from, so a stale frame is never served.
    key = f"{word} {len(dataset)} {split} {dataset.tasks}"
    if isinstance(dataset, BDD100K):
        key = f"{fingerprint(dataset.layout)} {split} {dataset.tasks} {dataset.lane_width}"
    return Cached(dataset, Path(args.cache), size_hw, key)


def part_name(part: Dataset) -> str:
    """A dataset by its files' fingerprint, or by its class and what it was made from."""
    if isinstance(part, Subset):
        rows = hashlib.sha256(part.rows.tobytes()).hexdigest()[:16]
        return f"{part_name(part.dataset)} rows {rows}"
    inner = part.dataset if isinstance(part, Cached) else part
    if isinstance(inner, BDD100K):
        return str(fingerprint(inner.layout))
    return f"{type(inner).__name__} {getattr(inner, 'seed', '')} {len(inner)}"
