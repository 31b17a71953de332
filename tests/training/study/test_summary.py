"""Sentences about constructed results: intervals, counts, and equal weights as the reference."""

import pytest

from training.config import Config
from training.study.gain import RowResult, against_equal, by_row
from training.study.plan import Row, Trial
from training.study.report import write_report
from training.study.summary import balancing_sentences, count_sentences, row_sentences

TASKS = ("lane", "scene")
SEEDS = (0, 1, 2)
MORE = {"seconds": 1.0, "steps": 9, "probes": [], "curve": []}


def record(row: Row, seed: int, lane: float, scene: float):
    scores = {"lane": {"F1@5": lane}, "scene": {"accuracy": scene}}
    scores = {task: scores[task] for task in row.tasks}
    return {**Trial(row, seed).to_json(), "scores": scores, "parameters": 10}


def table(**rows: tuple[float, float]) -> list[RowResult]:
    """Twins at 50, and one row per method; seeds differ by a point, as those of the twins do."""
    shared = [Row(TASKS, balance=method.replace("_", "-")) for method in rows]
    twins = [Row((task,)) for task in TASKS]
    records = [record(row, seed, 50.0 + seed, 50.0 + seed) for row in twins for seed in SEEDS]
    for row, (lane, scene) in zip(shared, rows.values(), strict=True):
        records += [record(row, seed, lane + seed, scene + seed) for seed in SEEDS]
    return by_row(records, [*twins, *shared])


@pytest.mark.parametrize(
    ("lane", "scene", "text"),
    [
        (60.0, 60.0, "is better than its single-task twins by"),
        (40.0, 40.0, "is worse than its single-task twins by"),
        (50.0, 50.0, "does not differ significantly from its single-task twins"),
    ],
)
def test_a_row_is_described_by_its_interval(lane: float, scene: float, text: str):
    found = table(equal=(lane, scene))
    assert text in " ".join(row_sentences(found))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_gain_whose_interval_holds_zero_is_no_difference(sign: int):
    """Gains of -1, 0 and +4 %: a mean above zero, an interval around it."""
    twins, shared = [Row((task,)) for task in TASKS], Row(TASKS)
    records = [record(row, seed, 50.0, 50.0) for row in twins for seed in SEEDS]
    scores = [50.0 + sign * gain for gain in (-0.5, 0.0, 2.0)]
    records += [record(shared, seed, scores[seed], 50.0) for seed in SEEDS]
    text = " ".join(row_sentences(by_row(records, [*twins, shared])))
    assert "does not differ significantly" in text
    assert "Better" not in text
    assert "Worse" not in text


def test_tasks_with_a_significant_change_are_named():
    found = table(equal=(60.0, 40.0))
    text = " ".join(row_sentences(found))
    assert "Worse: scene -19" in text
    assert "Better: lane 19" in text


def test_rows_are_counted_in_all_and_per_task():
    found = table(equal=(60.0, 50.0), pcgrad=(60.0, 40.0), mgda=(40.0, 40.0))
    text = " ".join(count_sentences(found))
    assert "Of 3 rows 1 are better than their single-task twins, 1 worse, 1 not sig" in text
    assert "lane: worse in 1 and better in 2 of 3 rows." in text
    assert "scene: worse in 2 and better in 0 of 3 rows." in text


def test_a_method_is_measured_against_equal_weights_of_the_same_seed():
    found = table(equal=(40.0, 40.0), pcgrad=(44.0, 40.0), imtl_l=(40.0, 40.0))
    equal, better, same = found[-3:]
    assert against_equal(equal, found) is None
    assert against_equal(found[0], found) is None
    gained = against_equal(better, found)
    assert gained is not None
    assert gained.mean == pytest.approx(100 * (4 / 40 + 4 / 41 + 4 / 42) / 3 / 2)
    assert balancing_sentences(found) == [
        "Of 2 balancing methods, compared with equal weights per seed, better: "
        f"pcgrad {gained.text(1)} %; worse: none."
    ]
    assert against_equal(same, found).mean == 0


def test_without_balancing_the_summary_has_no_line_on_it():
    found = table(equal=(40.0, 40.0))
    assert balancing_sentences(found) == []


def test_many_rows_are_counted_in_the_summary_and_listed_below(tmp_path):
    methods = ("equal", "pcgrad", "mgda", "rlw", "famo")
    found = table(**dict.fromkeys(methods, (40.0, 40.0)))
    records = [record | MORE for result in found for record in result.records]
    found = by_row(records, [result.row for result in found])
    text = write_report(tmp_path, "balance", found, Config(), {}).read_text()
    summary, _, items = text.partition("Row by row")
    assert "Of 5 rows 0 are better than their single-task twins, 5 worse" in summary
    assert items.count("is worse than its single-task twins by") == 5
    assert "mean against equal weights" in summary
