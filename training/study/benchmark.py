"""The comparison of networks: `study-mtl benchmark --data DIR`.

Each network trains from scratch on the same frames with the same augmentation and schedule, at the
learning rate that was best for it on a tenth of the budget, with several seeds; then the
single-task twins of the first network train. The exported files are scored by `eval-bdd` (both
protocols, bootstrap intervals) and timed by `bench-onnx` in one interleaved run. Every step is
skipped where its result is stored, so the same command resumes.
"""

import importlib.util
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from perception.errors import UserError
from perception.model import Deployed
from perception.sizes import format_size
from perception.tasks import TASKS
from training.config import Config
from training.data.sources import open_sources
from training.evaluation.scores import headline
from training.study.arguments import StudyArgs
from training.study.benchmark_report import Entry, write_benchmark
from training.study.cost import count_macs, network
from training.study.plan import Row, Trial
from training.study.run_study import Log, base_config, check_rows, make_choice
from training.study.trials import Record, Store, run_folder, run_trials

TUNING_SHARE: Final = 0.1  # of the budget, per learning rate


@dataclass(frozen=True)
class Tuning:
    """What the tried learning rates of one network gave, and the one that was chosen."""

    scores: Mapping[float, float]
    chosen: float


def run_benchmark(args: StudyArgs, log: Log) -> Path:
    """All steps; returns the report. Raises UserError for wrong arguments or a failed run."""
    args = quick_args(args) if args.quick else args
    if not args.data:
        args = replace(args, frames=args.frames or 2000, val_frames=args.val_frames or 200)
    base = base_config(args, log)
    choice = make_choice(args, base)
    check_rows([Row(choice.tasks, model) for model in choice.models])
    base = replace(
        base, optim=replace(base.optim, epochs=epochs_for(args.seen, base, choice.tasks))
    )
    tuned = {model: tune(model, choice.tasks, args, base, log) for model in choice.models}
    trials = final_trials(choice.tasks, {name: t.chosen for name, t in tuned.items()}, args, base)
    train(trials, args, log)
    entries = [
        Entry(trial, scored(trial, args, log), macs(trial.row, args.size)) for trial in trials
    ]
    latency = time_networks(trials, args, log)
    rates = {name: (dict(t.scores), t.chosen) for name, t in tuned.items()}
    return write_benchmark(args.out, entries, rates, latency, args)


def quick_args(args: StudyArgs) -> StudyArgs:
    """Every step on a few small frames."""
    return replace(
        args,
        seeds=min(args.seeds, 2),
        twin_seeds=min(args.twin_seeds, 1),
        size=(64, 96),
        frames=min(args.frames or 48, 48),
        val_frames=min(args.val_frames or 12, 12),
        seen=min(args.seen, 96),
        batch=8,
        rates=args.rates[:2],
        bootstrap=0,
    )


