"""The report of constructed results: the answer, one figure, the tables, what was left out."""

import cv2
import pytest

from training.config import Config
from training.study.gain import RowResult, Study, by_row
from training.study.grouping import largest_probed
from training.study.plan import Row, Trial
from training.study.report import About, answer, draw_gains, write_report

TASKS = ("lane", "scene")
SEEDS = (0, 1, 2)
MORE = {"seconds": 1.0, "steps": 9, "probes": [], "parameters": 2_000_000}


def record(row: Row, seed: int, lane: float, scene: float):
    scores = {"lane": {"F1@5": lane}, "scene": {"accuracy": scene}}
    scores = {task: scores[task] for task in row.tasks}
    return {**Trial(row, seed).to_json(), "scores": scores, **MORE}


def table(**rows: tuple[float, float]) -> Study:
    """Single-task networks at 50, and one row per method; seeds differ by a point."""
    shared = [Row(TASKS, balance=method) for method in rows]
    single = [Row((task,)) for task in TASKS]
    records = [record(row, seed, 50.0 + seed, 50.0 + seed) for row in single for seed in SEEDS]
    for row, (lane, scene) in zip(shared, rows.values(), strict=True):
        records += [record(row, seed, lane + seed, scene + seed) for seed in SEEDS]
    return Study(by_row(records, [*single, *shared]))


def test_the_answer_names_gains_losses_and_what_was_not_distinguished():
    (one,) = answer(table(equal=(60.0, 40.0)))
    assert one == (
        "Against single-task networks: MTL pvt-hydranet-b0: lane gains 19.6 ± 1.0 %, scene loses "
        "19.6 ± 1.0 %."
    )
    (one,) = answer(table(equal=(60.0, 50.0)))
    assert one.endswith("lane gains 19.6 ± 1.0 %, not distinguished: scene.")
    (one,) = answer(table(equal=(50.0, 50.0)))
    assert one == "Against single-task networks: failed to distinguish MTL pvt-hydranet-b0."


def test_methods_are_answered_against_single_tasks_and_against_equal_weights():
    _, two = answer(table(equal=(40.0, 40.0), pcgrad=(44.0, 40.0), mgda=(40.0, 40.0)))
    assert two.startswith("Against one trunk and equal weights: MTL pvt-hydranet-b0 pcgrad: lane g")
    assert two.endswith("; failed to distinguish MTL pvt-hydranet-b0 mgda.")


def test_the_report_begins_with_the_answer_and_ends_with_notes(tmp_path):
    study = table(equal=(60.0, 40.0), pcgrad=(60.0, 50.0))
    about = About("balance: lane, scene", Config(), "study-mtl balance")
    text = write_report(tmp_path, study, about).read_text()
    assert text.startswith("**balance: lane, scene.** Against single-task networks: MTL")
    order = ["gains.png", "## Scores", "## Against single-task networks",
             "## Against one trunk and equal weights", "## To repeat it",
             "study-mtl balance", "bench-onnx zoo:pvt-hydranet-b0 --tasks lane,scene",
             "## Notes"]  # fmt: skip
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert text.count("![") == 1
    assert cv2.imread(str(tmp_path / "gains.png")).std() > 5
    assert "gains -" not in text
    assert "loses -" not in text
    assert "| MTL pvt-hydranet-b0 | 61.00 ± 2.48 | 41.00 ± 2.48 |" in text
    assert "| lane F1@5 (seeds 0, 1, 2) | scene accuracy (seeds 0, 1, 2) | parameters M |" in text
    assert "| 61.00 ± 2.48 | 41.00 ± 2.48 | 2.00 | 1 |" in text
    assert text.count("\ntrain-bdd ") == 4


def test_the_legend_names_the_tasks_that_have_points():
    study = table(equal=(60.0, 40.0))
    for found in study.results[0].records:  # no seed of the lanes can be compared
        found["scores"]["lane"]["F1@5"] = 0.4
    for shown, expected in ((study, ["scene"]), (table(equal=(60.0, 40.0)), ["lane", "scene"])):
        figure = draw_gains(Study(shown.results))
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == expected
        # A task has the same colour in every figure.
        colours = {h.get_label(): h[0].get_color() for h in figure.axes[0].containers}
        assert colours["scene"] == "C1"


def test_a_quick_report_says_first_that_its_numbers_mean_nothing(tmp_path):
    about = About("sharing", Config(), quick=True)
    text = write_report(tmp_path, table(equal=(60.0, 40.0)), about).read_text()
    assert "numbers mean nothing" in text.splitlines()[0]


