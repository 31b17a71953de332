"""Scores of models that know or almost know the labels."""

import json
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from perception.classes import ATTRIBUTES, DETECTION
from perception.errors import UserError
from perception.runtime.view import View
from training.data.sources import open_dataset
from training.evaluation.predictor import attribute_names, read_frames
from training.evaluation.scores import Evaluation, evaluate

NATIVE = (180, 320)


def test_a_perfect_model_scores_100_in_both_protocols(folder, oracle, score):
    result = score(folder, oracle())
    official, panoptic = result["scores"]["bdd"], result["scores"]["panoptic"]
    assert result["frames"] == 5
    for task, key in (("det", "mAP"), ("drivable", "mIoU_strict"), ("scene", "accuracy")):
        assert official[task][key] == pytest.approx(100.0)
    assert official["lane"]["F1@1"] == official["lane"]["average_F1@1"] == 100.0
    assert panoptic["det"]["mAP50"] == panoptic["det"]["recall"] == pytest.approx(100.0)
    assert "scene" not in panoptic
    # The grid is 360 x 640 whatever the frame: scaled up from 180 x 320 the truth has soft edges.
    assert panoptic["drivable"]["mIoU_set"] > 97
    assert panoptic["lane"]["recall_set"] > 60


def test_protocols_are_chosen(folder, oracle, score):
    assert set(score(folder, oracle(), protocols=["bdd"])["scores"]) == {"bdd"}
    panoptic = score(folder, oracle(), protocols=["panoptic"], protocol_batch=2)["scores"]
    assert set(panoptic) == {"panoptic"}
    assert "IoU_batch2" in panoptic["panoptic"]["lane"]


def test_slices_are_scored_on_their_frames_alone(folder, oracle, score):
    result = score(folder, oracle(spoil=True))
    slices = result["slices"]
    hours = {name: part["frames"] for name, part in slices.items() if "timeofday" in name}
    assert hours == {"timeofday=daytime": 2, "timeofday=night": 2, "timeofday=undefined": 1}
    night = slices["timeofday=night"]["scores"]["bdd"]
    assert night["scene"]["accuracy/timeofday"] == 0.0, "the spoilt oracle always says daytime"
    assert slices["timeofday=daytime"]["scores"]["bdd"]["scene"]["accuracy/timeofday"] == 100.0
    assert slices["timeofday=undefined"]["scores"]["bdd"]["det"]["mAP50"] > 0
    # Frame 4 is a night frame without masks: only frame 1 counts for the lanes of the night.
    assert slices["timeofday=night"]["labelled"]["bdd"] == dict(
        zip(("det", "drivable", "lane", "scene"), (2, 1, 1, 2), strict=True)
    )
    one = score(folder, oracle(spoil=True), limit=2)["slices"]["timeofday=night"]["scores"]["bdd"]
    assert night["lane"] == pytest.approx(one["lane"], nan_ok=True)
    assert night["det"]["mAP50"] != one["det"]["mAP50"]


def test_bootstrap_intervals_contain_the_score_and_have_width(folder, oracle, score):
    result = score(folder, oracle(spoil=True), bootstrap=60)
    low, high = result["intervals"]["bdd"]["det"]["mAP50"]
    assert low <= result["scores"]["bdd"]["det"]["mAP50"] <= high
    assert high - low > 1
    assert "AP50/car" not in result["intervals"]["bdd"]["det"]
    again = score(folder, oracle(spoil=True), bootstrap=60)
    assert again["intervals"] == result["intervals"]


def test_intervals_are_the_middle_95_percent(oracle, monkeypatch):
    evaluation = Evaluation(oracle().views, ["bdd"])
    evaluation.attributes = [{}]
    values = iter(range(101))
    monkeypatch.setattr(
        evaluation, "scores", lambda frames: {"bdd": {"det": {"mAP": float(next(values))}}}
    )
    assert evaluation.intervals(101) == {"bdd": {"det": {"mAP": [2.5, 97.5]}}}


def test_objects_per_class_are_counted_and_rare_ones_noted(folder, oracle, score):
    result = score(folder, oracle())
    counts = result["tasks"]["bdd"]["det"]["counts"]
    assert (counts["car"], counts["truck"], counts["rider"]) == (10, 5, 0)
    assert any("car (10)" in note and "intervals" in note for note in result["notes"])


def test_resampled_frames_count_as_often_as_they_are_drawn(folder, oracle):
    predictor = oracle(spoil=True)
    dataset = open_dataset(str(folder), "val", tuple(predictor.views), exact=True)
    evaluation, twice = (Evaluation(predictor.views, ["bdd"]) for _ in range(2))
    with ThreadPoolExecutor(1) as pool:
        frames = list(read_frames(dataset, pool, 2))
        scenes = predictor([frame.image for frame in frames])
        evaluation.add(frames, scenes, pool)
        rows = [0, 1, 1, 3]
        twice.add([frames[row] for row in rows], [scenes[row] for row in rows], pool)
    picked = evaluation.scores(np.array(rows))
    for task, scores in twice.scores()["bdd"].items():
        assert picked["bdd"][task] == pytest.approx(scores, nan_ok=True), task


