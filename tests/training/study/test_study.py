"""A study from end to end: its rows, its queue that is interrupted and resumed, its report."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from perception.errors import UserError
from training.command_line import parse_command_line as parse_train
from training.config import Config, DataArgs, ModelArgs, OptimArgs
from training.study import trials
from training.study.arguments import SLIPS, StudyArgs, parse_command_line
from training.study.plan import Row, Trial, command, options, row_from_json
from training.study.questions import QUESTIONS, grid_rows, rows_of
from training.study.run_study import base_config, completed, run_study
from training.study.trials import Store

ARGS = StudyArgs(
    "grid",
    tasks=("det", "depth", "lane"),
    model="m",
    models=("m", "n"),
    methods=("equal", "pcgrad"),
    sharings=("hard", "mtan"),
    grid=("tasks=singles,pairs,all pretrained=yes,no",),
)


@pytest.mark.parametrize("question", QUESTIONS)
def test_rows_of_a_question_can_be_told_apart_and_stored(question: str):
    rows = rows_of(replace(ARGS, question=question))
    assert len(rows) > 3
    assert len({row.name(3) for row in rows}) == len(rows)
    assert all(row_from_json(Trial(row, 0).to_json()["row"]) == row for row in rows)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_trial_is_the_train_run_of_its_command_line(question: str):
    data = DataArgs(data=("a", "b"), size=(64, 96), zoom=(0.8, 2.2), limit=5, share=0.5)
    base = Config(data, optim=OptimArgs(epochs=3, lr=5e-4, ema=0.0))
    for row in rows_of(replace(ARGS, question=question)):
        trial = Trial(row, 2, base)
        program, *words = shlex.split(command(trial.config(), "runs/x"))
        assert program == "train-bdd"
        assert parse_train(words) == trial.config("runs/x")


def test_options_of_every_kind_are_written():
    config = Config(
        DataArgs(trait_weights={"a/b": 0.5}, data_weights=(1.0, 2.0), repeat_rare=True),
        optim=OptimArgs(balance="fixed", task_weights={"det": 2.0}),
    )
    assert parse_train(options(config)) == config
    assert options(Config()) == []


def test_the_start_of_a_run_is_part_of_its_key():
    keys = {
        Trial(Row(("det",)), 0, Config(model=model)).key
        for model in (
            ModelArgs(),
            ModelArgs(init="m.safetensors"),
            ModelArgs(init="m.safetensors", init_part="shared"),
        )
    }
    assert len(keys) == 3


def test_a_grid_combines_its_axes():
    rows = grid_rows("tasks=det+lane,depth balance=equal,pcgrad", ARGS)
    assert {(row.tasks, row.balance) for row in rows} == {
        (("det", "lane"), "equal"),
        (("det", "lane"), "pcgrad"),
        (("depth",), "equal"),  # a single-task network has nothing to balance
    }
    rows = [*dict.fromkeys(grid_rows("sharing=hard,mtan", ARGS))]
    assert [(row.tasks, row.sharing) for row in rows] == [
        (("det",), "hard"),
        (("depth",), "hard"),
        (("lane",), "hard"),
        (("det", "depth", "lane"), "hard"),
        (("det", "depth", "lane"), "mtan"),
    ]


def test_two_grids_give_the_eleven_rows_of_the_prior_study():
    args = StudyArgs(
        "grid", tasks=("semantic", "depth", "normals"), model="pvt-hydranet-b2",
        grid=("tasks=all model=pvt-hydranet-b2,resnet50",
              "tasks=all model=pvt-hydranet-b2,resnet50,swin-tiny pretrained=yes",
              "tasks=singles,pairs pretrained=yes"),
    )  # fmt: skip
    rows = rows_of(args)
    assert len(rows) == 11
    assert len([row for row in rows if row.pretrained]) == 9


def test_a_network_that_trains_longer_is_a_row_of_its_own():
    short, long = grid_rows("tasks=all times=1,3", ARGS)
    assert short != long
    assert long.name().endswith("3 times as long")
    assert "times" not in short.name()
    base = Config(optim=OptimArgs(epochs=5))
    assert [Trial(row, 0, base).config().optim.epochs for row in (short, long)] == [5, 15]


@pytest.mark.parametrize(
    "wrong", ["colour=red", "balance=", "tasks", "pretrained=maybe", "times=0", "times=twice"]
)
def test_a_wrong_grid_is_refused(wrong: str):
    with pytest.raises(UserError, match="--grid"):
        grid_rows(wrong, ARGS)


def test_the_question_grid_needs_one():
    with pytest.raises(UserError, match="needs --grid"):
        rows_of(StudyArgs("grid", tasks=("det",)))


def test_the_key_depends_on_everything_that_changes_results_and_on_nothing_else():
    trial = Trial(Row(("depth",)), 0)
    same = Config(data=DataArgs(workers=5, cache="x"))
    assert trial.key == Trial(Row(("depth",)), 0, same, probe=False).key
    others = [
        Trial(Row(("depth",)), 1),
        Trial(Row(("depth",)), 0, Config(optim=OptimArgs(epochs=11))),
        Trial(Row(("depth",), balance="pcgrad"), 0),
        Trial(Row(("depth",)), 0, held_out=True),
    ]
    assert len({trial.key, *[other.key for other in others]}) == 5


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
    said: list[str] = []
    trials.run_trials([trial], tmp_path, [], said.append)
    assert calls == [0, 1, 1]  # the first epoch was not trained again
    assert "step 4/4" in said[-2]  # progress inside the run
    (record,) = Store(tmp_path).read().values()
    assert (record["steps"], record["frames"]) == (4, 8)
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


def fake(trial: Trial, folder: Path, device: str = "auto", say=print) -> dict:
    """A record as of a run; scores improve with the number of tasks. Depth and the drivable area
    help each other, and hurt the normals."""
    count, tasks = len(trial.row.tasks), trial.row.tasks
    value = {"drivable": ("mIoU_strict", 50.0), "depth": ("abs", 2.0), "normals": ("mean", 20.0)}
    side = {"drivable": 1, "depth": 1, "normals": -1}
    scores = {}
    for task in tasks:
        name, level = value[task]
        better = 0.1 * count - 0.01 * trial.seed
        scores[task] = {name: level * (1 + better if task == "drivable" else 1 - better)}
    matrix = {a: {b: 0.1 * side[a] * side[b] for b in tasks} for a in tasks}
    probes = [{"step": 1, "tasks": tasks, "cosine": {"all": matrix}, "ahead": matrix}]
    return {
        "key": trial.key, **trial.to_json(), "scores": scores, "steps": 2, "frames": 16,
        "probes": probes if count > 2 else [], "seconds": 1.0, "parameters": 10 + count,
    }  # fmt: skip


def test_a_study_trains_its_rows_and_writes_its_report(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(trials, "train_trial", fake)
    args = StudyArgs("grid", tasks=("drivable", "depth", "normals"), seeds=2, quick=True,
                     grid=("tasks=singles,pairs,all",), out=tmp_path)  # fmt: skip
    said: list[str] = []
    text = run_study(args, said.append, "study-mtl grid").read_text()
    assert "numbers mean nothing" in said[0]
    row = next(line for line in text.splitlines() if line.startswith("| MTL pvt-hydranet-b0"))
    assert row.split("|")[3].strip() == "1.41 ± 0.13"  # abs 1.40 and 1.42, t = 12.7
    assert text.count("\ntrain-bdd ") == 7
    assert "\nstudy-mtl grid\n" in text
    again = run_study(args, said.append, "study-mtl grid").read_text()
    assert again == text
    assert "14 of 14 runs" in said[-1]


def test_proposed_groups_are_tested_on_fresh_seeds_against_random_ones(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(trials, "train_trial", fake)
    args = StudyArgs("groups", tasks=("drivable", "depth", "normals"), seeds=2, quick=True,
                     out=tmp_path)  # fmt: skip
    text = run_study(args, print).read_text()
    seeds: dict[tuple, set] = {}
    for record in Store(tmp_path).read().values():
        seeds.setdefault(tuple(record["row"]["tasks"]), set()).add(record["seed"])
    assert seeds.pop(("drivable", "depth", "normals")) == {0, 1, 2, 3}
    assert ("drivable", "depth") in seeds
    assert set(map(tuple, seeds.values())) == {(2, 3)}
    row = next(r for r in text.splitlines() if r.startswith("| proposed drivable+depth"))
    # The networks of a partition together: 12 and 11 parameters, depth with two tasks.
    assert row.split("|")[4].strip() == "1.65 ± 0.13"
    assert text.count("| random ") >= 4
    assert "Highest look-ahead affinity, at most 2 networks: drivable+depth | normals." in text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"methods": ("pcgrd",)}, "did you mean 'pcgrad'"),
        ({"sharings": ("mtann",)}, "did you mean 'mtan'"),
        ({"models": ("resnet51",)}, "did you mean 'resnet50'"),
        ({"tasks": ("lanes",)}, "did you mean 'lane'"),
    ],
)
def test_names_are_checked_before_data_is_opened(wrong: dict, message: str, tmp_path: Path):
    args = StudyArgs("balance", data=("/no/such/folder",), out=tmp_path, **wrong)
    with pytest.raises(UserError, match=message):
        run_study(args, print)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "--seeds 0"),
        ({"val_frames": -1}, "--val-frames -1"),
        ({"frames": 0}, "--data DIR"),
        ({"rates": (0.0,)}, "--rates"),
        ({"minutes": -1.0}, "--minutes"),
    ],
)
def test_wrong_arguments_are_refused_by_name(wrong: dict, message: str):
    with pytest.raises(UserError, match=message):
        StudyArgs(**{"question": "sharing", **wrong})


def test_an_unknown_question_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse_command_line(["balanc"])
    assert stopped.value.code == 2
    assert "balanc" in "".join(capsys.readouterr())


def test_every_question_has_an_entry():
    assert QUESTIONS.keys() == set(get_args(get_type_hints(StudyArgs)["question"]))


def test_the_command_line():
    args = parse_command_line(["sharing", "--tasks", "det,lane", "--size", "96x160", "--quick"])
    assert (args.question, args.tasks, args.size, args.quick) == (
        "sharing", ("det", "lane"), (96, 160), True)  # fmt: skip
    other = parse_command_line(["trunks", "--seeds", "5", "--data", "a", "--data", "b"])
    assert (other.question, other.seeds, other.data) == ("trunks", 5, ("a", "b"))


@pytest.mark.parametrize("slip", SLIPS)
@pytest.mark.parametrize("form", ["{} x", "{}=x"])
def test_an_option_of_train_bdd_points_to_the_study_s_own(slip: str, form: str):
    with pytest.raises(UserError, match=f"{slip} .* {SLIPS[slip]}$"):
        parse_command_line(["balance", *form.format(slip).split()])
    assert parse_command_line(["balance", SLIPS[slip], "1"])  # which exists


def test_tasks_default_to_what_the_data_labels():
    args = StudyArgs("stl-vs-mtl", frames=4)
    assert len(completed(args, base_config(args)).tasks) == 7
    quick = StudyArgs("stl-vs-mtl", frames=4, quick=True)
    assert len(completed(quick, base_config(quick)).tasks) == 2
