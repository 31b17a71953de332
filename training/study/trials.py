"""The queue of trials: results.jsonl, and the training of what it does not hold yet."""

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from rich.console import Console
from torch import nn

from perception.errors import UserError
from perception.sharing.regroup import Regroup
from perception.sharing.sparse import Sparse
from perception.sizes import format_size
from training.affinity import probe
from training.config import Config
from training.data.frames import Frames
from training.loop import StepReport
from training.run import Run
from training.study.gain import score_of
from training.study.plan import Trial, command
from training.study.pruning import masked_start, needs_masks

Record = dict[str, Any]
Log = Callable[[str], Any]

HELD_OUT: Final = 400  # training frames that a search of settings is scored on, at most a fifth
NEWS_SECONDS: Final = 30.0  # between two lines on the progress of a run


class Store:
    """results.jsonl: one finished trial per line; of one key the last record counts."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "results.jsonl"

    def read(self) -> dict[str, Record]:
        """Records by key, in the order in which they were finished."""
        found: dict[str, Record] = {}
        text = self.path.read_text() if self.path.is_file() else ""
        for line in text.splitlines():
            try:
                record = json.loads(line)
                found[record["key"]] = record
            except (ValueError, KeyError, TypeError):
                continue  # truncated when the process was killed: the trial is run again
        return found

    def add(self, record: Record) -> None:
        """Appends a record; it is on the disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torn = self.path.is_file() and self.path.read_bytes()[-1:] not in (b"", b"\n")
        with open(self.path, "a") as file:
            file.write("\n" * torn + json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())


class StudyRun(Run):
    """A run that says how far it is, is also scored under the panoptic protocol (see gain.py) and,
    with `probing`, logs its tasks' affinities."""

    protocols = ("bdd", "panoptic")
    probing = False
    say: Log = staticmethod(lambda line: None)
    said = 0.0

    def record(self, report: StepReport) -> None:
        """Logs a training step, and says every half minute and at the end how far the run is."""
        super().record(report)
        done, whole, now = report.step + 1, max(self.steps, 1), time.monotonic()
        if done >= whole or now - self.said > NEWS_SECONDS:
            share = max(self.own_progress(), done / whole)
            left = timedelta(seconds=round(self.seconds * (1 - share) / share))
            self.said = now
            self.say(f"step {done}/{whole}, {left} left")

    def report(self, result: Mapping[str, Any], speed: float) -> None:
        """Logs the scores under the panoptic protocol too."""
        super().report(result, speed)
        self.log.write({"panoptic": result["scores"].get("panoptic", {})})

    def validate(self) -> Any:
        """The validation of the run, and the affinities."""
        scores = super().validate()
        if self.probing and len(self.config.model.tasks) > 1 and self.learner.shared:
            # The same frames in every probe.
            first = range(min(self.config.data.batch, len(self.train)))
            self.log.write({"probe": probe(self.learner, self.probe_batch(first))})
        return scores