def test_thresholds_are_not_among_the_scores(folder, oracle, score):
    result = score(folder, oracle())
    for tasks in (result["scores"], *(part["scores"] for part in result["slices"].values())):
        for scores in tasks["bdd"].values():
            assert not any("threshold" in key for key in scores)
    thresholds = result["thresholds"]["det"]
    assert 0 < thresholds["threshold"] < 1
    assert 0 < thresholds["shown_threshold/car"] < 1
    assert np.isnan(thresholds["shown_threshold/rider"])


def test_each_score_says_whose_definition_it_follows(folder, oracle, score):
    tasks = score(folder, oracle())["tasks"]
    official = {
        (protocol, task): set(about["official"])
        for protocol, by_task in tasks.items()
        for task, about in by_task.items()
    }
    assert {"mAP", "AR100", "AP50/car"} <= official["bdd", "det"]
    assert "bestF1" not in official["bdd", "det"]
    assert {"mIoU", "pixAcc"} <= official["bdd", "drivable"]
    assert not official["bdd", "drivable"] & {"mIoU_strict", "pixAcc_strict"}
    assert {"average_F1@5", "F1@5/style/solid"} <= official["bdd", "lane"]
    assert not official["bdd", "lane"] & {"F1@5", "IoU", "recall"}
    assert official["panoptic", "det"] == {"mAP50_yolop", "recall_yolop"}


# Labels ---------------------------------------------------------------------------------------


def test_other_datasets_are_scored_with_what_they_label(tmp_path, oracle):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    cv2.imwrite(str(tmp_path / "val2017/a.jpg"), np.full((*NATIVE, 3), 40, np.uint8))
    record = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 320, "height": 180}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 20, 30, 40], "iscrowd": 0}
        ],
        "categories": [{"id": 3, "name": "car"}],
    }
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps(record))
    predictor = oracle()
    dataset = open_dataset(f"coco:{tmp_path}", "val", tuple(predictor.views), exact=True)
    result = evaluate(predictor, dataset)
    assert result["labelled"] == {"bdd": {"det": 1}, "panoptic": {"det": 1}}
    assert result["scores"]["bdd"]["det"]["mAP50"] >= 0
    assert "not scored, no labels: drivable, lane, scene" in result["notes"]


# Frames and scenes ----------------------------------------------------------------------------


def test_outputs_that_are_no_boxes_are_scored_as_the_car_sees_them(folder, oracle, score):
    """Rows of an unknown class, NaN and boxes in the padding are not in the scene."""

    class Broken(oracle):
        def arrays(self, index):
            arrays = super().arrays(index)
            arrays["det"][4] = [10, 20, 60, 80, 0.95, len(DETECTION)]
            arrays["det"][5] = [10, 20, 60, 80, 0.95, -1]
            arrays["det"][6] = [10, np.nan, 60, 80, 0.95, 2]
            arrays["det"][7] = [0, 0, 320, 5, 0.95, 2]
            return arrays

    predictor = Broken()
    (scene,) = predictor([np.full((*NATIVE, 3), 40, np.uint8)])
    rows = scene.outputs["det"].array()
    boxes = rows[rows[:, 4] > 0]
    assert len(boxes) == 4
    for protocol, tasks in score(folder, oracle())["scores"].items():
        broken = score(folder, predictor)["scores"][protocol]["det"]
        assert broken == pytest.approx(tasks["det"], nan_ok=True)


def test_attributes_by_name():
    names = dict(zip(ATTRIBUTES, ("rainy", "undefined", "daytime"), strict=True))
    assert attribute_names(np.array([0, -1, 0])) == names


def test_an_unreadable_frame_is_named_or_skipped(folder, oracle, score):
    (folder / "images/100k/val/f2.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"f2\.jpg.*--skip-bad"):
        score(folder, oracle())
    result = score(folder, oracle(), skip_bad=True)
    assert result["frames"] == 4
    assert "f2.jpg" in result["skipped"][0]
    assert result["scores"]["bdd"]["det"]["mAP"] == pytest.approx(100.0)


def test_frames_come_in_order_however_many_are_read_in_advance(folder, oracle):
    dataset = open_dataset(str(folder), "val", tuple(oracle().views), exact=True)
    with ThreadPoolExecutor(3) as pool:
        for ahead in (1, 2, 9):
            names = [frame.name for frame in read_frames(dataset, pool, ahead)]
            assert names == [f"f{i}" for i in range(5)]


def test_an_unknown_task_is_an_error():
    with pytest.raises(UserError, match="unknown task 'lanes'; did you mean 'lane'"):
        Evaluation({"lanes": View("map")}, ["bdd"])
