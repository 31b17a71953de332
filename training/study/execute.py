"""The queue: trials that are not in the store yet are trained, here or on the devices given."""

import gc
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from perception.errors import UserError
from training.data.augment import letterbox
from training.data.sample import Batch, collate
from training.run import Run
from training.study.affinity import probe
from training.study.plan import Trial
from training.study.store import Store

Record = dict[str, Any]


class StudyRun(Run):
    """A run that after each epoch looks at what its tasks do to each other. Under equal weights
    only: a look costs a forward pass a task and a pair of tasks, and affinities are of tasks."""

    def validate(self) -> Any:
        scores = super().validate()
        plain = self.config.optim.balance == "equal"
        if plain and len(self.config.model.tasks) > 1 and self.learner.shared:
            self.log.write({"probe": probe(self.learner, self.probed())})
        return scores

    def probed(self) -> Batch:
        """The first training frames as they are: the same batch at every look."""
        args = self.config.data
        count = min(args.batch, len(self.train))
        samples = [letterbox(self.train[index], args.size) for index in range(count)]
        return collate(samples).to(self.world.device)


def train_trial(trial: Trial, folder: Path, device: str = "auto") -> Record:
    """Trains (or goes on training) one trial and returns its record.

    A mistake of the user's making becomes a record with `failed`; other errors are raised.
    """
    try:
        return _train(trial, folder, device)
    finally:
        gc.collect()  # a run holds itself in a cycle, and its loader's processes with it


def _train(trial: Trial, folder: Path, device: str) -> Record:
    place = folder / "runs" / trial.key
    record: Record = {"key": trial.key, **trial.to_json()}
    try:
        torch.manual_seed(trial.seed)
        resume = any(place.glob("state-*.safetensors"))
        run = StudyRun(trial.config(str(place), resume, device), Console(quiet=True))
        if run.position.epoch < trial.budget.epochs:
            run.go()
    except UserError as error:
        return record | {"failed": str(error)}
    log = read_log(place / "log.jsonl")
    for state in place.glob("state-*.safetensors"):
        state.unlink()
    return record | {
        "scores": log["val"][-1]["val"] if log["val"] else {},
        "curve": [
            {"step": line["step"], "val": headlines(run, line["val"])} for line in log["val"]
        ],
        "headline": {name: task.score for name, task in run.learner.model.tasks.items()},
        "probes": log["probes"],
        "losses": thinned(log["steps"]),
        "steps": run.learner.step,
        "left_out": run.learner.bad_total,
        "seconds": run.position.seconds,
        "parameters": sum(p.numel() for p in run.learner.model.parameters()),
        "device": torch.cuda.get_device_name() if run.world.device.type == "cuda" else "cpu",
        "finished": time.time(),
    }


def headlines(run: Run, scores: dict[str, dict[str, float]]) -> dict[str, float | None]:
    """The headline score of every task."""
    tasks = run.learner.model.tasks
    return {name: scores.get(name, {}).get(task.score) for name, task in tasks.items()}


def read_log(path: Path) -> dict[str, list[Any]]:
    """The validation lines, the probes and the step losses of a run's log."""
    found: dict[str, list[Any]] = {"val": [], "probes": [], "steps": []}
    for line in path.read_text().splitlines():
        record = json.loads(line)
        if "val" in record:
            found["val"].append(record)
        elif "probe" in record:
            found["probes"].append(record["probe"])
        elif "loss" in record:
            found["steps"].append((record["step"], record["loss"]))
    return found


def thinned(points: Sequence[tuple[int, float | None]], most: int = 100) -> list[Any]:
    """At most `most` of the points, evenly."""
    every = max(1, -(-len(points) // most))
    return [list(point) for point in points[::every]]


def work(
    trials: Sequence[Trial], folder: Path, devices: Sequence[str], say: Callable[[str], None]
) -> None:
    """Runs all trials that have no record, or only a failed one; stores each as it ends."""
    store = Store(folder)
    done = {key for key, record in store.read().items() if "failed" not in record}
    todo = [trial for trial in trials if trial.key not in done]
    if len(todo) < len(trials):
        say(f"{len(trials) - len(todo)} of {len(trials)} runs are in {store.path} already.")
    for number, (trial, record) in enumerate(results(todo, folder, devices), 1):
        store.add(record)
        outcome = record.get("failed") or f"{record['seconds']:.0f} s  " + "  ".join(
            f"{task} {value:.2f}"
            for task, value in record["curve"][-1]["val"].items()
            if value is not None
        )
        say(f"[{number}/{len(todo)}] {trial.row.name()} seed {trial.seed}: {outcome}")


def results(
    trials: Sequence[Trial], folder: Path, devices: Sequence[str]
) -> Iterator[tuple[Trial, Record]]:
    """Each trial with its record, as they end: one after the other, or one a device at a time."""
    if len(devices) <= 1:
        for trial in trials:
            yield trial, train_trial(trial, folder, devices[0] if devices else "auto")
        return
    context = multiprocessing.get_context("spawn")
    free = context.Queue()
    for device in devices:
        free.put(device)
    with ProcessPoolExecutor(len(devices), context, _take_device, (free,)) as pool:
        waiting = {pool.submit(_train_on_own, trial, folder): trial for trial in trials}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


def _take_device(free: Any) -> None:
    os.environ["STUDY_DEVICE"] = free.get()


def _train_on_own(trial: Trial, folder: Path) -> Record:
    return train_trial(trial, folder, os.environ["STUDY_DEVICE"])
