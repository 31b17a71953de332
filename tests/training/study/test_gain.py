"""Differences by hand: scores and directions, references, seeds, intervals, what is left out."""

import math

import pytest

from perception.tasks import TASKS
from training.study.gain import Study, by_row, estimate, mean_over_tasks
from training.study.plan import Row, Trial

SINGLE = [Row(("depth",)), Row(("semantic",))]
BOTH = Row(("semantic", "depth"))


def record(row: Row, seed: int, scores: dict, **more):
    trial = Trial(row, seed)
    return {"key": trial.key, **trial.to_json(), "scores": scores, "parameters": 10, **more}


def study(*records: dict, rows: tuple[Row, ...] = (*SINGLE, BOTH)) -> Study:
    return Study(by_row(records, rows))


def singles(*seeds: int) -> list[dict]:
    depth = [record(SINGLE[0], seed, {"depth": {"abs": 2.0, "rmse": 9}}) for seed in seeds]
    return depth + [record(SINGLE[1], s, {"semantic": {"mIoU": 50.0 + s}}) for s in seeds]


def joint(seed: int, depth: dict, semantic: dict, row: Row = BOTH):
    return record(row, seed, {"depth": depth, "semantic": semantic})


def gains(found: Study, task: str, row: int = -1, against: str = "single-task networks"):
    result = found.results[row]
    return found.pairs(result, task, found.comparisons[against])


def test_a_gain_is_the_change_of_the_headline_score():
    # depth: abs 2 -> 1 is +50 % (lower is better); semantic: mIoU 50 -> 55 is +10 %.
    found = study(*singles(0), joint(0, {"abs": 1.0, "rmse": 1}, {"mIoU": 55.0}))
    assert list(found.comparisons) == ["single-task networks"]
    assert gains(found, "depth") == {0: pytest.approx(50)}
    assert gains(found, "semantic") == {0: pytest.approx(10)}
    mean = mean_over_tasks([gains(found, "depth"), gains(found, "semantic")])
    assert (mean.mean, mean.half) == (pytest.approx(30), None)
    assert gains(found, "depth", 0) == {}


def test_the_drivable_area_is_compared_by_the_score_that_counts_false_alarms():
    # The toolkit's mIoU forgives false alarms on the background: it rises while mIoU_strict falls.
    rows = (Row(("drivable",)), SINGLE[0], Row(("drivable", "depth")))
    found = study(
        record(rows[0], 0, {"drivable": {"mIoU": 40.0, "mIoU_strict": 40.0}}),
        singles(0)[0],
        record(rows[2], 0, {"drivable": {"mIoU": 60.0, "mIoU_strict": 30.0}, "depth": {"abs": 2}}),
        rows=rows,
    )
    assert gains(found, "drivable") == {0: pytest.approx(-25)}
    assert found.score(found.results[0], "drivable").mean == 40.0


@pytest.mark.parametrize("task", TASKS)
def test_every_registered_task_is_compared_in_its_own_direction(task: str):
    rows = (Row((task,)), Row((task,), "resnet50"))
    pairs = zip(rows, (20.0, 30.0), strict=True)
    values = [record(row, 0, {task: {TASKS[task].score: value}}) for row, value in pairs]
    found = Study(by_row(values, rows))
    wanted = 50.0 if TASKS[task].higher_is_better else -50.0
    result = found.results[1]
    assert found.pairs(result, task, lambda *_: found.results[0]) == {0: pytest.approx(wanted)}


def test_a_seed_is_compared_with_its_own_reference():
    found = study(*singles(0, 1), *[joint(s, {"abs": 2.0}, {"mIoU": 50.0 + s}) for s in (0, 1)])
    value = estimate(list(gains(found, "semantic").values()))
    assert (value.mean, value.half) == (0, 0)  # though the seeds differ by a point


def test_a_seed_that_a_row_lacks_is_left_out_of_every_table_and_named():
    # The last row has no seed 1: neither have the others in any mean.
    other = Row(BOTH.tasks, balance="pcgrad")
    found = study(
        *singles(0, 1),
        *[joint(s, {"abs": 2.0 - s}, {"mIoU": 50.0 + s}) for s in (0, 1)],
        joint(0, {"abs": 2.0}, {"mIoU": 50.0}, other),
        rows=(*SINGLE, BOTH, other),
    )
    assert found.seeds("depth") == found.seeds("semantic") == [0]
    assert gains(found, "depth", 2) == {0: 0}
    assert found.score(found.results[2], "depth").count == 1
    assert found.gaps["depth"] == {1: "MTL pvt-hydranet-b0 pcgrad has no score"}


def test_a_longer_row_is_compared_with_the_runs_of_usual_length():
    longer = Row(BOTH.tasks, times=4)
    rows = (*SINGLE, BOTH, longer)
    scores = ((BOTH, 2.0, 50.0), (longer, 1.0, 60.0))
    joined = [joint(0, {"abs": a}, {"mIoU": m}, row) for row, a, m in scores]
    found = study(*singles(0), *joined, rows=rows)
    for against in found.comparisons:
        assert gains(found, "depth", 3, against) == {0: pytest.approx(50)}


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_score_that_is_not_finite_leaves_out_its_seed(value: float | None):
    found = study(
        *singles(0, 1), joint(0, {"abs": value}, {"mIoU": 55.0}), joint(1, {"abs": 2}, {"mIoU": 51})
    )
    assert found.seeds("depth") == [1]
    assert "MTL pvt-hydranet-b0 has no score" in found.gaps["depth"][0]
    assert found.seeds("semantic") == [0, 1]


