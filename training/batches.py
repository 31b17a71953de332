"""Loaders of a run: frames or cached features to train on, whole frames to validate on."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console

from training.config import Config
from training.data.augment import Letterboxed, make_augmentation
from training.data.dataset import Dataset
from training.data.mosaic import make_mixing
from training.data.sampling import Frames, Judged, Order, judge, loader
from training.data.union import SkipBad, Union
from training.features import FeatureFrames, cache_key, collate_features, neck_outputs
from training.logs import make_progress
from training.loop import Learner, train_mode


class Batches:
    """What a run reads, from its configuration."""

    def __init__(self, config: Config, learner: Learner, folder: Path, console: Console) -> None:
        self.config, self.learner = config, learner
        self.folder, self.console = folder, console
        self.augment = make_augmentation(config.data)
        self.mixing = make_mixing(config.data, config.optim.epochs)

    def training(self, frames: Union, order: Order) -> Any:
        """The training loader. Its workers live as long as it does."""
        args, seed = self.config.data, self.config.run.seed
        count = workers(args.workers)
        if self.config.model.freeze:
            return loader(self.features(frames), order, count, self.pinned, collate_features)
        whole = self.readable(frames)
        seen = Frames(whole, self.augment, seed, self.mixing, order.weights)
        return loader(seen, order, count, self.pinned)

    def validation(self, frames: Union) -> Iterable[Judged]:
        """Every frame once, this rank's share of them."""
        args, world = self.config.data, self.learner.world
        order = Order(len(frames), args.batch, 0, world.rank, world.size, shuffle=False)
        return loader(self.whole(frames), order, min(workers(args.workers), 4), self.pinned, judge)

    def first(self, frames: Union) -> Judged:
        """The first validation batch, read here."""
        order = Order(len(frames), self.config.data.batch, 0, shuffle=False)
        return next(iter(loader(self.whole(frames), order, 0, False, judge)))

    def whole(self, frames: Union) -> Frames:
        """The frames letterboxed, not augmented."""
        return Frames(self.readable(frames), Letterboxed(self.config.data.size), 0)

    def readable(self, frames: Union) -> Dataset:
        """The frames, with --skip-bad through a guard that counts the bad ones."""
        share = self.config.data.skip_bad
        return SkipBad(frames, share) if share else frames

    def features(self, frames: Union) -> FeatureFrames:
        """Every training frame's features, computed by the frozen trunk where not yet on disk."""
        args, world = self.config.data, self.learner.world
        folder = Path(args.cache) if args.cache else self.folder / "features"
        key = cache_key(self.learner, args, frames.tasks, frames.fingerprints())
        cached = FeatureFrames(self.whole(frames), folder, key)
        mine = range(world.rank, len(frames), world.size)
        with make_progress(self.console) as bar:
            line = bar.add_task("features", total=len(mine), losses="", speed="")
            cached.fill(mine, neck_outputs(self.learner), lambda: bar.advance(line))
        train_mode(self.learner)
        world.wait()
        return cached

    @property
    def pinned(self) -> bool:
        """Whether batches go to a GPU."""
        return self.learner.world.device.type == "cuda"


def workers(wanted: int) -> int:
    """Loader processes: as told, or one a core up to eight."""
    return wanted if wanted >= 0 else min(os.cpu_count() or 1, 8)
