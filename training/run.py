"""One training run: its epochs, its validation, its files.

The folder holds config.json, log.jsonl, state-*.safetensors (to resume), last.safetensors and
best.safetensors (to use), overlays/, run.lock and what the trackers write.
"""

import math
import time
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from rich.console import Console

from perception import checkpoint
from perception.errors import UserError, some_of
from perception.tasks import check_tasks
from training import resume
from training.affinity import text_of
from training.config import Config
from training.data.augment import make_augmentation
from training.data.classes import views_of
from training.data.frames import Frames
from training.data.sample import Batch, collate
from training.data.sampling import Order, training_loader, worker_count
from training.data.sources import open_sources
from training.distributed import World, join_world
from training.evaluation.predictor import TorchPredictor
from training.evaluation.scores import evaluate, headline, stored_scores
from training.learner import TrainState, make_learner
from training.logs import EpochProgress, JsonLog, Overlays, Scores, score_table, write_sheet
from training.loop import StepReport, totals, train_epoch
from training.regrouping import Regrouping
from training.stops import Stop, early_ends, lost_rank
from training.trackers import Trackers, check_trackers

MOST_THREADS: Final = 4  # that read and score validation frames


class Run:
    """A training run; `go` trains to the end, or to a stop that can be resumed.

    Raises UserError where --out holds another run, or none to resume.
    """

    protocols: tuple[str, ...] = ("bdd",)  # of the validation

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
        self.train, self.val = self.frames()
        remarks: dict[str, list[str]] = {}
        for split, frames in (("train", self.train), ("val", self.val)):
            for line in frames.remarks():
                remarks.setdefault(line, []).append(split)
        for line, splits in remarks.items():
            self.console.print(f"{' and '.join(splits)}: {line}", markup=False)
        views = views_of(self.train.classes)
        self.learner = make_learner(config, self.world, self.console.print, views)
        count, batch, seed = len(self.train), config.data.batch, config.run.seed
        weights = self.train.draws(config.data.repeat_rare)
        self.order = Order(count, batch, seed, self.world.rank, self.world.size, weights)
        with lost_rank(self.world):
            self._resume_or_start()
        self.regrouping = Regrouping(self.learner, self.steps)
        self.began = time.monotonic() - self.state.seconds

    @property
    def state(self) -> TrainState:
        """How far the run is."""
        return self.learner.state

    def frames(self) -> tuple[Frames, Frames]:
        """Training and validation frames."""
        return open_sources(self.config.data, self.config.model.tasks, self.config.run.seed)

    def _resume_or_start(self) -> None:
        found = resume.state_to_resume(self.folder, self.config.run.resume)
        if not self.world.agree(found[1].step if found else -1):
            raise UserError(
                f"--out {self.folder}: the ranks find different states there; all machines must "
                "see the same folder"
            )
        if self.world.leads:
            self.lock = resume.lock(self.folder)
        data = {"train": self.train.contents(), "val": self.val.contents()}
        if found:
            tensors, state = found
            finished = state.epoch >= state.config["optim"]["epochs"]
            resume.check_same_settings(state.config, self.config, finished)
            resume.check_same_data(state.data, data)
            self.learner.state = state
            resume.restore(self.learner, tensors)
        else:
            self.world.same_weights(self.learner.model)
            torch.manual_seed(self.config.run.seed + 10_007 * self.world.rank)
        self.state.config, self.state.data = self.config.to_json(), data
        if self.world.leads:
            self.log = JsonLog(self.folder / "log.jsonl", self.state.log_offset)
            names, settings = self.config.run.trackers, self.config.to_json()
            self.trackers = Trackers(names, self.folder, settings, self.state.step)

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
        return max(self.state.step / max(self.steps, 1), by_time)

    def go(self) -> Scores:
        """Trains; returns the last scores. Raises KeyboardInterrupt after a requested stop."""
        with self.stop.listening(), early_ends(self.folder, self.world, self.stop):
            try:
                scores = self.epochs()
                if self.world.leads:
                    resume.drop_states(self.folder, 1)
            finally:
                self.close()
        return scores

    def close(self) -> None:
        """Ends the loader, and closes the log, the trackers and the lock."""
        # Loader processes alive at interpreter exit would print tracebacks.
        self.__dict__.pop("loaded", None)
        if self.world.leads:
            self.log.close()
            self.trackers.close()
            self.lock.close()

    def epochs(self) -> Scores:
        """Trains, validates and saves epoch after epoch."""
        scores: Scores = {}
        while self.state.epoch < self.config.optim.epochs:
            if self.world.largest(self.own_progress()) >= 1:
                break
            if not self.epoch():
                raise KeyboardInterrupt
            scores = self.validate()
            self.state.epoch, self.state.batch = self.state.epoch + 1, 0
            self.learner.balancer.end_epoch()
            self.save()
        return scores

    def epoch(self) -> bool:
        """Trains one epoch, or the rest of it. False after a stop (the state is saved)."""
        state = self.state
        self.order.at(state.epoch, state.batch)
        stopped = False
        title = f"epoch {state.epoch + 1}/{self.config.optim.epochs}"
        with EpochProgress(self.console, title, self.order.steps, state.batch) as progress:

            def after(report: StepReport) -> bool:
                nonlocal stopped
                state.batch += 1
                self.record(report)
                if self.regrouping.due():
                    self.regroup()
                progress.step(report.frames, totals(report.parts))
                stopped = report.stop
                if stopped or state.step % self.config.run.checkpoint_every == 0:
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
            names = some_of(report.names, 4)
            self.console.print(f"step {report.step} skipped: {report.bad} not finite ({names})")
        self.log.write(line)
        points = {f"loss/{task}": value for task, value in totals(report.parts).items()}
        self.trackers.log(points | {"loss": report.loss, "lr": line["lr"]}, report.step)

    def regroup(self) -> None:
        """Probes the tasks' affinities on random training frames; logs them and splits."""
        count = min(self.config.data.batch, len(self.train))
        rng = np.random.default_rng((self.config.run.seed, self.state.step))
        found = self.regrouping.step(self.probe_batch(rng.choice(len(self.train), count, False)))
        self.log.write({"regrouping": found})
        if found["split"]:
            self.console.print(f"step {self.state.step}: {text_of(found['groups'])}", markup=False)

    def probe_batch(self, indices: Iterable[int]) -> Batch:
        """These training frames, not augmented."""
        samples = [self.train[index].letterbox(self.config.data.size) for index in indices]
        return collate(samples).to(self.world.device)

    def validate(self) -> Scores:
        """Scores the averaged model as eval-bdd does; writes the table, overlays, and the
        checkpoints to use."""
        args, learner = self.config.data, self.learner
        learner.average_statistics()
        predictor = TorchPredictor(learner.eval_model, self.config.model.model, args.size)
        overlays, start = Overlays(args.size), time.monotonic()
        result = evaluate(
            predictor,
            self.val,
            protocols=self.protocols,
            threads=max(1, min(worker_count(args.workers), MOST_THREADS)),
            skip_bad=args.skip_bad > 0,
            slices=False,
            sinks=[overlays.add],
            console=self.console,
            world=self.world,
        )
        skipped = result["skipped"]
        if len(skipped) > args.skip_bad * len(self.val):
            raise UserError(
                f"{len(skipped)} of {len(self.val)} validation frames are bad, more than "
                f"--skip-bad allows ({args.skip_bad:.1%}); the last: {skipped[-1]}"
            )
        scores: Scores = result["scores"].get("bdd", {})
        if self.world.leads:
            if skipped:
                self.console.print(f"{len(skipped)} validation frames skipped: {skipped[0]}")
            self.report(result, result["frames"] / (time.monotonic() - start))
            sheet = self.folder / "overlays" / f"epoch-{self.state.epoch + 1:03d}.png"
            write_sheet(sheet, overlays.pictures)
        return scores

    def report(self, result: Mapping[str, Any], speed: float) -> None:
        """Prints and logs the scores; writes last.safetensors, and best.safetensors if it is."""
        scores, skipped = result["scores"].get("bdd", {}), result["skipped"]
        stored, model = stored_scores(result), self.learner.eval_model
        epoch, overall = self.state.epoch + 1, headline(model.tasks.items(), scores)
        names = {name: task.score for name, task in model.tasks.items()}
        shown = f"{overall:.2f}" if math.isfinite(overall) else "no scores"
        count = len(self.val) - len(skipped)
        title = f"epoch {epoch}: {shown} ({count} frames, {speed:.1f} frames/s)"
        self.console.print(score_table(scores, names, title))
        line: dict[str, Any] = {"labelled": self.train.counts(), "epoch": epoch}
        line |= {"step": self.state.step, "val": scores, "mean": overall}
        self.log.write(line | ({"skipped": skipped} if skipped else {}))
        flat = {f"val/{t}/{k}": v for t, values in scores.items() for k, v in values.items()}
        self.trackers.log(flat, self.state.step)
        self.export("last", stored)
        best = self.state.best
        if math.isfinite(overall) and (best is None or overall > best):
            self.state.best = overall
            self.export("best", stored)

    def export(self, name: str, scores: Scores) -> None:
        """A checkpoint for evaluation, export and fine-tuning."""
        meta = checkpoint.Meta(
            model=self.config.model.model,
            tasks=list(self.learner.model.tasks),
            size_hw=self.config.data.size,
            scores=scores,
            training=self.config.to_json() | {"step": self.state.step},
            classes=checkpoint.own_classes(self.learner.model),
        )
        weights = self.learner.eval_model.state_dict()
        path = self.folder / f"{name}.safetensors"
        checkpoint.save(path, weights, meta, half=self.config.run.half)

    def save(self) -> None:
        """Writes the resume state; it is on disk when this returns."""
        self.state.seconds = self.seconds
        self.learner.average_statistics()
        random = self.world.gather(resume.random_states())
        if self.world.leads:
            self.state.log_offset = self.log.sync()
            resume.save_state(self.folder, self.learner, random)
        self.world.wait()
