"""From the settings of a run to its learner (network, balancer, optimiser) and its loaders."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from timm.utils import ModelEmaV3

from perception.errors import UserError
from perception.model import HydraNet
from perception.runtime.description import View
from perception.zoo import build
from training.balance import AT_FEATURES, check_method, make_balancer
from training.config import Config
from training.cpu import for_cpu
from training.data.augment import Letterboxed, make_augmentation
from training.data.dataset import Dataset
from training.data.mosaic import make_mixing
from training.data.sampling import EvalBatch, Frames, Order, eval_collate, loader
from training.data.union import SkipBad, Union
from training.distributed import World, synchronise_batch_norm
from training.features import FeatureFrames, cache_key, collate_features, neck_outputs
from training.init import file_views, init_file, initialise
from training.logs import make_progress
from training.loop import Learner, train_mode
from training.optimiser import make_optimizer


def make_learner(
    config: Config,
    world: World,
    say: Callable[[str], None] = lambda line: None,
    views: Mapping[str, View] | None = None,
) -> Learner:
    """Network, balancer, optimiser and averaged network, untrained, on the world's device.

    `say` receives a line on what --init copied. `views` describe tasks with classes of their own.
    """
    torch.manual_seed(config.run.seed)
    args, optim = config.model, config.optim
    check_method(optim.balance)
    if optim.balance.endswith(AT_FEATURES) and world.size > 1:
        raise UserError(f"--balance {optim.balance}: with one rank only; leave {AT_FEATURES} out")
    names = list(args.tasks)
    if args.freeze:  # the file's other heads stay in the model, unchanged
        given = file_views(init_file(args.init))
        names = [*given, *(name for name in names if name not in given)]
        views = {n: view for n, view in given.items() if n not in args.tasks} | dict(views or {})
    model: HydraNet = build(args.model, names, args.pretrained, args.drop_path, views)
    if args.init:
        say(initialise(model, init_file(args.init), args.init_part))
    if args.freeze:
        model.requires_grad_(False)
        for name in args.tasks:
            model.tasks[name].requires_grad_(True)
    model.to(world.device)
    if world.device.type == "cpu":
        for_cpu(model)
    synchronise_batch_norm(world, model.trunk, model.neck)
    model.to(memory_format=torch.channels_last)  # 10 % faster in bf16 on a CPU
    options = {"weights": optim.task_weights} if optim.task_weights else {}
    method = "fixed" if optim.task_weights else optim.balance
    balancer = make_balancer(method, args.tasks, config.run.seed, **options)
    optimizer = make_optimizer(model, balancer, optim.lr, optim.weight_decay, optim.layer_decay)
    ema = ModelEmaV3(model, decay=optim.ema, use_warmup=True) if optim.ema else None
    return Learner(
        model,
        balancer,
        optimizer,
        world,
        ema,
        bf16=use_bf16(optim.precision, world.device),
        clip=optim.clip,
        warmup=optim.warmup,
        max_bad=config.run.max_bad,
        only=args.tasks,
    )


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bf16; "auto": where the device has instructions for it."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Loaders:
    """Loaders of a run: augmented frames or cached features to train on, whole ones to validate."""

    def __init__(self, config: Config, learner: Learner, folder: Path, console: Console) -> None:
        self.config, self.learner = config, learner
        self.folder, self.console = folder, console
        self.augment = make_augmentation(config.data)
        self.mixing = make_mixing(config.data, config.optim.epochs)

    def training(self, frames: Union, order: Order) -> Any:
        """The training loader; its workers live as long as it does."""
        args, seed = self.config.data, self.config.run.seed
        count = worker_count(args.workers)
        if self.config.model.freeze:
            return loader(self.features(frames), order, count, self.pinned, collate_features)
        whole = self.readable(frames)
        seen = Frames(whole, self.augment, seed, self.mixing, order.weights)
        return loader(seen, order, count, self.pinned)

    def validation(self, frames: Union) -> Iterable[EvalBatch]:
        """This rank's share of the frames, each once."""
        args, world = self.config.data, self.learner.world
        order = Order(len(frames), args.batch, 0, world.rank, world.size, shuffle=False)
        count = min(worker_count(args.workers), 4)
        return loader(self.letterboxed(frames), order, count, self.pinned, eval_collate)

    def first_validation_batch(self, frames: Union) -> EvalBatch:
        """Read in this process."""
        order = Order(len(frames), self.config.data.batch, 0, shuffle=False)
        return next(iter(loader(self.letterboxed(frames), order, 0, False, eval_collate)))

    def letterboxed(self, frames: Union) -> Frames:
        """The frames without augmentation."""
        return Frames(self.readable(frames), Letterboxed(self.config.data.size), 0)

    def readable(self, frames: Union) -> Dataset:
        """The frames; with --skip-bad, unreadable ones are counted and replaced."""
        share = self.config.data.skip_bad
        return SkipBad(frames, share) if share else frames

    def features(self, frames: Union) -> FeatureFrames:
        """The frozen trunk's features of every training frame, computed where not on disk yet."""
        args, world = self.config.data, self.learner.world
        folder = Path(args.cache) if args.cache else self.folder / "features"
        key = cache_key(self.learner, args, frames.tasks, frames.fingerprints())
        cached = FeatureFrames(self.letterboxed(frames), folder, key)
        mine = range(world.rank, len(frames), world.size)
        with make_progress(self.console) as bar:
            line = bar.add_task("features", total=len(mine), losses="", speed="")
            cached.fill(mine, neck_outputs(self.learner), lambda: bar.advance(line))
        train_mode(self.learner)
        world.wait()
        return cached

    @property
    def pinned(self) -> bool:
        """Whether batches go to a GPU and are page-locked for it."""
        return self.learner.world.device.type == "cuda"


def worker_count(wanted: int) -> int:
    """Loader processes for --workers; -1: one per core, at most 8."""
    return wanted if wanted >= 0 else min(os.cpu_count() or 1, 8)
