"""Tables and JSON of a result."""

import io
import json

import pytest
from rich.console import Console

from training.evaluation.report import as_json, fitted, grids, markdown, show


@pytest.fixture
def result(folder, oracle, score):
    place = {"file": "m.onnx", "data": "bdd", "split": "val"}
    return place | score(folder, oracle(spoil=True), bootstrap=5)


def lines_of(result, width=80):
    out = io.StringIO()
    show(result, Console(file=out, width=width))
    return out.getvalue().splitlines()


def test_json_holds_every_score(result):
    data = json.loads(as_json(result))
    assert data["bdd"]["det"]["mAP50"] == result["scores"]["bdd"]["det"]["mAP50"]
    assert data["bdd"]["det"]["AP50/rider"] is None, "NaN is null"
    assert data["panoptic"]["drivable"]["mIoU_set"] > 0
    assert data["thresholds"]["det"]["shown_threshold/rider"] is None


def test_markdown_says_what_was_measured(result):
    text = markdown(result)
    value = result["scores"]["panoptic"]["lane"]["IoU_set"]
    low, high = result["intervals"]["panoptic"]["lane"]["IoU_set"]
    assert f"| lane | IoU_set | {value:.2f} | {low:.2f}–{high:.2f} | ours |" in text
    assert "| toolkit |" in text
    assert "timeofday=night" in text
    assert "false positives on the background" in text


def test_absent_classes_are_shown_as_absent_with_their_count(result):
    (grid,) = [g for g in grids(result) if g.title == "BDD100K metrics: det by class"]
    rows = {row[0]: row[1:] for row in grid.rows}
    assert grid.columns[:2] == ("class", "objects")
    assert rows["rider"] == ["0", "absent", ""]
    assert rows["car"][0] == "10"
    (grid,) = [g for g in grids(result) if "lane by class" in g.title]
    rows = {row[0]: row[1:] for row in grid.rows}
    assert rows["category/crosswalk"][:2] == ["0", "absent"]
    assert rows["category/single white"][0] == "4"


def test_thresholds_have_a_table_of_their_own(result):
    (grid,) = [g for g in grids(result) if "threshold" in g.title]
    best = result["thresholds"]["det"]["threshold"]
    assert dict(grid.rows)["all classes, best F1"] == f"{best:.2f}"
    for other in grids(result):
        if other is not grid and other.title != grid.title:
            assert "threshold" not in [cell for row in other.rows for cell in row]


def test_slices_of_few_frames_have_no_decimals(result):
    (grid,) = [g for g in grids(result) if g.title.startswith("BDD100K metrics by attribute")]
    cells = [cell for row in grid.rows for cell in row[2:]]
    assert not any("." in cell for cell in cells)
    for part in result["slices"].values():
        part["labelled"]["bdd"]["det"] = 10
    (grid,) = [g for g in grids(result) if g.title.startswith("BDD100K metrics by attribute")]
    assert all("." in row[2] for row in grid.rows)


@pytest.mark.parametrize("width", [80, 60, 200])
def test_headers_wrap_between_terms(result, width):
    printed = lines_of(result, width)
    assert max(len(line) for line in printed if ", split" not in line) <= width
    assert any(line.startswith("note: ") for line in printed)
    seen = " ".join(printed) + " "
    shown = [g for g in grids(result) if g.title.startswith("Headline") or "attribute" in g.title]
    for grid in shown:
        for word in " ".join(grid.columns).split():
            assert f" {word} " in seen, word
        for part in fitted(grid, width):
            assert list(part.columns[: part.fixed]) == list(grid.columns[: grid.fixed])


def test_toolkit_rows_are_shown(result):
    row = {"task": "det", "score": "mAP", "frames": 5, "ours": 12.0, "toolkit": 12.5}
    text = markdown(result | {"toolkit": [row]})
    assert "| det | mAP | 5 | 12.0000 | 12.5000 | 0.5000 |" in text


def test_headline_scores_are_one_table_of_80_columns(result):
    printed = lines_of(result | {"slices": {}})
    start = printed.index("Headline scores")
    table = printed[start + 1 :]
    assert max(map(len, printed[start:])) <= 80
    rows = [line.split() for line in table if line.strip() and "─" not in line]
    assert ["protocol", "task", "score"] in [row[:3] for row in rows]
    cells = {(row[0], row[1], row[2]): row[3:] for row in rows if row[0] in ("bdd", "panoptic")}
    value = result["scores"]["bdd"]["det"]["mAP50"]
    low, high = result["intervals"]["bdd"]["det"]["mAP50"]
    assert cells["bdd", "det", "mAP50"] == [f"{value:.2f}", f"{low:.2f}–{high:.2f}", "5", "20"]
    assert cells["bdd", "drivable", "mIoU_strict"][2:] == ["4", "–"]  # one frame has no mask
    assert ("panoptic", "lane", "IoU_dilated_set") in cells
    assert not any("timeofday" in line for line in table)
    assert any("timeofday=night" in line for line in lines_of(result))  # --slices
