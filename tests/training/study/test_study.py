"""A study from end to end: its rows, its queue that is interrupted and resumed, its report."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from perception.errors import UserError
from training.command_line import parse_command_line as parse_train
from training.config import Config, DataArgs, ModelArgs, OptimArgs
from training.study import trials
from training.study.arguments import StudyArgs, parse_command_line
from training.study.gain import RowResult, gain, separate_parameters, task_gains
from training.study.plan import CHANGES, Row, Trial, options, row_from_json
from training.study.presets import PRESETS, Choice, unique
from training.study.run_study import base_config, make_choice, run_study
from training.study.trials import Store

CHOICE = Choice(
    ("det", "depth", "lane"), "m", ("m", "n", "o"), ("equal", "pcgrad"), ("hard", "mtan")
)


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "grid"])
def test_rows_of_a_preset_are_distinct_and_can_be_stored(preset: str):
    rows = PRESETS[preset](CHOICE)
    assert len(rows) == len(unique(rows)) > 3
    assert len({row.name(3) for row in rows}) == len(rows)
    assert all(row_from_json(Trial(row, 0).to_json()["row"]) == row for row in rows)


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "grid"])
def test_every_trial_is_the_train_run_of_its_command_line(preset: str):
    data = DataArgs(data=("a", "b"), size=(64, 96), zoom=(0.8, 2.2), limit=5, share=0.5)
    base = Config(data, optim=OptimArgs(epochs=3, lr=5e-4, ema=0.0))
    for row in PRESETS[preset](CHOICE):
        trial = Trial(row, 2, base)
        program, *words = shlex.split(trial.command("runs/x"))
        assert program == "train-bdd"
        assert parse_train(words) == trial.config("runs/x")


def test_options_of_every_kind_are_written():
    config = Config(
        DataArgs(trait_weights={"a/b": 0.5}, data_weights=(1.0, 2.0), repeat_rare=True),
        optim=OptimArgs(balance="fixed", task_weights={"det": 2.0}),
    )
    assert parse_train(options(config)) == config
    assert options(Config()) == []


def test_an_ablation_changes_one_setting_per_row():
    rows = PRESETS["ablation"](CHOICE)
    assert {row.change for row in rows} == {"", *CHANGES}
    plain = Trial(rows[0], 0).config().to_json()
    for row in rows[1:]:
        changed = Trial(row, 0).config().to_json()
        parts = [
            key
            for group, values in changed.items()
            for key, value in values.items()
            if plain[group][key] != value
        ]
        assert len(parts) == 1, row


def test_an_ablation_of_a_single_task_is_compared_with_its_first_row():
    first, other = Row(("det",)), Row(("det",), "other")
    found = [
        RowResult(row, [{"seed": 0, "scores": {"det": {"mAP50": score}}, "parameters": 5}])
        for row, score in ((first, 50.0), (other, 40.0))
    ]
    assert gain(found[0], found) is None
    assert gain(found[1], found).mean == pytest.approx(-20.0)


def test_the_start_of_a_run_is_part_of_its_key():
    keys = {
        Trial(Row(("det",)), 0, Config(model=model)).key
        for model in (
            ModelArgs(),
            ModelArgs(init="m.safetensors"),
            ModelArgs(init="m.safetensors", init_part="shared"),
            ModelArgs(init="m.safetensors", init_part="shared", freeze="trunk"),
        )
    }
    assert len(keys) == 4
    with pytest.raises(UserError, match="--init-part shared"):
        StudyArgs("pairs", freeze="trunk", init="m.safetensors")


def test_without_twins_rows_are_compared_with_the_first():
    first, other = Row(("det", "semantic")), Row(("det", "semantic"), change="flip alone")

    def made(row: Row, det: float, semantic: float) -> RowResult:
        scores = {"det": {"mAP50": det}, "semantic": {"mIoU": semantic}}
        return RowResult(row, [{"seed": 0, "scores": scores, "parameters": 5}])

    found = [made(first, 50.0, 40.0), made(other, 55.0, 36.0)]
    assert gain(found[0], found) is None
    assert gain(found[1], found).mean == pytest.approx(0.0)
    assert [task_gains(found[1], task, found) for task in first.tasks] == [[10.0], [-10.0]]
    assert separate_parameters(found[1], found) == 0


def test_a_grid_combines_its_axes_and_adds_the_twins():
    choice = replace(CHOICE, grid="tasks=a+b,c balance=equal,pcgrad")
    rows = PRESETS["grid"](choice)
    assert [row.tasks for row in rows[:3]] == [("a",), ("b",), ("c",)]
    assert {(row.tasks, row.balance) for row in rows[3:]} == {
        (("a", "b"), "equal"),
        (("a", "b"), "pcgrad"),
        (("c",), "pcgrad"),
    }
    for wrong in ("", "colour=red", "balance="):
        with pytest.raises(UserError, match="--grid"):
            PRESETS["grid"](replace(CHOICE, grid=wrong))


def test_the_key_depends_on_everything_that_changes_results_and_on_nothing_else():
    trial = Trial(Row(("depth",)), 0)
    same = Config(data=DataArgs(workers=5, cache="x"))
    assert trial.key == Trial(Row(("depth",)), 0, same, probe=False).key
    others = [
        Trial(Row(("depth",)), 1),
        Trial(Row(("depth",)), 0, Config(optim=OptimArgs(epochs=11))),
        Trial(Row(("depth",), balance="pcgrad"), 0),
    ]
    assert len({trial.key, *[other.key for other in others]}) == 4


def test_an_incomplete_line_loses_one_trial_only(tmp_path: Path):
    store = Store(tmp_path)
    assert store.read() == {}
    store.add({"key": "one", "n": 1})
    with open(store.path, "a") as file:
        file.write('{"key": "two", "n"')
    store.add({"key": "three", "n": 3})
    assert list(store.read()) == ["one", "three"]


@pytest.fixture
def tiny() -> Config:
    data = DataArgs(("rendered:4",), size=(64, 96), batch=2, workers=0, limit=4, val_limit=2)
    return Config(data, optim=OptimArgs(epochs=2, ema=0.0))


@pytest.mark.slow
def test_a_killed_run_is_resumed_and_a_finished_one_is_kept(
    tmp_path: Path, tiny: Config, monkeypatch
):
    trial = Trial(Row(("depth", "normals")), 0, tiny)
    whole = trials.StudyRun.validate
    calls = []

    def stopped(run: trials.StudyRun):
        calls.append(run.state.epoch)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(run)

    monkeypatch.setattr(trials.StudyRun, "validate", stopped)
    with pytest.raises(KeyboardInterrupt):
        trials.run_trials([trial], tmp_path, [], print)
    assert Store(tmp_path).read() == {}
    said = []
    trials.run_trials([trial], tmp_path, [], said.append)
    assert calls == [0, 1, 1]  # the first epoch was not trained again
    (record,) = Store(tmp_path).read().values()
    assert [point["step"] for point in record["curve"]] == [2, 4]
    first, second = (point["core_seconds"] for point in record["curve"])
    assert 0 < first < second
    assert [probe["tasks"] for probe in record["probes"]] == [["depth", "normals"]] * 2
    assert set(record["scores"]) == {"depth", "normals"}
    assert not list((tmp_path / "runs" / trial.key).glob("state-*"))
    trials.run_trials([trial], tmp_path, [], said.append)
    assert "1 of 1 runs" in said[-1]
    assert len(calls) == 3


def test_a_run_without_labels_is_stored_as_failed_with_its_reason(tmp_path: Path, tiny: Config):
    trial = Trial(Row(("semantic_ade20k",)), 0, tiny)
    record = trials.train_trial(trial, tmp_path)
    assert "no labels" in record["failed"]


@pytest.mark.slow
def test_tasks_are_probed_with_equal_weights_only(tmp_path: Path, tiny: Config):
    row = Row(("depth", "normals"), balance="rlw")
    assert trials.train_trial(Trial(row, 0, tiny), tmp_path)["probes"] == []


def fake(trial: Trial, folder: Path, device: str = "auto") -> dict:
    """A record as of a run; scores improve with the number of tasks."""
    count, tasks = len(trial.row.tasks), trial.row.tasks
    value = {"drivable": ("mIoU_strict", 50.0), "depth": ("abs", 2.0), "normals": ("mean", 20.0)}
    scores = {}
    for task in tasks:
        name, level = value[task]
        better = 0.1 * count - 0.01 * trial.seed
        scores[task] = {name: level * (1 + better if task == "drivable" else 1 - better)}
        scores[task]["other"] = 0.5
    matrix = {a: {b: 1.0 if a == b else -0.2 for b in tasks} for a in tasks}
    probes = [{"step": 1, "tasks": tasks, "cosine": {"all": matrix}, "ahead": matrix}]
    curve = [{"step": s, "val": dict.fromkeys(tasks, 3.0 - s), "core_seconds": 1.0} for s in (1, 2)]
    return {
        "key": trial.key, **trial.to_json(), "scores": scores, "curve": curve, "steps": 2,
        "probes": probes if count > 2 else [],
        "seconds": 1.0, "parameters": 10 + count, "losses": [], "left_out": 0, "finished": 0,
    }  # fmt: skip


@pytest.mark.slow
def test_the_report_has_its_tables_and_figures(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(trials, "train_trial", fake)
    args = StudyArgs("pairs", tasks=("drivable", "depth", "normals"), seeds=2, quick=True,
                     out=tmp_path)  # fmt: skip
    text = run_study(args, print).read_text()
    files = [line.split("](")[1][:-1] for line in text.splitlines() if line.startswith("![")]
    assert {"gains.png", "pairs.png", "affinity-1.png", "curves-depth.png"} <= set(files)
    for file in files:
        assert cv2.imread(str(tmp_path / file)).std() > 5
    assert "is better than its single-task twins by" in text
    assert "drivable | normals | depth" in text or "depth | drivable | normals" in text
    row = next(line for line in text.splitlines() if line.startswith("| MTL pvt-hydranet-b0"))
    assert row.split("|")[4].strip() == "1.41 ± 0.13"  # abs 1.40 and 1.42, t = 12.7
    assert text.count("train-bdd ") == 7


def test_rows_that_are_the_same_in_a_quick_study_are_trained_once(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(trials, "train_trial", fake)
    monkeypatch.setattr("training.study.run_study.cost_of", lambda rows, args: {})
    args = StudyArgs(
        "nyuv2", data=("rendered:4",), tasks=("drivable", "depth", "normals"), seeds=1, quick=True,
        models=("pvt-hydranet-b0", "hydranet-regnet", "yolop-like"), out=tmp_path,
    )  # fmt: skip
    table = run_study(args, print).read_text().partition("## Headline scores")[2].partition("##")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if "hydranet" in line]
    assert len(rows) == len({name for name, _ in rows}) == 8
    assert {seeds.strip() for _, seeds in rows} == {"1"}


@pytest.mark.slow
def test_the_proposed_groups_are_trained_too(tmp_path: Path, monkeypatch):
    def opposed(trial: Trial, folder: Path, device: str = "auto") -> dict:
        record = fake(trial, folder, device)
        side = {"drivable": 1, "depth": 1, "normals": -1}
        ahead = {a: {b: 0.1 * side[a] * side[b] for b in trial.row.tasks} for a in trial.row.tasks}
        record["probes"] = [probe | {"ahead": ahead} for probe in record["probes"]]
        return record

    monkeypatch.setattr(trials, "train_trial", opposed)
    args = StudyArgs("groups", tasks=("drivable", "depth", "normals"), seeds=2, quick=True,
                     out=tmp_path)  # fmt: skip
    text = run_study(args, print).read_text()
    trained = {tuple(record["row"]["tasks"]) for record in Store(tmp_path).read().values()}
    assert ("drivable", "depth") in trained
    assert len(trained) == 5
    assert "drivable + depth | normals: gain" in text
    assert "drivable + depth + normals: gain" in text


def test_names_are_checked_before_training(tmp_path: Path):
    args = StudyArgs("balance", tasks=("depth",), methods=("pcgrd",), out=tmp_path)
    with pytest.raises(UserError, match="did you mean 'pcgrad'"):
        run_study(args, print)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"preset": "pair"}, "unknown question 'pair'; did you mean 'pairs'"),
        ({"seeds": 0}, "--seeds 0"),
        ({"val_frames": -1}, "--val-frames -1"),
        ({"frames": 0}, "--data DIR"),
        ({"rates": ()}, "--rates"),
        ({"minutes": -1.0}, "--minutes"),
        ({"bootstrap": 5}, "--bootstrap 5"),
    ],
)
def test_wrong_arguments_are_refused_by_name(wrong: dict, message: str):
    with pytest.raises(UserError, match=message):
        StudyArgs(**{"preset": "pairs", **wrong})


def test_the_command_line():
    args = parse_command_line(["pairs", "--tasks", "det,lane", "--size", "96x160", "--quick"])
    assert (args.preset, args.tasks, args.size, args.quick) == (
        "pairs", ("det", "lane"), (96, 160), True)  # fmt: skip
    other = parse_command_line(["benchmark", "--seeds", "3", "--data", "a", "--data", "b"])
    assert (other.preset, other.seeds, other.data) == ("benchmark", 3, ("a", "b"))
    assert (other.size, other.frames) == ((192, 320), 0)


def test_tasks_default_to_what_the_data_labels():
    args = StudyArgs("stl-vs-mtl", frames=4)
    choice = make_choice(args, base_config(args, print))
    assert len(choice.tasks) == 7
    assert json.dumps(choice.models)