@pytest.mark.parametrize(
    ("scores", "panoptic", "why"),
    [
        ({"mAP50": 0.0}, None, "mAP50 0 below 1"),
        ({"mAP50": 0.9}, None, "mAP50 0.9 below 1"),
        ({"mAP50": 1.0}, None, ""),
        ({"mAP50": 5.0}, 12.0, "vehicle mAP50 12 below 20"),
        ({"mAP50": 5.0}, 0.0, "vehicle mAP50 0 below 20"),
        ({"mAP50": 5.0}, 20.0, ""),
        ({"mAP50": 5.0}, None, ""),
    ],
)
def test_a_reference_below_its_cut_is_named_with_its_seed(scores, panoptic, why: str):
    rows = (Row(("det",)), SINGLE[0], Row(("det", "depth")))
    more = {} if panoptic is None else {"panoptic": {"det": {"mAP50": panoptic}}}
    both = {"det": {"mAP50": 10.0}, "depth": {"abs": 1.0}}
    found = study(
        record(rows[0], 0, {"det": scores}, **more),
        record(rows[0], 1, {"det": {"mAP50": 10.0}}),
        *singles(0, 1)[:2],
        *[record(rows[2], seed, both) for seed in (0, 1)],
        rows=rows,
    )
    wanted = {0: f"reference STL det pvt-hydranet-b0: {why}"} if why else {}
    assert found.gaps["det"] == wanted
    assert found.seeds("det") == ([1] if why else [0, 1])
    assert found.seeds("depth") == [0, 1]


def test_a_mean_over_tasks_needs_every_task_and_the_same_seeds():
    assert mean_over_tasks([{0: 50.0}, {}]) is None
    # Seed 0 lacks the second task: its gain in the first must not be averaged with another seed's.
    value = mean_over_tasks([{0: 90.0, 1: 2.0}, {1: 4.0}])
    assert (value.mean, value.count) == (3.0, 1)


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


@pytest.mark.parametrize(
    ("values", "words"),
    [
        # The mean is above zero, the interval is not.
        ([-1.0, 0.0, 4.0], "not distinguished (+1.0 ± 6.6 %)"),
        ([1.0, 0.0, -4.0], "not distinguished (-1.0 ± 6.6 %)"),
        ([0.0, 0.0, 0.0], "not distinguished (+0.0 ± 0.0 %)"),
        ([10.0, 11.0, 12.0], "gains 11.0 ± 2.5 %"),
        ([-10.0, -11.0, -12.0], "loses 11.0 ± 2.5 %"),
        ([-30.0], "not distinguished (one seed: -30.0 %)"),
        ([30.0], "not distinguished (one seed: +30.0 %)"),
    ],
)
def test_gains_and_losses_are_called_by_their_names(values: list[float], words: str):
    assert estimate(values).words() == words


def test_the_reference_has_the_same_network_and_start():
    other = Row(BOTH.tasks, "resnet50")
    started = Row(BOTH.tasks, pretrained=True)
    scores = ({"abs": 4.0}, {"mIoU": 50.0})
    found = study(
        *singles(0),
        joint(0, *scores),
        joint(0, *scores, other),
        joint(0, *scores, started),
        rows=(*SINGLE, BOTH, other, started),
    )
    assert gains(found, "depth", 2) == {0: -100}
    assert gains(found, "depth", 3) == gains(found, "depth", 4) == {}


def test_methods_are_compared_with_one_trunk_and_equal_weights_of_the_same_seed():
    plain, method = BOTH, Row(BOTH.tasks, balance="imtl-l", sharing="mtan")
    records = [joint(s, {"abs": 2.0 + s}, {"mIoU": 40.0}) for s in (0, 1)]
    records += [joint(s, {"abs": 2.0 + s}, {"mIoU": 44.0 + s}, method) for s in (0, 1)]
    found = study(*singles(0, 1), *records, rows=(*SINGLE, plain, method))
    against = "one trunk and equal weights"
    assert gains(found, "semantic", -1, against) == {0: pytest.approx(10), 1: pytest.approx(12.5)}
    assert gains(found, "depth", -1, against) == {0: 0, 1: 0}
    assert gains(found, "semantic", 2, against) == gains(found, "semantic", 1, against) == {}


def test_without_any_reference_rows_are_compared_with_the_first_of_the_same_tasks():
    rows = (BOTH, Row(BOTH.tasks, "resnet50"))
    values = (joint(0, {"abs": 2.0}, {"mIoU": 50.0}), joint(0, {"abs": 2}, {"mIoU": 40}, rows[1]))
    found = study(*values, rows=rows)
    against = "the first row with the same tasks"
    assert list(found.comparisons) == [against]
    assert gains(found, "semantic", 1, against) == {0: pytest.approx(-20)}
    assert gains(found, "semantic", 0, against) == {}
