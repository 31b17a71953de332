"""The queue of trials: results.jsonl, and the training of what it does not hold yet."""

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
from training.data.sample import Batch, collate
from training.run import Run
from training.study.affinity import probe
from training.study.gain import score_name
from training.study.plan import Trial

Record = dict[str, Any]


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
    """A run that also logs its processor time and, with `probing`, its tasks' affinities."""

    probing = False
    clock_before = 0.0  # processor seconds of earlier, interrupted starts
    clock_start = 0.0

    def validate(self) -> Any:
        """The validation of the run, and the study's own lines in its log."""
        core_seconds = self.clock_before + time.process_time() - self.clock_start
        scores = super().validate()
        clock = {"step": self.state.step, "core_seconds": core_seconds}
        self.log.write({"clock": clock})
        if self.probing and len(self.config.model.tasks) > 1 and self.learner.shared:
            self.log.write({"probe": probe(self.learner, self.probe_batch())})
        return scores

    def start(self) -> None:
        """Trains from here to the end."""
        self.clock_start = time.process_time()
        self.go()

    def probe_batch(self) -> Batch:
        """The first training frames, not augmented: the same batch for every probe."""
        args = self.config.data
        count = min(args.batch, len(self.train))
        samples = [self.train[index].letterbox(args.size) for index in range(count)]
        return collate(samples).to(self.world.device)


def run_folder(folder: Path, trial: Trial) -> Path:
    """Where a trial's checkpoints and log are."""
    return folder / "runs" / trial.key


def train_trial(trial: Trial, folder: Path, device: str = "auto") -> Record:
    """Trains one trial, or resumes it, and returns its record.

    A UserError becomes a record with `failed`; other errors are raised.
    """
    place = run_folder(folder, trial)
    record: Record = {"key": trial.key, **trial.to_json()}
    try:
        torch.manual_seed(trial.seed)
        resume = any(place.glob("state-*.safetensors"))
        run = StudyRun(trial.config(str(place), resume, device), Console(quiet=True))
        if run.state.epoch < trial.base.optim.epochs:
            # Affinities are between the tasks' own gradients, so only under equal weights.
            run.probing = trial.probe and trial.row.balance == "equal"
            run.clock_before = last_clock(place / "log.jsonl")
            run.start()
    except UserError as error:
        return record | {"failed": str(error)}
    log = read_log(place / "log.jsonl")
    for state in place.glob("state-*.safetensors"):
        state.unlink()
    return record | log | {
        "steps": run.state.step,
        "left_out": run.state.bad_total,
        "seconds": run.state.seconds,
        "parameters": sum(p.numel() for p in run.learner.model.parameters()),
        "device": torch.cuda.get_device_name() if run.world.device.type == "cuda" else "cpu",
        "finished": time.time(),
    }  # fmt: skip


def last_clock(path: Path) -> float:
    """Processor seconds that an interrupted run has used up to its last validation."""
    if not path.is_file():
        return 0.0
    return max([point["core_seconds"] for point in read_log(path)["curve"]], default=0.0)


def read_log(path: Path) -> Record:
    """Last scores, learning curve, probes and step losses (at most 100) of a run's log."""
    found: Record = {"scores": {}, "curve": [], "probes": [], "losses": []}
    losses = []
    for line in path.read_text().splitlines():
        record = json.loads(line)
        if "val" in record:
            found["scores"] = record["val"]
            headlines = {
                task: values.get(score_name(task)) for task, values in record["val"].items()
            }
            found["curve"].append({"step": record["step"], "val": headlines, "core_seconds": 0.0})
        elif "clock" in record and found["curve"]:
            found["curve"][-1]["core_seconds"] = record["clock"]["core_seconds"]
        elif "probe" in record:
            found["probes"].append(record["probe"])
        elif "loss" in record:
            losses.append([record["step"], record["loss"]])
    found["losses"] = losses[:: max(1, -(-len(losses) // 100))]
    return found


def run_trials(
    trials: Sequence[Trial], folder: Path, devices: Sequence[str], log: Callable[[str], None]
) -> None:
    """Runs all trials that have no record, or only a failed one; stores each as it ends."""
    store = Store(folder)
    done = {key for key, record in store.read().items() if "failed" not in record}
    todo = [trial for trial in trials if trial.key not in done]
    if len(todo) < len(trials):
        log(f"{len(trials) - len(todo)} of {len(trials)} runs are in {store.path} already.")
    for number, (trial, record) in enumerate(_results(todo, folder, devices), 1):
        store.add(record)
        outcome = record.get("failed") or f"{record['seconds']:.0f} s  " + "  ".join(
            f"{task} {value:.2f}"
            for task, value in record["curve"][-1]["val"].items()
            if value is not None
        )
        log(f"[{number}/{len(todo)}] {trial.row.name()} seed {trial.seed}: {outcome}")


def _results(
    trials: Sequence[Trial], folder: Path, devices: Sequence[str]
) -> Iterator[tuple[Trial, Record]]:
    """Each trial with its record as it ends: one at a time, or one per device."""
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
