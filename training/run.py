"""One run: its parts put together, its epochs, its files.

The folder holds log.jsonl, state-*.safetensors (to go on), last.safetensors and best.safetensors
(to use), overlays/ and tensorboard/.
"""

import dataclasses
import errno
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import numpy as np
import torch
from rich.console import Console
from safetensors import SafetensorError
from timm.utils import ModelEmaV3

from perception import checkpoint
from perception.errors import UserError, unknown_name
from perception.model import HydraNet
from perception.zoo import build
from training.balance import BALANCERS
from training.config import Config
from training.data.augment import Augment, letterbox
from training.data.sample import Sample
from training.distributed import World, is_lost_rank, join_world
from training.init import initialise
from training.joint import join_statistics
from training.logs import Curves, JsonLog, Scores, make_progress, score_table
from training.loop import Learner, Report, decoded, evaluate, headline, tasks_of, train_epoch
from training.optim import make_optimizer
from training.overlays import overlay, write_sheet
from training.run_state import (
    Position,
    latest_state,
    random_states,
    restore,
    save_state,
    state_files,
)
from training.sampling import Frames, Judged, Order, judge, loader
from training.sources import open_sources

OVERLAYS: Final = 8
# What a resumed run may be told anew, because no number depends on it.
MAY_CHANGE: Final = ("workers", "skip_bad", "cache")


@dataclasses.dataclass(frozen=True)
class Letterboxed:
    """The transform of validation: what the deployed model sees."""

    size_hw: tuple[int, int]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return letterbox(sample, self.size_hw)


