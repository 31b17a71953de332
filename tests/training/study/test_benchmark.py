"""The benchmark: its budget, its choice of learning rates, its report, and that it resumes."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from perception.errors import UserError
from training.study import benchmark, trials
from training.study.arguments import parse_command_line
from training.study.plan import Trial
from training.study.trials import Store

MODELS = ("pvt-hydranet-b0", "hydranet-regnet")
BEST = dict(zip(MODELS, (1e-3, 2e-3), strict=True))  # the rate that is best for each in `fake`


def fake(trial: Trial, folder: Path, device: str = "auto") -> dict:
    """A record as of a run, best at the network's own learning rate."""
    near = -abs(trial.base.optim.lr - BEST[trial.row.model]) * 1000
    level = 50.0 + near + (trial.row.model == MODELS[0]) + 0.1 * trial.seed
    name = {"det": "mAP50", "scene": "accuracy"}
    curve = [
        {
            "step": s,
            "val": dict.fromkeys(trial.row.tasks, level * s / 2),
            "core_seconds": 1800.0 * s,
        }
        for s in (1, 2)
    ]
    return {
        "key": trial.key, **trial.to_json(), "curve": curve, "steps": 2, "seconds": 1.0,
        "scores": {task: {name[task]: level} for task in trial.row.tasks}, "probes": [],
        "parameters": 7,
    }  # fmt: skip


@pytest.fixture
def tools(monkeypatch) -> list[tuple]:
    """Replaces training, export, evaluation and timing; the calls of the tools are listed."""
    calls: list[tuple] = []

    def tool(module: str, *words: object) -> None:
        calls.append((module, *map(str, words)))
        if module == "export.export_onnx":
            Path(words[2]).parent.mkdir(parents=True, exist_ok=True)
            Path(words[2]).write_bytes(b"onnx")
        elif module == "training.evaluate":
            det = 20.0 + len(calls)
            scores = {"det": {"mAP50": det}, "scene": {"accuracy": 60.0}}
            result = {
                "frames": 12, "bdd": scores, "panoptic": {},
                "tasks": {
                    "bdd": {"det": {"headlines": ["mAP50"]}, "scene": {"headlines": ["accuracy"]}}
                },
                "intervals": {"bdd": {"det": {"mAP50": [det - 3, det + 3]}}},
            }  # fmt: skip
            Path(words[2]).write_text(json.dumps(result))
        else:
            files = [word for word in map(str, words) if word.endswith(".onnx")]
            times = {"p10": 1.0, "median": 2.0}
            ratio = {"median": 1.0, "low": 0.9, "high": 1.1}
            row = {"provider": "cpu", "megabytes": 1.0, "ms": {"model": times}, "ratio": ratio}
            report = {"subjects": [row | {"name": file} for file in files]}
            Path(words[-1]).write_text(json.dumps(report))

    monkeypatch.setattr(benchmark, "run_tool", tool)
    monkeypatch.setattr(trials, "train_trial", fake)
    return calls


def arguments(out: Path, *more: str):
    words = ["benchmark", "--models", ",".join(MODELS), "--tasks", "det,scene", "--quick",
             "--rates", "1e-3", "2e-3", "--out", str(out), *more]  # fmt: skip
    return parse_command_line(words)


def test_each_network_trains_at_its_own_best_rate_with_every_seed(tmp_path: Path, tools):
    text = benchmark.run_benchmark(arguments(tmp_path), print).read_text()
    records = Store(tmp_path).read().values()
    full = [record for record in records if "evaluation" in record]
    runs = {(r["row"]["model"], tuple(r["row"]["tasks"]), r["seed"]) for r in full}
    both, first = ("det", "scene"), MODELS[0]
    assert runs == {(m, both, s) for m in MODELS for s in (0, 1)} | {
        (first, ("det",), 0),
        (first, ("scene",), 0),
    }
    for record in full:
        default = record["row"]["model"] == MODELS[0]  # 1e-3
        assert ("--lr 0.002" in record["command"]) != default
        assert "--ema 0.998" in record["command"]
    assert len(records) == len(full) + 4  # two rates for each network
    assert "**" in text
    assert cv2.imread(str(tmp_path / "curves.png")) is not None


def test_a_benchmark_resumes_after_every_step(tmp_path: Path, tools, monkeypatch):
    args = arguments(tmp_path)
    whole = benchmark.run_tool

    def broken(module: str, *words: object) -> None:
        if len(tools) == 5:
            raise UserError("stopped")
        whole(module, *words)

    monkeypatch.setattr(benchmark, "run_tool", broken)
    with pytest.raises(UserError, match="stopped"):
        benchmark.run_benchmark(args, print)
    monkeypatch.setattr(benchmark, "run_tool", whole)
    before = len(tools)
    benchmark.run_benchmark(args, print)
    assert [call[0] for call in tools].count("training.evaluate") == 6
    assert [call[0] for call in tools].count("export.bench_onnx") == 1
    done = len(tools)
    assert done > before
    benchmark.run_benchmark(args, print)  # everything is stored
    assert len(tools) == done


def test_the_tables_have_seeds_intervals_and_the_leader(tmp_path: Path, tools):
    text = benchmark.run_benchmark(arguments(tmp_path), print).read_text()
    row = next(line for line in text.splitlines() if line.startswith("| bdd det mAP50"))
    assert row.count("[") == 3  # two networks and the twins
    assert "(22.0, 26.0) [19.0, 29.0]" in row
    assert "The seeds' ranges overlap in bdd det mAP50, bdd scene accuracy." in text
    assert "| hydranet-regnet |" in text
    assert "learning rate 0.001" not in text  # each network has its own
    assert "One seed" not in text


def test_a_benchmark_with_one_seed_says_so(tmp_path: Path, tools):
    text = benchmark.run_benchmark(arguments(tmp_path, "--seeds", "1"), print).read_text()
    assert "One seed per network" in text


@pytest.mark.parametrize(
    ("epochs", "share", "left"), [(5, 0.5, 1), (1, 0.1, 1), (10, 1.0, 1), (40, 1.0, 4)]
)
def test_a_rate_is_tried_on_a_tenth_of_the_budget(epochs: int, share: float, left: int):
    trial = Trial(benchmark.Row(("det",)), 0)
    base = replace(trial.base, optim=replace(trial.base.optim, epochs=epochs))
    tried = benchmark.tuning_config(base, 2e-3)
    assert (tried.data.share, tried.optim.epochs) == (pytest.approx(share), left)
    assert tried.optim.lr == 2e-3


def test_the_epochs_follow_from_the_frames_to_be_seen():
    args = parse_command_line(["benchmark", "--data", "rendered:20", "--batch", "8"])
    base = benchmark.base_config(args, print)
    assert benchmark.epochs_for(40, base, ("scene",)) == 3  # two whole batches of 8 per epoch


def test_a_report_without_trained_runs_is_refused(tmp_path: Path, tools):
    with pytest.raises(UserError, match="has no result of"):
        benchmark.run_benchmark(arguments(tmp_path, "--report-only"), print)


def test_a_failing_command_is_named_with_its_last_line():
    with pytest.raises(UserError, match=r"export.export_onnx missing.safetensors: .*missing"):
        benchmark.run_tool("export.export_onnx", "missing.safetensors")