def test_what_was_left_out_is_in_the_notes_with_its_seed(tmp_path):
    study = table(equal=(60.0, 40.0))
    study.results[0].records[1]["scores"]["lane"]["F1@5"] = 0.4
    text = write_report(tmp_path, Study(study.results), About("x", Config())).read_text()
    assert "lane, seed 1: reference STL lane pvt-hydranet-b0: F1@5 0.4 below 1." in text
    assert "lane F1@5 (seeds 0, 2)" in text
    # The mean over tasks averages the seeds that both tasks have.
    row = next(r for r in text.splitlines() if r.startswith("| MTL") and "loses" in r)
    assert [cell.split()[0] for cell in row.split("|")[2:5]] == ["gains", "loses", "not"]


def test_scores_without_any_comparable_seed_are_still_shown(tmp_path):
    study = table(equal=(60.0, 40.0))
    for found in study.results[0].records:
        found["scores"]["lane"]["F1@5"] = 0.4
    text = write_report(tmp_path, Study(study.results), About("x", Config())).read_text()
    assert "lane F1@5 (all seeds, none comparable)" in text
    assert "| MTL pvt-hydranet-b0 | 61.00 ± 2.48 | 41.00 ± 2.48 |" in text
    row = next(r for r in text.splitlines() if r.startswith("| MTL") and "loses" in r)
    assert [cell.strip() for cell in row.split("|")[2:5:2]] == ["–", "–"]


def test_a_failed_row_is_named_with_its_reason(tmp_path):
    study = table(equal=(60.0, 40.0))
    study.results[2].records.clear()
    study.results[2].failed = "seed 0: no labels"
    text = write_report(tmp_path, Study(study.results), About("x", Config())).read_text()
    assert "MTL pvt-hydranet-b0 did not run: seed 0: no labels." in text
    assert "not comparable: MTL pvt-hydranet-b0" in text


# Three rows and two tasks against single-task networks, and two of the rows against equal weights.
@pytest.mark.parametrize(("rows", "said"), [(1, False), (3, "10 intervals: about 0.5 exclude")])
def test_many_intervals_are_counted(rows: int, said: str | bool, tmp_path):
    names = ("equal", "pcgrad", "mgda")[:rows]
    study = table(**dict.fromkeys(names, (40.0, 40.0)))
    text = write_report(tmp_path, study, About("x", Config())).read_text()
    assert ("exclude zero by chance alone" in text) == bool(said)
    assert not said or said in text


def test_the_largest_network_of_those_that_were_probed():
    rows = [Row(TASKS[:1]), Row(TASKS), Row((*TASKS, "det")), Row((*TASKS, "det", "depth"))]
    probes = ([{}], [{}], [{}], [])
    found = [RowResult(r, [{"probes": p}]) for r, p in zip(rows, probes, strict=True)]
    assert largest_probed(found) is found[2]
    assert largest_probed(found[:1]) is None


def test_affinities_of_the_largest_network_are_shown_in_pairs(tmp_path):
    study = table(equal=(60.0, 40.0))
    matrix = {"lane": {"lane": 1.0, "scene": 0.002}, "scene": {"lane": -0.25, "scene": 1.0}}
    twice = {a: {b: 3 * value for b, value in row.items()} for a, row in matrix.items()}
    for result in study.results:
        if not result.row.single:
            probes = [{"ahead": one, "cosine": {"all": matrix}} for one in (matrix, twice)]
            result.records[0]["probes"] = probes
    text = write_report(tmp_path, study, About("x", Config())).read_text()
    assert "| lane |   | +4.00, +0.00 |" in text  # mean of 2 and 6 per thousand
    assert "| scene | -500.00, -0.25 |   |" in text


def test_all_scores_of_a_task_are_listed_but_those_of_single_classes(tmp_path):
    study = table(equal=(60.0, 40.0))
    for result in study.results:
        for found in result.records:
            if "lane" in found["scores"]:
                found["scores"]["lane"] |= {
                    "IoU": 20.0 + found["seed"],
                    "IoU/solid": 1.0,
                    "x": None,
                }
    text = write_report(tmp_path, study, About("x", Config())).read_text()
    part = text.partition("## All scores of lane")[2].partition("##")[0]
    assert "| run | F1@5 | IoU |" in part
    assert part.count("| 21.00 ± 2.48 |") == 2
    assert "All scores of scene" in text