class Stop:
    """Ctrl-C and SIGTERM ask for an orderly end; a second Ctrl-C is not asked twice."""

    def __init__(self) -> None:
        self.wanted = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    @contextmanager
    def listening(self) -> Iterator["Stop"]:
        """Handles the signals inside the block."""
        main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
        before = {number: signal.signal(number, self) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Run:
    """A training run; `go` trains to the end, or to a stop that can be resumed."""

    def __init__(self, config: Config, console: Console | None = None) -> None:
        self.config = config
        self.world = join_world(config.run.device)
        self.console = console or Console(quiet=not self.world.leads)
        self.folder = Path(config.run.out)
        self.stop = Stop()
        self.learner = make_learner(config, self.world)
        self.train, self.val = open_sources(config.data, config.model.tasks, config.run.seed)
        self.order = Order(
            len(self.train), config.data.batch, config.run.seed, self.world.rank, self.world.size
        )
        self.position = Position(config=config.to_json())
        self._resume_or_start()
        self.began = time.monotonic() - self.position.seconds
        self.learner.progress = self.progress
        self.learner.stop_wanted = lambda: self.stop.wanted

    def _resume_or_start(self) -> None:
        state = latest_state(self.folder) if self.config.run.resume else None
        if not state and state_files(self.folder):
            raise UserError(
                f"--out {self.folder}: a run is there already; add --resume to go on with it, or "
                "choose another folder"
            )
        if state:
            tensors, self.position = state
            self._check_same_run()
            restore(self.learner, tensors)
            self.learner.step = self.position.step
            self.learner.bad_in_row = self.position.bad_in_row
            self.learner.bad_total = self.position.bad_total
        else:
            self.world.same_weights(self.learner.model)
            torch.manual_seed(self.config.run.seed + 10_007 * self.world.rank)
        if self.world.leads:
            self.log = JsonLog(self.folder / "log.jsonl", self.position.log_offset)
            self.curves = Curves(self.folder / "tensorboard", self.position.step)

    def _check_same_run(self) -> None:
        """Refuses to go on with other settings than the run began with, where they matter."""
        before, now = self.position.config, self.config.to_json()
        for group in ("data", "model", "optim"):
            for key in now[group]:
                was = before[group].get(key, now[group][key])
                if key not in MAY_CHANGE and was != now[group][key]:
                    flag = key.replace("_", "-")
                    raise UserError(
                        f"--resume: the run began with --{flag} {was!r}, not {now[group][key]!r}"
                    )

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.order.steps * self.config.optim.epochs

    @property
    def seconds(self) -> float:
        """How long the run has trained, interruptions not counted."""
        return time.monotonic() - self.began

    def progress(self) -> float:
        """Share of the run that is done, by steps or by --max-minutes, whichever is further."""
        limit = self.config.run.max_minutes * 60
        by_time = self.world.largest(self.seconds / limit) if limit else 0.0
        return max(self.learner.step / max(self.steps, 1), by_time)

    def go(self) -> Scores:
        """Trains; returns the last scores. Raises KeyboardInterrupt after a stop that was asked."""
        scores: Scores = {}
        with self.stop.listening(), self.disk_watched(), self.ranks_watched():
            while self.position.epoch < self.config.optim.epochs and self.progress() < 1:
                if not self.epoch():
                    raise KeyboardInterrupt
                scores = self.validate()
                self.position.epoch, self.position.batch = self.position.epoch + 1, 0
                self.learner.balancer.end_epoch()
                self.save()
        if self.world.leads:
            self.log.close()
            self.curves.close()
        return scores

    def epoch(self) -> bool:
        """Trains one epoch, or what is left of it. False after a stop (its state is saved)."""
        self.order.at(self.position.epoch, self.position.batch)
        stopped = False
        with make_progress(self.console) as bar:
            title = f"epoch {self.position.epoch + 1}/{self.config.optim.epochs}"
            line = bar.add_task(
                title, total=self.order.steps, completed=self.position.batch, losses="", speed=""
            )
            start, frames = time.monotonic(), 0

            def after(report: Report) -> bool:
                nonlocal stopped, frames
                self.position.batch += 1
                self.position.step = self.learner.step
                self.record(report)
                frames += report.frames
                speed = f"{frames / (time.monotonic() - start):.1f} img/s"
                bar.update(line, advance=1, losses=show_losses(report), speed=speed)
                stopped = report.stop
                if stopped or self.position.step % self.config.run.checkpoint_every == 0:
                    self.save()
                return not stopped and self.progress() < 1

            train_epoch(self.learner, self.batches, after)
        return not stopped

    @property
    def batches(self) -> Any:
        """The training loader; made once, so that its workers stay."""
        if not hasattr(self, "_batches"):
            args = self.config.data
            frames = Frames(
                self.train,
                Augment(args.size, zoom=args.zoom),
                self.config.run.seed,
                skip_bad=args.skip_bad,
            )
            self._batches = loader(frames, self.order, workers(args.workers), self.pinned)
        return self._batches

    @property
    def pinned(self) -> bool:
        """Whether batches go to a GPU."""
        return self.world.device.type == "cuda"

    def record(self, report: Report) -> None:
        """One line of the log and one point on each curve."""
        if not self.world.leads:
            return
        line: dict[str, Any] = {"step": report.step, "loss": report.loss, "tasks": report.parts}
        line |= {"weights": report.weights, "lr": report.rate * self.config.optim.lr}
        line |= {"grad_norm": report.norm}
        if report.bad:
            line |= {"skipped": report.bad, "frames": report.names}
            self.console.print(f"step {report.step} left out: {report.bad} not finite")
        self.log.write(line)
        points = {f"loss/{task}": sum(part.values()) for task, part in report.parts.items()}
        self.curves.add(points | {"loss": report.loss, "lr": line["lr"]}, report.step)

    def validate(self) -> Scores:
        """Scores of the averaged model, its table, overlays, and the checkpoints to use."""
        args = self.config.data
        order = Order(len(self.val), args.batch, 0, self.world.rank, self.world.size, shuffle=False)
        frames = Frames(self.val, Letterboxed(args.size), 0, skip_bad=args.skip_bad)
        count = min(workers(args.workers), 4)
        batches = loader(frames, order, count, self.pinned, judge)
        scores, seconds = evaluate(self.learner, batches)
        if self.world.leads:
            self.tell(scores, seconds)
            self.draw(next(iter(loader(frames, order, 0, False, judge))))
        return scores

    def tell(self, scores: Scores, seconds: float) -> None:
        """Prints and logs the scores; writes last.safetensors and, when it is, best."""
        model = self.learner.judged
        epoch, overall = self.position.epoch + 1, headline(model, scores)
        names = {name: task.score for name, task in tasks_of(model).items()}
        title = f"epoch {epoch}: {overall:.2f} ({len(self.val)} frames, {1 / seconds:.1f} img/s)"
        self.console.print(score_table(scores, names, title))
        self.log.write({"epoch": epoch, "step": self.position.step, "val": scores, "mean": overall})
        flat = {f"val/{t}/{k}": v for t, values in scores.items() for k, v in values.items()}
        self.curves.add(flat, self.position.step)
        self.export("last", scores)
        best = self.position.best
        if math.isfinite(overall) and (best is None or overall > best):
            self.position.best = overall
            self.export("best", scores)

    def export(self, name: str, scores: Scores) -> None:
        """A checkpoint for evaluation, export and fine-tuning."""
        meta = checkpoint.Meta(
            model=self.config.model.model,
            tasks=list(self.config.model.tasks),
            size_hw=self.config.data.size,
            scores=finite(scores),
            training=self.config.to_json() | {"step": self.position.step},
        )
        weights = self.learner.judged.state_dict()
        checkpoint.save(self.folder / f"{name}.safetensors", weights, meta)

    def draw(self, batch: Judged) -> None:
        """overlays/epoch-NNN.png from the first validation frames."""
        frames = batch.frames[:OVERLAYS]
        model = self.learner.judged.eval()
        views = {name: task.view for name, task in tasks_of(model).items()}
        outputs = decoded(model, frames.to(self.world.device), self.learner.autocast())
        pictures = [
            overlay(frame.numpy(), {name: o[row].numpy() for name, o in outputs.items()}, views)
            for row, frame in enumerate(frames)
        ]
        write_sheet(self.folder / "overlays" / f"epoch-{self.position.epoch + 1:03d}.png", pictures)

    def save(self) -> None:
        """The resume state, durable when this returns."""
        self.position.seconds = self.seconds
        self.position.bad_in_row = self.learner.bad_in_row
        self.position.bad_total = self.learner.bad_total
        states = {key: value.numpy() for key, value in random_states().items()}
        random = self.world.gather(states)
        if self.world.leads:
            self.position.log_offset = self.log.sync()
            save_state(self.folder, self.learner, self.position, random)
        self.world.wait()

    @contextmanager
    def ranks_watched(self) -> Iterator[None]:
        """Turns the loss of another rank into one line."""
        try:
            yield
        except RuntimeError as error:
            if self.world.size == 1 or not is_lost_rank(error):
                raise
            line = str(error).strip().splitlines()[0][:120]
            raise UserError(
                f"rank {self.world.rank}: another rank has ended ({line}); look at its message, "
                "then go on with --resume"
            ) from None

    @contextmanager
    def disk_watched(self) -> Iterator[None]:
        """Turns a full disk into one line; what was written before is whole."""
        try:
            yield
        except (OSError, SafetensorError) as error:
            if getattr(error, "errno", 0) != errno.ENOSPC and "os error 28" not in str(error):
                raise
            kept = [path.name for path in state_files(self.folder)]
            raise UserError(
                f"{self.folder}: the disk is full; free some space and go on with --resume "
                f"(from {kept[-1] if kept else 'the start'})"
            ) from None


def make_learner(config: Config, world: World) -> Learner:
    """Model, balancer, optimiser and averaged model, fresh, on the world's device."""
    torch.manual_seed(config.run.seed)
    args, optim = config.model, config.optim
    if optim.balance not in BALANCERS:
        raise unknown_name("balancing method", optim.balance, BALANCERS)
    model: HydraNet = build(args.model, args.tasks, args.pretrained, args.drop_path)
    if args.init:
        initialise(model, Path(args.init))
    if args.freeze:
        for name, module in model.named_children():
            if name != "tasks":
                module.requires_grad_(False)
    model.to(world.device)
    if world.size > 1:
        join_statistics(model)
    model.to(memory_format=torch.channels_last)  # a tenth faster in bf16 on a CPU
    options = {"weights": optim.task_weights} if optim.task_weights else {}
    method = "fixed" if optim.task_weights else optim.balance
    balancer = BALANCERS[method](args.tasks, config.run.seed, **options)
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
    )


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bf16: as told, or where the device has instructions for it."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def workers(wanted: int) -> int:
    """Loader processes: as told, or one a core up to eight."""
    return wanted if wanted >= 0 else min(os.cpu_count() or 1, 8)


def show_losses(report: Report) -> str:
    """Every task's loss, for the bar."""
    return "  ".join(f"{task} {sum(part.values()):.3f}" for task, part in report.parts.items())


def finite(scores: Scores) -> Scores:
    """The scores without what was not seen: JSON has no NaN."""
    return {
        task: {key: value for key, value in values.items() if math.isfinite(value)}
        for task, values in scores.items()
    }