class SearchRun(StudyRun):
    """A run that is scored on training frames that it does not train on."""

    def frames(self) -> tuple[Frames, Frames]:
        """Training frames without every n-th, and those."""
        every, _ = super().frames()
        step = max(5, len(every) // HELD_OUT)
        held = np.arange(len(every)) % step == step - 1
        if not held.any():
            raise UserError(f"--rates: {len(every)} training frames are too few to hold any out")
        return self.some(every, ~held), self.some(every, held)

    def some(self, every: Frames, chosen: np.ndarray) -> Frames:
        """The frames where `chosen`, (n,) bool, is true."""
        parts = [chosen[every.part == number] for number in range(len(every.choices))]
        pairs = zip(every.choices, parts, strict=True)
        choices = [c._replace(rows=c.rows[own], weights=c.weights[own]) for c, own in pairs]
        return Frames(choices, self.config.model.tasks)


def run_folder(folder: Path, trial: Trial) -> Path:
    """Where a trial's checkpoints and log are."""
    return folder / "runs" / trial.key


def train_trial(trial: Trial, folder: Path, device: str = "auto", say: Log = print) -> Record:
    """Trains one trial, or resumes it, and returns its record.

    A UserError becomes a record with `failed`; other errors are raised.
    """
    place = run_folder(folder, trial)
    record: Record = {"key": trial.key, **trial.to_json()}
    kind = SearchRun if trial.held_out else StudyRun
    try:
        resume = any(place.glob("state-*.safetensors"))
        config = started(trial, folder, device, say, trial.config(str(place), resume, device))
        record["command"] = command(config, f"runs/{trial.key}")
        torch.manual_seed(trial.seed)
        run = kind(config, Console(quiet=True))
        run.say = lambda line: say(f"  {trial.row.name()} seed {trial.seed}: {line}")
        if run.state.epoch < config.optim.epochs:
            # Affinities are between the tasks' own gradients, so only under equal weights.
            run.probing = trial.probe and trial.row.balance == "equal"
            run.go()
    except UserError as error:
        return record | {"failed": str(error)}
    log = read_log(place / "log.jsonl")
    for state in place.glob("state-*.safetensors"):
        state.unlink()
    trunk: nn.Module = run.learner.model.trunk
    parameters = run.learner.model.parameters()
    unused = trunk.unused() if isinstance(trunk, Sparse | Regroup) else 0
    return record | log | {
        "size": format_size(trial.base.data.size),
        "steps": run.state.step,
        "frames": run.state.step * trial.base.data.batch,
        "left_out": run.state.bad_total,
        "seconds": run.state.seconds,
        "parameters": sum(p.numel() for p in parameters) - unused,
        "device": torch.cuda.get_device_name() if run.world.device.type == "cuda" else "cpu",
        "finished": time.time(),
    }  # fmt: skip


def started(trial: Trial, folder: Path, device: str, say: Log, config: Config) -> Config:
    """The settings with the masks that the run starts from, which are found first; most runs need
    none."""
    if not needs_masks(trial.row):
        return config

    def train(one: Trial) -> tuple[Record, Path]:
        store = Store(folder)
        record = store.read().get(one.key)
        if record is None:
            record = train_trial(one, folder, device, say)
            store.add(record)
        return record, run_folder(folder, one) / "last.safetensors"

    masks = masked_start(trial, folder / "masks", train)
    return replace(config, model=replace(config.model, init=str(masks), init_part="shared"))


def read_log(path: Path) -> Record:
    """Last scores of both protocols, all probes, and the splits of a regrouped trunk, in a log."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    last = {key: value for line in lines for key, value in line.items()}
    probes = [line["probe"] for line in lines if "probe" in line]
    found = {"scores": last.get("val", {}), "panoptic": last.get("panoptic", {}), "probes": probes}
    regrouping = [line["regrouping"] for line in lines if "regrouping" in line]
    splits = [[one["step"], one["groups"]] for one in regrouping if one["split"]]
    return found | ({"splits": splits} if regrouping else {})


def run_trials(trials: Sequence[Trial], folder: Path, devices: Sequence[str], log: Log) -> None:
    """Runs all trials that have no record, or only a failed one; stores each as it ends."""
    store = Store(folder)
    done = {key for key, record in store.read().items() if "failed" not in record}
    todo = [trial for trial in trials if trial.key not in done]
    if len(todo) < len(trials):
        log(f"{len(trials) - len(todo)} of {len(trials)} runs are in {store.path} already.")
    for number, (trial, record) in enumerate(_results(todo, folder, devices, log), 1):
        store.add(record)
        outcome = record.get("failed") or f"{record['seconds']:.0f} s  " + "  ".join(
            f"{task} {value:.2f}"
            for task in trial.row.tasks
            if (value := score_of(record, task)) is not None
        )
        log(f"[{number}/{len(todo)}] {trial.row.name()} seed {trial.seed}: {outcome}")


def _results(
    trials: Sequence[Trial], folder: Path, devices: Sequence[str], log: Log
) -> Iterator[tuple[Trial, Record]]:
    """Each trial with its record as it ends: one at a time, or one per device."""
    if len(devices) <= 1:
        for trial in trials:
            yield trial, train_trial(trial, folder, devices[0] if devices else "auto", log)
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
