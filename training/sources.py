"""From `--data` to a training and a validation dataset."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from perception.errors import UserError
from training.config import DataArgs
from training.data import rendered
from training.data.bdd.cache import fingerprint
from training.data.bdd100k import BDD100K
from training.data.cached import Cached
from training.data.choose import near_names, open_dataset
from training.data.sample import Dataset, Sample
from training.data.union import Union, repeat_factors

RENDERED_TRAIN, RENDERED_VAL = 8000, 200
# Validation roads come from another seed than any training road can.
VAL_SEED = 1_000_003


class Joined(Union):
    """A union of which only the wanted tasks, and at most `limit` frames, are kept."""

    def __init__(
        self,
        parts: Sequence[Dataset],
        tasks: Sequence[str],
        limit: int = 0,
        weights: Sequence[float] = (),
    ) -> None:
        super().__init__(parts, weights)
        self.limit = limit
        self.tasks = tuple(task for task in tasks if task in self.tasks)

    @property
    def marks(self) -> list[str]:
        """What tells the parts' content apart, for caches: files by fingerprint, roads by seed."""
        return [part_name(part) for part in self.datasets]

    def __len__(self) -> int:
        count = super().__len__()
        return min(count, self.limit) if self.limit else count

    def presence(self) -> dict[str, np.ndarray]:
        return {name: has[: len(self)] for name, has in super().presence().items()}

    def draws(self, rare: bool) -> np.ndarray | None:
        """(len(self),) how often to draw each frame; None where each is drawn once an epoch."""
        weights = np.repeat(self.weights, [len(part) for part in self.datasets])[: len(self)]
        if rare:
            weights = weights * repeat_factors(self.presence(), len(self))
        return None if np.all(weights == weights[0]) else weights

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        labels = {task: label for task, label in sample.labels.items() if task in self.tasks}
        return Sample(sample.image, labels, sample.name)


def open_sources(args: DataArgs, tasks: Sequence[str], seed: int) -> tuple[Joined, Joined]:
    """Training and validation frames. Raises UserError where no data has a wanted task."""
    train: list[Dataset]
    val: list[Dataset]
    if args.data:
        train = [open_folder(word, "train", args, tasks) for word in args.data]
        val = [open_folder(word, "val", args, tasks) for word in args.data]
    else:
        known = [task for task in tasks if task in rendered.TASKS]
        count, val_count = args.limit or RENDERED_TRAIN, args.val_limit or RENDERED_VAL
        train = [rendered.RenderedRoads(count, seed, args.size, known)]
        val = [rendered.RenderedRoads(val_count, seed + VAL_SEED, args.size, known)]
    joined = (
        Joined(train, tasks, args.limit, args.data_weights),
        Joined(val, tasks, args.val_limit),
    )
    missing = [task for task in tasks if task not in joined[0].tasks]
    if missing:
        place = ", ".join(args.data) or "rendered roads"
        raise UserError(
            f"--tasks {','.join(missing)}: {place} has no labels for it"
            + near_names(missing, args.data)
        )
    if not len(joined[0]):
        raise UserError(f"{', '.join(args.data)}: no training frames")
    return joined


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
    inner = part.dataset if isinstance(part, Cached) else part
    if isinstance(inner, BDD100K):
        return str(fingerprint(inner.layout))
    return f"{type(inner).__name__} {getattr(inner, 'seed', '')} {len(inner)}"
