"""A study end to end: its rows, its queue that is stopped and goes on, its report."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from perception.errors import UserError
from training.study import execute
from training.study.arguments import Arguments, parse_command_line
from training.study.conduct import choice_of, conduct
from training.study.gain import Line, gain, separate_parameters, task_gains
from training.study.plan import Budget, Row, Trial, row_from_json
from training.study.presets import PRESETS, Choice, unique
from training.study.store import Store

CHOICE = Choice(("a", "b", "c"), "m", ("m", "n", "o"), ("equal", "pcgrad"), ("hard",))


@pytest.mark.parametrize(
    ("preset", "count"),
    [
        ("stl-vs-mtl", 4),
        ("pairs", 7),
        ("trunks", 12),
        ("balance", 5),
        ("sharing", 4),
        ("baselines", 6),
        ("scratch-vs-pretrained", 8),
        ("nyuv2", 11),
        ("groups", 4),
        ("ablation", 11),  # as it is, one variant that touches no head, nine of the recipe
    ],
)
def test_rows_of_a_preset(preset: str, count: int):
    rows = PRESETS[preset](CHOICE)
    assert len(rows) == len(unique(rows)) == count
    assert len({row.name(3) for row in rows}) == count
    assert all(row_from_json(Trial(row, 0).to_json()["row"]) == row for row in rows)


def test_an_ablation_changes_one_thing_a_row():
    choice = Choice(**{**vars(CHOICE), "tasks": ("det", "lane")})
    rows = PRESETS["ablation"](choice)
    assert {row.model for row in rows} >= {"m~pan", "m~lane-cldice"}
    plain = Trial(rows[0], 0).config("x", False)
    for row in rows[1:]:
        changed = Trial(row, 0).config("x", False)
        parts = [
            key
            for group, fields in changed.to_json().items()
            for key, value in fields.items()
            if plain.to_json()[group][key] != value
        ]
        assert len(parts) == 1, row


@pytest.mark.parametrize("tasks", [("det",), ("det", "lane")])
def test_on_a_frozen_trunk_only_heads_are_ablated(tasks: tuple[str, ...]):
    choice = Choice(**{**vars(CHOICE), "tasks": tasks, "frozen": True})
    rows = PRESETS["ablation"](choice)
    assert not any(row.change for row in rows)
    assert not any(row.model.endswith("~pan") for row in rows)
    assert Row(tasks, "m~one-head") in rows
    assert (Row(tasks, "m~lane-focal") in rows) == ("lane" in tasks)


def test_an_ablation_of_a_single_task_is_compared_with_its_first_row():
    first, other = Row(("a",)), Row(("a",), "m~one-head")
    found = [
        Line(row, [{"seed": 0, "scores": {"a": {"mAP50": score}}, "parameters": 5}])
        for row, score in ((first, 50.0), (other, 40.0))
    ]
    assert gain(found[0], found) is None
    assert gain(found[1], found).mean == pytest.approx(-20.0)


def test_where_a_run_starts_is_part_of_what_it_is():
    keys = {
        Trial(Row(("a",)), 0, budget).key
        for budget in (
            Budget(),
            Budget(init="m.safetensors"),
            Budget(init="m.safetensors", init_part="shared"),
            Budget(init="m.safetensors", init_part="shared", freeze="trunk"),
        )
    }
    assert len(keys) == 4
    with pytest.raises(UserError, match="--init-part shared"):
        Arguments("ablation", freeze="trunk", init="m.safetensors")


def test_without_twins_rows_are_compared_with_the_first():
    first, other = Row(("a", "b")), Row(("a", "b"), change="mosaic")

    def made(row: Row, a: float, b: float) -> Line:
        scores = {"a": {"mAP50": a}, "b": {"mIoU": b}}
        return Line(row, [{"seed": 0, "scores": scores, "parameters": 5}])

    found = [made(first, 50.0, 40.0), made(other, 55.0, 36.0)]
    assert gain(found[0], found) is None
    assert gain(found[1], found).mean == pytest.approx(0.0)
    assert [task_gains(found[1], task, found) for task in "ab"] == [[10.0], [-10.0]]
    assert separate_parameters(found[1], found) == 0


def test_a_grid_of_ones_own():
    choice = Choice(**{**vars(CHOICE), "grid": "tasks=a+b,c balance=equal,pcgrad"})
    rows = PRESETS["grid"](choice)
    assert [row.tasks for row in rows[:3]] == [("a",), ("b",), ("c",)]
    assert {(row.tasks, row.balance) for row in rows[3:]} == {
        (("a", "b"), "equal"),
        (("a", "b"), "pcgrad"),
        (("c",), "pcgrad"),
    }
    for wrong in ("", "colour=red", "balance="):
        with pytest.raises(UserError, match="--grid"):
            PRESETS["grid"](Choice(**{**vars(CHOICE), "grid": wrong}))


def test_a_trial_is_known_by_all_that_matters():
    trial = Trial(Row(("depth",)), 0, Budget())
    assert trial.key == Trial(Row(("depth",)), 0, Budget(workers=5, cache="x")).key
    others = [
        Trial(Row(("depth",)), 1),
        Trial(Row(("depth",)), 0, Budget(epochs=11)),
        Trial(Row(("depth",), balance="pcgrad"), 0),
    ]
    assert len({trial.key, *[other.key for other in others]}) == 4


def test_a_torn_line_costs_one_trial(tmp_path: Path):
    store = Store(tmp_path)
    assert store.read() == {}
    store.add({"key": "one", "n": 1})
    with open(store.path, "a") as file:
        file.write('{"key": "two", "n"')
    store.add({"key": "three", "n": 3})
    assert list(store.read()) == ["one", "three"]


@pytest.fixture
def tiny() -> Budget:
    return Budget(("rendered:4",), (64, 96), 4, 2, epochs=2, batch=2, workers=0)


def test_a_killed_run_goes_on_and_a_finished_one_is_kept(tmp_path: Path, tiny: Budget, monkeypatch):
    trial = Trial(Row(("depth", "normals")), 0, tiny)
    whole = execute.StudyRun.validate
    calls = []

    def stopped(run: execute.StudyRun):
        calls.append(run.position.epoch)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(run)

    monkeypatch.setattr(execute.StudyRun, "validate", stopped)
    with pytest.raises(KeyboardInterrupt):
        execute.work([trial], tmp_path, [], print)
    assert Store(tmp_path).read() == {}
    said = []
    execute.work([trial], tmp_path, [], said.append)
    assert calls == [0, 1, 1]  # the first epoch was not trained again
    (record,) = Store(tmp_path).read().values()
    assert [point["step"] for point in record["curve"]] == [2, 4]
    assert [probe["tasks"] for probe in record["probes"]] == [["depth", "normals"]] * 2
    assert set(record["scores"]) == {"depth", "normals"}
    assert not list((tmp_path / "runs" / trial.key).glob("state-*"))
    execute.work([trial], tmp_path, [], said.append)
    assert "1 of 1 runs" in said[-1]
    assert len(calls) == 3


def test_a_run_that_cannot_be_is_told_in_one_line(tmp_path: Path, tiny: Budget):
    trial = Trial(Row(("semantic_ade20k",)), 0, tiny)
    record = execute.train_trial(trial, tmp_path)
    assert "no labels" in record["failed"]


def test_tasks_are_looked_at_under_equal_weights_alone(tmp_path: Path, tiny: Budget):
    row = Row(("depth", "normals"), balance="rlw")
    assert execute.train_trial(Trial(row, 0, tiny), tmp_path)["probes"] == []


def fake(trial: Trial, folder: Path, device: str = "auto") -> dict:
    """A record as a run would give, the better the more tasks it has."""
    count, tasks = len(trial.row.tasks), trial.row.tasks
    scores = {task: {"abs": 2.0 - 0.1 * count + 0.01 * trial.seed, "rel": 0.5} for task in tasks}
    matrix = {a: {b: 1.0 if a == b else -0.2 for b in tasks} for a in tasks}
    probes = [{"step": 1, "tasks": tasks, "cosine": {"all": matrix}, "ahead": matrix}]
    curve = [{"step": s, "val": dict.fromkeys(tasks, 3.0 - s)} for s in (1, 2)]
    return {
        "key": trial.key, **trial.to_json(), "scores": scores, "curve": curve, "steps": 2,
        "probes": probes if count > 2 else [], "headline": dict.fromkeys(tasks, "abs"),
        "seconds": 1.0, "parameters": 10 + count, "losses": [], "left_out": 0, "finished": 0,
    }  # fmt: skip


def test_the_report_holds_everything_and_needs_no_network(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(execute, "train_trial", fake)
    args = Arguments("pairs", tasks=("drivable", "depth", "normals"), seeds=2, quick=True,
                     out=tmp_path)  # fmt: skip
    text, page = conduct(args, print)
    html, words = page.read_text(), text.read_text()
    pictures = re.findall("<svg.*?</svg>", html, re.DOTALL)
    assert len(pictures) >= 6  # Pareto, pairs, look-ahead, cosine by stage and over time, curves
    for picture in pictures:
        ElementTree.fromstring(picture)
        assert "nan" not in picture
    assert not re.search(r"(src|href)=|<script|https?://(?!www\.w3\.org)", html)
    assert "MTL pvt-hydranet-b0" in words
    assert "is better than its twins by" in words
    assert "This is a --quick study" in words
    assert "drivable | normals | depth" in words or "depth | drivable | normals" in words
    row = next(line for line in words.splitlines() if line.startswith("| MTL pvt-hydranet-b0"))
    assert row.split("|")[3].strip() == "1.71 ± 0.06"  # 1.70 and 1.71, t = 12.7


def test_the_proposed_groups_are_trained_too(tmp_path: Path, monkeypatch):
    def opposed(trial: Trial, folder: Path, device: str = "auto") -> dict:
        record = fake(trial, folder, device)
        side = {"drivable": 1, "depth": 1, "normals": -1}
        ahead = {a: {b: 0.1 * side[a] * side[b] for b in trial.row.tasks} for a in trial.row.tasks}
        record["probes"] = [probe | {"ahead": ahead} for probe in record["probes"]]
        return record

    monkeypatch.setattr(execute, "train_trial", opposed)
    args = Arguments("groups", tasks=("drivable", "depth", "normals"), seeds=2, quick=True,
                     out=tmp_path)  # fmt: skip
    text, _ = conduct(args, print)
    trained = {tuple(record["row"]["tasks"]) for record in Store(tmp_path).read().values()}
    assert ("drivable", "depth") in trained
    assert len(trained) == 5
    words = text.read_text()
    assert "drivable + depth | normals: gain" in words
    assert "drivable + depth + normals: gain" in words


def test_names_are_checked_before_training(tmp_path: Path):
    args = Arguments("balance", tasks=("depth",), methods=("pcgrd",), out=tmp_path)
    with pytest.raises(UserError, match="did you mean 'pcgrad'"):
        conduct(args, print)
    with pytest.raises(UserError, match="--seeds 0"):
        Arguments("pairs", seeds=0)


def test_the_command_line():
    args = parse_command_line(["pairs", "--tasks", "det,lane", "--size", "96x160", "--quick"])
    assert (args.preset, args.tasks, args.size, args.quick) == (
        "pairs", ("det", "lane"), (96, 160), True)  # fmt: skip
    assert set(PRESETS) == {
        "stl-vs-mtl", "pairs", "trunks", "balance", "sharing", "baselines",
        "scratch-vs-pretrained", "nyuv2", "groups", "ablation",
        "grid",
    }  # fmt: skip


def test_tasks_default_to_what_the_data_labels():
    budget = Budget(("rendered:4",))
    choice = choice_of(Arguments("stl-vs-mtl"), budget)
    assert len(choice.tasks) == 7
    assert json.dumps(choice.models)