def epochs_for(seen: int, base: Config, tasks: Sequence[str]) -> int:
    """The fewest epochs in which a run sees at least `seen` frames."""
    frames = len(open_sources(base.data, tasks, 0)[0])
    whole_batches = max(frames // base.data.batch, 1) * base.data.batch
    return math.ceil(seen / whole_batches)


def tuning_config(base: Config, rate: float) -> Config:
    """A tenth of the budget at a learning rate: fewer epochs, or a share of the frames.

    The last weights are scored: averaged ones would lag in so short a run.
    """
    epochs = TUNING_SHARE * base.optim.epochs
    data = replace(base.data, share=min(1.0, epochs))
    optim = replace(base.optim, lr=rate, ema=0.0, epochs=max(1, round(epochs)))
    return replace(base, data=data, optim=optim)


def tune(model: str, tasks: tuple[str, ...], args: StudyArgs, base: Config, log: Log) -> Tuning:
    """Tries each learning rate with seed 0; the best mean headline score is chosen."""
    row = Row(tasks, model)
    trials = {rate: Trial(row, 0, tuning_config(base, rate), probe=False) for rate in args.rates}
    train(list(trials.values()), args, log)
    stored = Store(args.out).read()
    heads = [(task, TASKS[task]) for task in tasks]
    scores = {rate: headline(heads, stored[trial.key]["scores"]) for rate, trial in trials.items()}
    return Tuning(scores, max(scores, key=scores.__getitem__))


def final_trials(
    tasks: tuple[str, ...], rates: Mapping[str, float], args: StudyArgs, base: Config
) -> list[Trial]:
    """Every network per seed, then the single-task twins of the first."""

    def trial(row: Row, seed: int) -> Trial:
        optim = replace(base.optim, lr=rates[row.model])
        return Trial(row, seed, replace(base, optim=optim), probe=False)

    first = next(iter(rates))
    shared = [trial(Row(tasks, model), seed) for seed in range(args.seeds) for model in rates]
    return shared + [
        trial(Row((task,), first), seed) for seed in range(args.twin_seeds) for task in tasks
    ]


def train(trials: Sequence[Trial], args: StudyArgs, log: Log) -> None:
    """Runs what is not stored. Raises UserError where a run is missing or has failed."""
    if not args.report_only:
        run_trials(trials, args.out, args.devices, log)
    stored = Store(args.out).read()
    for trial in trials:
        name = f"{trial.row.name()} seed {trial.seed}"
        if trial.key not in stored:
            raise UserError(f"--report-only: {args.out} has no result of {name}; train it first")
        if "failed" in stored[trial.key]:
            raise UserError(f"{name}: {stored[trial.key]['failed']}")


def scored(trial: Trial, args: StudyArgs, log: Log) -> Record:
    """The trial's record with `evaluation`, the eval-bdd result of its exported last weights."""
    store = Store(args.out)
    record = store.read()[trial.key]
    if "evaluation" not in record:
        log(f"Scoring {trial.row.name()} seed {trial.seed}")
        folder = run_folder(args.out, trial)
        onnx, scores = folder / "model.onnx", folder / "scores.json"
        run_tool(
            "export.export_onnx",
            *(folder / "last.safetensors", "-o", onnx, "--size", format_size(args.size)),
        )
        run_tool("training.evaluate", onnx, "--json", scores, *evaluation_options(args))
        record |= {"evaluation": json.loads(scores.read_text())}
        store.add(record)
    return record


def evaluation_options(args: StudyArgs) -> list[str]:
    """The options of eval-bdd; its frames are the validation frames of the first --data."""
    data = ["--data", args.data[0]] if args.data else []
    limit = ["--limit", str(args.val_frames)] if args.val_frames else []
    return [*data, *limit, "--protocol", "both", "--bootstrap", str(args.bootstrap)]


def time_networks(trials: Sequence[Trial], args: StudyArgs, log: Log) -> list[Record]:
    """One row of bench-onnx per network (seed 0) and provider, all interleaved in one run."""
    result = args.out / "latency.json"
    if not result.is_file():
        folder = args.out / "onnx"
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for trial in (trial for trial in trials if trial.seed == 0):
            files.append(folder / f"{file_name(trial.row)}.onnx")
            shutil.copyfile(run_folder(args.out, trial) / "model.onnx", files[-1])
        log(f"Timing {len(files)} networks")
        openvino = importlib.util.find_spec("openvino") is not None
        providers = "cpu,openvino-bf16" if openvino else "cpu"
        rounds = "3" if args.quick else "50"
        threads = str(args.threads)
        run_tool(
            "export.bench_onnx",
            *(*files, "--providers", providers, "--threads", threads),
            *("--rounds", rounds, "--json", result),
        )
    return [
        row | {"name": Path(row["name"]).stem} for row in json.loads(result.read_text())["subjects"]
    ]


def file_name(row: Row) -> str:
    """Name of a network's file and of its line in the table of latencies."""
    return f"{row.model}-{row.tasks[0]}" if row.single else row.model


def macs(row: Row, size_hw: tuple[int, int]) -> int:
    """Multiply-accumulates of the row's network for one frame."""
    frame = torch.zeros((1, *size_hw, 3), dtype=torch.uint8)
    return count_macs(Deployed(network(row)).eval(), frame)


def run_tool(module: str, *words: object) -> None:
    """One of the project's commands in a process of its own. Raises UserError where it fails."""
    code = f"import sys; from {module} import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True
    )
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise UserError(f"{module} {' '.join(map(str, words))}: {reason[0]}")
