"""Verdicts on made-up runs: what an interval supports, counts, and equal weights as the measure."""

import pytest

from training.study.gain import Line, lines
from training.study.plan import Budget, Row, Trial
from training.study.report import write_report
from training.study.verdict import about, against_equal, balancing, tally

TASKS = ("lane", "scene")
SEEDS = (0, 1, 2)
BESIDE = {"seconds": 1.0, "steps": 9, "probes": [], "curve": [], "headline": {}}


def record(row: Row, seed: int, lane: float, scene: float):
    scores = {"lane": {"IoU": lane}, "scene": {"accuracy": scene}}
    told = {task: scores[task] for task in row.tasks}
    return {**Trial(row, seed).to_json(), "scores": told, "parameters": 10}


def table(**rows: tuple[float, float]) -> list[Line]:
    """Twins at 50, and a row a method whose seeds differ by a point a seed, as its twins do."""
    shared = [Row(TASKS, balance=method.replace("_", "-")) for method in rows]
    twins = [Row((task,)) for task in TASKS]
    records = [record(row, seed, 50.0 + seed, 50.0 + seed) for row in twins for seed in SEEDS]
    for row, (lane, scene) in zip(shared, rows.values(), strict=True):
        records += [record(row, seed, lane + seed, scene + seed) for seed in SEEDS]
    return lines(records, [*twins, *shared])


@pytest.mark.parametrize(
    ("lane", "scene", "words"),
    [
        (60.0, 60.0, "is better than its twins by"),
        (40.0, 40.0, "is worse than its twins by"),
        (50.0, 50.0, "is not told apart from its twins"),
    ],
)
def test_a_row_is_told_by_its_interval(lane: float, scene: float, words: str):
    found = table(equal=(lane, scene))
    assert words in " ".join(about(found[-1], found))


def test_the_tasks_that_gain_and_lose_are_named():
    found = table(equal=(60.0, 40.0))
    said = " ".join(about(found[-1], found))
    assert "It hurts scene -19" in said
    assert "It helps lane 19" in said


def test_rows_are_counted_with_what_befell_each_task():
    found = table(equal=(60.0, 50.0), pcgrad=(60.0, 40.0), mgda=(40.0, 40.0))
    said = " ".join(tally(found))
    assert "Of 3 rows 1 do better than their twins, 1 worse, 1 are not told apart" in said
    assert "lane: hurt in 1 and helped in 2 of 3." in said
    assert "scene: hurt in 2 and helped in 0 of 3." in said


def test_a_method_is_measured_against_equal_weights_of_the_same_seed():
    found = table(equal=(40.0, 40.0), pcgrad=(44.0, 40.0), imtl_l=(40.0, 40.0))
    equal, better, same = found[-3:]
    assert against_equal(equal, found) is None
    assert against_equal(found[0], found) is None
    gained = against_equal(better, found)
    assert gained is not None
    assert gained.mean == pytest.approx(100 * (4 / 40 + 4 / 41 + 4 / 42) / 3 / 2)
    assert balancing(found) == [
        f"Against equal weights, seed by seed, of 2 methods better: pcgrad {gained.text(1)} %; "
        "worse: none."
    ]
    assert against_equal(same, found).mean == 0


def test_without_balancing_nothing_is_said_of_it():
    found = table(equal=(40.0, 40.0))
    assert balancing(found) == []


def test_many_rows_are_counted_in_the_paragraph_and_told_in_a_list(tmp_path):
    methods = ("equal", "pcgrad", "mgda", "rlw", "famo")
    found = table(**dict.fromkeys(methods, (40.0, 40.0)))
    records = [record | BESIDE for line in found for record in line.records]
    found = lines(records, [line.row for line in found])
    markdown, html = write_report(tmp_path, "balance", found, Budget(), {})
    for text in (markdown.read_text(), html.read_text()):
        paragraph, _, items = text.partition("Row by row")
        assert "Of 5 rows 0 do better than their twins, 5 worse" in paragraph
        assert items.count("is worse than its twins by") == 5
        assert "mean against equal weights" in paragraph
