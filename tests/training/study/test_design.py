"""The plan: runs, frames and hours by hand, and the difference that the seeds resolve."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from training.config import Config, DataArgs, OptimArgs
from training.study import design
from training.study.arguments import StudyArgs
from training.study.design import measured_speeds, plan_of, resolution_text, smallest_differences
from training.study.gain import Study, by_row
from training.study.plan import Row, Trial, shortened
from training.study.run_study import run_study
from training.study.trials import Store

LANE, BOTH = Row(("lane",)), Row(("lane", "scene"))
BASE = Config(DataArgs(batch=8), optim=OptimArgs(epochs=2))


def record(row: Row, seed: int, lane: float = 50.0, **more) -> dict:
    trial = Trial(row, seed, BASE)
    scores = {"lane": {"F1@5": lane}, "scene": {"accuracy": 50.0}}
    return {"key": trial.key, **trial.to_json(), "scores": scores, "parameters": 1, **more}


def test_hours_follow_from_the_seconds_per_frame_of_past_runs(monkeypatch):
    monkeypatch.setattr(design, "epoch_frames", lambda base, tasks: 800)
    monkeypatch.setattr(design, "time_row", lambda row, base: 0.25)
    trials = [Trial(row, seed, BASE) for seed in (0, 1) for row in (LANE, BOTH)]
    done = record(LANE, 0, frames=1600, seconds=160.0, size="384x640")
    stored = {done["key"]: done}
    said: list[str] = []
    plan = plan_of(trials, stored, 1, said.append)
    # Left: one of LANE at 0.1 s per frame, two of BOTH, which is timed, at 0.25 s.
    assert (plan.runs, plan.done, plan.frames) == (4, 1, 3 * 1600)
    assert plan.hours == pytest.approx(1600 * (0.1 + 2 * 0.25) / 3600)
    assert said == ["Timing MTL lane+scene pvt-hydranet-b0"]
    assert plan_of(trials, stored, 2, said.append).hours == pytest.approx(plan.hours / 2)
    assert "4 runs, 1 of them stored; 4,800 frames" in plan.text()
    longer = [Trial(replace(BOTH, times=3), 0, BASE)]
    assert plan_of(longer, stored, 1, said.append).frames == 3 * 1600


def test_runs_of_another_size_and_limits_in_minutes_are_regarded(monkeypatch):
    monkeypatch.setattr(design, "epoch_frames", lambda base, tasks: 800)
    monkeypatch.setattr(design, "time_row", lambda row, base: 2.0)
    other = record(LANE, 5, frames=1600, seconds=160.0, size="128x224")
    trial = Trial(LANE, 0, BASE)
    assert plan_of([trial], {"x": other}, 1, print).hours == pytest.approx(1600 * 2 / 3600)
    limited = Trial(LANE, 0, replace(BASE, run=replace(BASE.run, max_minutes=3.0)))
    assert plan_of([limited], {}, 1, print).hours == pytest.approx(3 / 60)


def test_a_failed_run_is_planned_again_and_a_short_search_counts_as_short(monkeypatch):
    monkeypatch.setattr(design, "epoch_frames", lambda base, tasks: 800)
    monkeypatch.setattr(design, "time_row", lambda row, base: 1.0)
    trial = Trial(LANE, 0, BASE)
    failed = {trial.key: {"key": trial.key, **trial.to_json(), "failed": "no labels"}}
    assert plan_of([trial], failed, 1, print).frames == 1600
    short = Trial(LANE, 0, shortened(BASE, 0.2))  # 0.4 of an epoch
    assert plan_of([short], {}, 1, print).frames == 320


def test_rounds_of_pruning_are_part_of_the_plan(monkeypatch):
    monkeypatch.setattr(design, "epoch_frames", lambda base, tasks: 800)
    monkeypatch.setattr(design, "time_row", lambda row, base: 1.0)
    sparse = Trial(Row(BOTH.tasks, sharing="sparse"), 0, BASE)
    # Three rounds of a fifth of the budget for each of two tasks.
    assert plan_of([sparse], {}, 1, print).frames == 1600 + 2 * 3 * 320


@pytest.mark.parametrize(("limit", "frames"), [(20, 24), (24, 24), (25, 32), (5, 5)])
def test_an_epoch_has_whole_batches(limit: int, frames: int):
    base = replace(BASE, data=replace(BASE.data, limit=limit))
    assert design.epoch_frames(base, ("lane",)) == frames


def test_speeds_are_medians_over_the_runs_of_a_row():
    records = [record(LANE, s, frames=10, seconds=float(s)) for s in (1, 2, 9)]
    assert measured_speeds([*records, record(BOTH, 0)]) == {LANE: pytest.approx(0.2)}


def test_the_smallest_difference_follows_from_the_variance_over_seeds():
    # Paired gains of the lanes: 0, 10 and 20 %, standard deviation 10 %.
    records = [record(LANE, seed) for seed in (0, 1, 2)]
    records += [record(BOTH, seed, 50.0 + 5 * seed) for seed in (0, 1, 2)]
    study = Study(by_row(records, [LANE, BOTH]))
    found = smallest_differences(study, 5)
    # t(0.975, 4) = 2.776 and t(0.8, 4) = 0.941, times 10 / sqrt(5).
    assert found == {"lane": pytest.approx((2.776 + 0.941) * 10 / math.sqrt(5), rel=1e-3)}
    assert "5 seeds resolve (t-test at 5 %, power 80%)" in resolution_text(study, 5)
    assert "lane 16.6 %" in resolution_text(study, 5)
    assert "no difference can be resolved" in resolution_text(study, 1)
    assert smallest_differences(study, 1) == {}


def test_without_two_seeds_the_resolution_is_not_known():
    study = Study(by_row([record(LANE, 0), record(BOTH, 0)], [LANE, BOTH]))
    assert "not known" in resolution_text(study, 5)


def test_a_plan_trains_nothing(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(design, "time_row", lambda row, base: 0.5)
    args = StudyArgs("sharing", tasks=("lane", "scene"), sharings=("hard", "mtan", "sparse"),
                     frames=32, epochs=1, plan=True, rates=(1e-3, 2e-3), out=tmp_path)  # fmt: skip
    said: list[str] = []
    assert run_study(args, said.append) is None
    assert Store(tmp_path).read() == {}
    # Five rows with three seeds, and two rates for each row.
    assert any("25 runs, 0 of them stored" in line for line in said)


@pytest.mark.slow
def test_a_row_is_timed_by_a_few_steps():
    data = DataArgs(("rendered:8",), size=(64, 96), batch=2, workers=0)
    base = Config(data, optim=OptimArgs(epochs=5))
    hard = design.time_row(Row(("depth", "normals")), base)
    assert 0 < hard < 30
    assert design.time_row(Row(("depth", "normals"), sharing="sparse"), base) > 0
