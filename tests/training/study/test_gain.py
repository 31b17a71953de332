"""Gain by hand: headline scores and directions, twins, seeds, intervals, what is left out."""

import math

import pytest

from perception.tasks import TASKS
from training.study.gain import (
    by_row,
    estimate,
    gain,
    rank_correlation,
    relative,
    separate_parameters,
    task_gains,
    uncompared,
)
from training.study.plan import Row, Trial


def record(tasks: tuple[str, ...], seed: int, scores: dict, parameters: int = 10, **fields):
    trial = Trial(Row(tasks, **fields), seed)
    return {"key": trial.key, **trial.to_json(), "scores": scores, "parameters": parameters}


ROWS = [Row(("depth",)), Row(("semantic",)), Row(("semantic", "depth"))]
TWINS = [record(("depth",), seed, {"depth": {"abs": 2.0, "rmse": 9}}) for seed in (0, 1)] + [
    record(("semantic",), seed, {"semantic": {"mIoU": 50.0 + seed}}) for seed in (0, 1)
]


def joint(seed: int, depth: dict, semantic: dict):
    return record(("semantic", "depth"), seed, {"depth": depth, "semantic": semantic})


def test_gain_is_the_mean_over_tasks_of_the_headline_scores_change():
    # depth: abs 2 -> 1 is +50 % (lower is better); semantic: mIoU 50 -> 55 is +10 %.
    found = by_row([*TWINS, joint(0, {"abs": 1.0, "rmse": 1}, {"mIoU": 55.0})], ROWS)
    assert task_gains(found[2], "depth", found) == [pytest.approx(50)]
    estimated = gain(found[2], found)
    assert estimated.mean == pytest.approx((50 + 10) / 2)
    assert estimated.half is None
    assert gain(found[0], found) is None
    assert separate_parameters(found[2], found) == 20


def test_the_drivable_area_is_compared_by_the_score_that_counts_false_alarms():
    # The toolkit's mIoU forgives false alarms on the background: it rises while mIoU_strict falls.
    tasks = ("drivable", "depth")
    rows = [Row(("drivable",)), ROWS[0], Row(tasks)]
    records = [
        record(("drivable",), 0, {"drivable": {"mIoU": 40.0, "mIoU_strict": 40.0}}),
        TWINS[0],
        record(tasks, 0, {"drivable": {"mIoU": 60.0, "mIoU_strict": 30.0}, "depth": {"abs": 2.0}}),
    ]
    found = by_row(records, rows)
    assert task_gains(found[2], "drivable", found) == [pytest.approx(-25)]
    assert found[0].score("drivable").mean == 40.0


@pytest.mark.parametrize("task", TASKS)
def test_every_registered_task_is_compared_in_its_own_direction(task: str):
    better = relative(task, 30.0, 20.0)
    assert better == pytest.approx(50.0 if TASKS[task].higher_is_better else -50.0)


def test_a_seed_is_compared_with_its_own_twin():
    same = [joint(s, {"abs": 2.0}, {"mIoU": 50.0 + s}) for s in (0, 1)]
    found = by_row([*TWINS, *same], ROWS)
    estimated = gain(found[2], found)
    assert (estimated.mean, estimated.half) == (0, 0)  # though the seeds differ by a point


@pytest.mark.parametrize(
    ("task", "value", "single", "expected"),
    [
        ("semantic", 60, 50, 20),
        ("depth", 3, 2, -50),
        ("normals", 20, 25, 20),
        ("det", 1, 0, None),
        ("det", 1.8, 0.9, None),
        ("depth", 0.2, 0.4, 50),
        ("depth", None, 0.4, None),
        ("depth", 0.4, None, None),
    ],
)
def test_relative(task: str, value: float | None, single: float | None, expected: float | None):
    found = relative(task, value, single)
    assert found is None if expected is None else found == pytest.approx(expected)


def test_a_task_whose_twin_scored_zero_is_named_and_left_out():
    rows = [Row(("det",)), ROWS[0], Row(("det", "depth"))]
    both = {"det": {"mAP50": 1.0}, "depth": {"abs": 1.0}}
    alone = record(("det",), 0, {"det": {"mAP50": 0.0, "mAP": 0.0}})
    records = [alone, TWINS[0], record(("det", "depth"), 0, both)]
    found = by_row(records, rows)
    assert uncompared(found[2], found) == ["det"]
    assert gain(found[2], found).mean == pytest.approx(50)


def test_only_gains_of_the_same_seed_are_averaged():
    # Seed 0 has no depth score: its semantic gain must not be averaged with seed 1's depth gain.
    found = by_row(
        [*TWINS, joint(0, {"abs": None}, {"mIoU": 100.0}), joint(1, {"abs": 1.0}, {"mIoU": 51.0})],
        ROWS,
    )
    assert gain(found[2], found).mean == pytest.approx((50 + 0) / 2)
    assert gain(found[2], found).count == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_score_that_is_not_finite_is_left_out(value: float | None):
    found = by_row([*TWINS, joint(0, {"abs": value}, {"mIoU": 55.0})], ROWS)
    assert found[2].score("depth") is None
    assert uncompared(found[2], found) == ["depth"]


@pytest.mark.parametrize(
    ("values", "mean", "half"),
    [
        ([], None, None),
        ([3.0], 3, None),
        ([1.0, 3.0], 2, 12.706),
        ([1.0, 2.0, 3.0], 2, 2.4843),
        # 24 seeds: t(23) = 2.0687 times the standard error; 1.96 would be too small by 5 %.
        ([0.0, 1.0] * 12, 0.5, 0.215677),
    ],
)
def test_intervals(values: list[float], mean: float | None, half: float | None):
    found = estimate(values)
    if mean is None:
        assert found is None
        return
    assert found.mean == mean
    assert found.half == (None if half is None else pytest.approx(half, rel=1e-3))
    assert found.low <= mean <= found.high


def test_the_twin_of_the_same_trunk_is_preferred():
    other = Row(("depth",), "resnet50")
    rows = [*ROWS[:2], other, Row(("semantic", "depth"), "resnet50")]
    both = {"depth": {"abs": 4.0}, "semantic": {"mIoU": 50.0}}
    records = [*TWINS, record(("depth",), 0, {"depth": {"abs": 4.0}}, model="resnet50"),
               record(("semantic", "depth"), 0, both, model="resnet50")]  # fmt: skip
    found = by_row(records, rows)
    assert task_gains(found[3], "depth", found) == [0]
    assert task_gains(found[3], "semantic", found) == [0]  # against the only one there is


def test_rank_correlation_of_a_constant_is_zero():
    assert rank_correlation([1, 1, 1], [1, 2, 3]) == (0.0, 1.0)
    rho, p = rank_correlation([1, 2, 3, 4], [9, 7, 5, 3])
    assert (rho, p) == (pytest.approx(-1), pytest.approx(0))
