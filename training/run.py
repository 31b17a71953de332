"""One training run: its epochs, its validation, its files.

The folder holds config.json, log.jsonl, state-*.safetensors (to resume), last.safetensors and
best.safetensors (to use), overlays/ and what the trackers write.
"""

import math
import time
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console

from perception import checkpoint
from perception.errors import UserError
from perception.tasks import check_tasks
from training.config import Config
from training.data.augment import make_augmentation
from training.data.classes import views_of
from training.data.sampling import (
    EvalBatch,
    Order,
    first_validation_batch,
    training_loader,
    validation_loader,
)
from training.data.sources import open_sources
from training.distributed import World, join_world
from training.learner import make_learner
from training.logs import JsonLog, Scores, make_progress, overlay, score_table, write_sheet
from training.loop import StepReport, train_epoch
from training.nonfinite import name_some
from training.resume import (
    Position,
    check_same_settings,
    random_states,
    restore,
    save_state,
    state_to_resume,
)
from training.stops import Stop, early_ends, lost_rank
from training.trackers import Trackers, check_trackers
from training.validation import decoded, evaluate, headline

OVERLAYS: Final = 8


class Run:
    """A training run; `go` trains to the end, or to a stop that can be resumed.

    Raises UserError where --out holds another run, or none to resume.
    """

    def __init__(
        self, config: Config, console: Console | None = None, world: World | None = None
    ) -> None:
        self.config = config
        self.world = world or join_world(config.run.device)
        self.console = console or Console(quiet=not self.world.leads)
        self.folder = Path(config.run.out)
        self.stop = Stop()
        check_trackers(config.run.trackers)
        check_tasks(config.model.tasks)
        make_augmentation(config.data)  # raises for an unknown name, before data is opened
        self.train, self.val = open_sources(config.data, config.model.tasks, config.run.seed)
        for split, frames in (("train", self.train), ("val", self.val)):
            for line in frames.remarks():
                self.console.print(f"{split}: {line}", markup=False)
        views = views_of(self.train.classes)
        self.learner = make_learner(config, self.world, self.console.print, views)
        self.order = Order(
            len(self.train),
            config.data.batch,
            config.run.seed,
            self.world.rank,
            self.world.size,
            weights=self.train.draws(config.data.repeat_rare),
        )
        self.position = Position(config=config.to_json())
        with lost_rank(self.world):
            self._resume_or_start()
        self.began = time.monotonic() - self.position.seconds

    def _resume_or_start(self) -> None:
        state = state_to_resume(self.folder, self.config.run.resume)
        if not self.world.agree(state[1].step if state else -1):
            raise UserError(
                f"--out {self.folder}: the ranks find different states there; all machines must "
                "see the same folder"
            )
        if state:
            tensors, self.position = state
            before = self.position.config
            finished = self.position.epoch >= before["optim"]["epochs"]
            check_same_settings(before, self.config, finished)
            self.position.config = self.config.to_json()
            restore(self.learner, tensors)
            self.learner.step = self.position.step
            self.learner.bad_in_row = self.position.bad_in_row
            self.learner.bad_total = self.position.bad_total
        else:
            self.world.same_weights(self.learner.model)
            torch.manual_seed(self.config.run.seed + 10_007 * self.world.rank)
        if self.world.leads:
            self.log = JsonLog(self.folder / "log.jsonl", self.position.log_offset)
            names, settings = self.config.run.trackers, self.config.to_json()
            self.trackers = Trackers(names, self.folder, settings, self.position.step)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.order.steps * self.config.optim.epochs

    @property
    def seconds(self) -> float:
        """Training time so far, interruptions not counted."""
        return time.monotonic() - self.began

    def own_progress(self) -> float:
        """Completed share of the run, by steps or by --max-minutes, whichever is further.

        By this rank's clock; the training loop averages it over the ranks.
        """
        limit = self.config.run.max_minutes * 60
        by_time = self.seconds / limit if limit else 0.0
        return max(self.learner.step / max(self.steps, 1), by_time)

    def progress(self) -> float:
        """The largest of the ranks' shares; all ranks must call it."""
        return self.world.largest(self.own_progress())

    def go(self) -> Scores:
        """Trains; returns the last scores. Raises KeyboardInterrupt after a requested stop."""
        with self.stop.listening(), early_ends(self.folder, self.world):
            try:
                scores = self.epochs()
                if not self.config.run.keep_state:
                    self.save(small=True)
            finally:
                # Loader processes alive at interpreter exit would print tracebacks.
                self.__dict__.pop("loaded", None)
                if self.world.leads:
                    self.log.close()
                    self.trackers.close()
        return scores

    def epochs(self) -> Scores:
        """Trains, validates and saves epoch after epoch."""
        scores: Scores = {}
        while self.position.epoch < self.config.optim.epochs and self.progress() < 1:
            if not self.epoch():
                raise KeyboardInterrupt
            scores = self.validate()
            self.position.epoch, self.position.batch = self.position.epoch + 1, 0
            self.learner.balancer.end_epoch()
            self.save()
        return scores

    def epoch(self) -> bool:
        """Trains one epoch, or the rest of it. False after a stop (the state is saved)."""
        self.order.at(self.position.epoch, self.position.batch)
        stopped = False
        with make_progress(self.console, "losses", "speed") as bar:
            title = f"epoch {self.position.epoch + 1}/{self.config.optim.epochs}"
            line = bar.add_task(
                title, total=self.order.steps, completed=self.position.batch, losses="", speed=""
            )
            start, frames = time.monotonic(), 0

            def after(report: StepReport) -> bool:
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
                return not stopped and report.progress < 1

            train_epoch(
                self.learner, self.loaded, after, self.own_progress, lambda: self.stop.wanted
            )
        return not stopped

    @cached_property
    def loaded(self) -> Any:
        """The training loader; made once, so that its workers persist over epochs."""
        args, seed = self.config.data, self.config.run.seed
        return training_loader(self.train, self.order, args, seed, self.world.on_gpu)

    def record(self, report: StepReport) -> None:
        """Logs a training step."""
        if not self.world.leads:
            return
        line: dict[str, Any] = {"step": report.step, "loss": report.loss, "tasks": report.parts}
        line |= {"weights": report.weights, "lr": report.rate * self.config.optim.lr}
        line |= {"grad_norm": report.norm}
        if report.bad:
            line |= {"skipped": report.bad, "frames": report.names}
            names = name_some(report.names)
            self.console.print(f"step {report.step} skipped: {report.bad} not finite ({names})")
        self.log.write(line)
        points = {f"loss/{task}": sum(part.values()) for task, part in report.parts.items()}
        self.trackers.log(points | {"loss": report.loss, "lr": line["lr"]}, report.step)

    def validate(self) -> Scores:
        """Scores the averaged model; writes the table, overlays, and the checkpoints to use."""
        args, world = self.config.data, self.world
        frames = validation_loader(self.val, args, world.rank, world.size, world.on_gpu)
        scores, seconds = evaluate(self.learner, frames)
        if self.world.leads:
            self.report(scores, seconds)
            self.draw(first_validation_batch(self.val, args))
        return scores

    def report(self, scores: Scores, seconds: float) -> None:
        """Prints and logs the scores; writes last.safetensors, and best.safetensors if it is."""
        model = self.learner.eval_model
        epoch, overall = self.position.epoch + 1, headline(model.tasks.items(), scores)
        names = {name: task.score for name, task in model.tasks.items()}
        title = f"epoch {epoch}: {overall:.2f} ({len(self.val)} frames, {1 / seconds:.1f} img/s)"
        self.console.print(score_table(scores, names, title))
        self.log.write(
            {
                "labelled": self.train.counts(),
                "epoch": epoch,
                "step": self.position.step,
                "val": scores,
                "mean": overall,
            }
        )
        flat = {f"val/{t}/{k}": v for t, values in scores.items() for k, v in values.items()}
        self.trackers.log(flat, self.position.step)
        self.export("last", scores)
        best = self.position.best
        if math.isfinite(overall) and (best is None or overall > best):
            self.position.best = overall
            self.export("best", scores)

    def export(self, name: str, scores: Scores) -> None:
        """A checkpoint for evaluation, export and fine-tuning."""
        meta = checkpoint.Meta(
            model=self.config.model.model,
            tasks=list(self.learner.model.tasks),
            size_hw=self.config.data.size,
            scores=finite(scores),
            training=self.config.to_json() | {"step": self.position.step},
            classes=checkpoint.own_classes(self.learner.model),
        )
        weights = self.learner.eval_model.state_dict()
        path = self.folder / f"{name}.safetensors"
        checkpoint.save(path, weights, meta, half=self.config.run.half)

    def draw(self, batch: EvalBatch) -> None:
        """overlays/epoch-NNN.png from the first validation frames."""
        frames = batch.frames[:OVERLAYS]
        model = self.learner.eval_model.eval()
        views = {name: task.view for name, task in model.tasks.items()}
        outputs = decoded(model, frames.to(self.world.device), self.learner.autocast())
        pictures = [
            overlay(frame.numpy(), {name: o[row].numpy() for name, o in outputs.items()}, views)
            for row, frame in enumerate(frames)
        ]
        write_sheet(self.folder / "overlays" / f"epoch-{self.position.epoch + 1:03d}.png", pictures)

    def save(self, small: bool = False) -> None:
        """Writes the resume state; it is on disk when this returns. `small`: see `save_state`."""
        self.position.seconds = self.seconds
        self.position.bad_in_row = self.learner.bad_in_row
        self.position.bad_total = self.learner.bad_total
        self.learner.average_statistics()
        states = {key: value.numpy() for key, value in random_states().items()}
        random = self.world.gather(states)
        if self.world.leads:
            self.position.log_offset = self.log.sync()
            save_state(self.folder, self.learner, self.position, random, small)
        self.world.wait()


def show_losses(report: StepReport) -> str:
    """Every task's loss, for the progress bar."""
    return "  ".join(f"{task} {sum(part.values()):.3f}" for task, part in report.parts.items())


def finite(scores: Scores) -> Scores:
    """The scores without NaN, which JSON does not have."""
    return {
        task: {key: value for key, value in values.items() if math.isfinite(value)}
        for task, values in scores.items()
    }
