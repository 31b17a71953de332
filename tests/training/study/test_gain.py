"""Gain by hand: signs, twins, seeds, intervals and what is left out."""

import math

import pytest

from training.study.gain import (
    estimate,
    gain,
    lines,
    relative,
    separate_parameters,
    task_gains,
    uncompared,
)
from training.study.plan import Row, Trial
from training.study.words import rank_correlation


def record(tasks: tuple[str, ...], seed: int, scores: dict, parameters: int = 10, **fields):
    trial = Trial(Row(tasks, **fields), seed)
    return {"key": trial.key, **trial.to_json(), "scores": scores, "parameters": parameters}


ROWS = [Row(("depth",)), Row(("semantic",)), Row(("semantic", "depth"))]
TWINS = [
    record(("depth",), seed, {"depth": {"abs": 2.0, "rel": 0.5, "rmse": 9}}) for seed in (0, 1)
] + [
    record(("semantic",), seed, {"semantic": {"mIoU": 50.0 + seed, "pixAcc": 80.0}})
    for seed in (0, 1)
]


def joint(seed: int, depth: dict, semantic: dict):
    return record(("semantic", "depth"), seed, {"depth": depth, "semantic": semantic})


def test_gain_is_the_mean_over_tasks_of_the_mean_over_metrics():
    # depth: abs 2 -> 1 is +50 %, rel 0.5 -> 0.6 is -20 %: +15 %; semantic: +10 % and -5 %: +2.5 %.
    found = lines(
        [*TWINS, joint(0, {"abs": 1.0, "rel": 0.6}, {"mIoU": 55.0, "pixAcc": 76.0})], ROWS
    )
    assert task_gains(found[2], "depth", found) == [pytest.approx(15)]
    estimated = gain(found[2], found)
    assert estimated.mean == pytest.approx((15 + 2.5) / 2)
    assert estimated.half is None
    assert gain(found[0], found) is None
    assert separate_parameters(found[2], found) == 20


def test_a_seed_is_compared_with_its_own_twin():
    same = [joint(s, {"abs": 2.0, "rel": 0.5}, {"mIoU": 50.0 + s, "pixAcc": 80.0}) for s in (0, 1)]
    found = lines([*TWINS, *same], ROWS)
    estimated = gain(found[2], found)
    assert (estimated.mean, estimated.half) == (0, 0)  # though the seeds differ by a point


@pytest.mark.parametrize(
    ("name", "value", "alone", "expected"),
    [
        ("mIoU", 60, 50, 20),
        ("abs", 3, 2, -50),
        ("mean", 20, 25, 20),
        ("mAP50", 1, 0, None),
        ("mAP50", 1.8, 0.9, None),
        ("rel", 0.2, 0.4, 50),
        ("mIoU", math.nan, 50, None),
    ],
)
def test_relative(name: str, value: float, alone: float, expected: float | None):
    found = relative(name, value, alone)
    assert found is None if expected is None else found == pytest.approx(expected)


def test_a_task_whose_twin_scored_zero_is_named_and_left_out():
    rows = [Row(("det",)), ROWS[0], Row(("det", "depth"))]
    both = {"det": {"mAP50": 1.0}, "depth": {"abs": 1.0}}
    alone = record(("det",), 0, {"det": {"mAP50": 0.0, "mAP": 0.0}})
    records = [alone, TWINS[0], record(("det", "depth"), 0, both)]
    found = lines(records, rows)
    assert uncompared(found[2], found) == ["det"]
    assert gain(found[2], found).mean == pytest.approx(50)


@pytest.mark.parametrize(
    ("values", "mean", "half"),
    [([], None, None), ([3.0], 3, None), ([1.0, 3.0], 2, 12.706), ([1.0, 2.0, 3.0], 2, 2.4843)],
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
    found = lines(records, rows)
    assert task_gains(found[3], "depth", found) == [0]
    assert task_gains(found[3], "semantic", found) == [0]  # against the only one there is


@pytest.mark.parametrize(
    ("one", "two", "rho"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 99], 1),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1),
        ([1, 1, 1], [1, 2, 3], 0),
        ([1, 2, 2, 3], [1, 2, 3, 4], 0.9487),
    ],
)
def test_rank_correlation(one: list[float], two: list[float], rho: float):
    assert rank_correlation(one, two) == pytest.approx(rho, abs=1e-4)
