"""COCO scores counted by hand; tests/training/data/test_toolkit.py compares with the toolkit."""

import tracemalloc

import numpy as np
import pytest

from perception.metrics import detection
from perception.metrics.detection import DetectionMetric

HUNDRED = pytest.approx(100.0)
CLASSES = ("cat", "dog", "emu")


def target(boxes, classes, ignore=None):
    out = {"boxes_xyxy": np.array(boxes, np.float32).reshape(-1, 4), "classes": np.array(classes)}
    return out if ignore is None else out | {"ignore": np.array(ignore)}


def decoded(*rows):
    return np.array(rows, np.float32).reshape(-1, 6)


def score(found, truth, **pick):
    metric = DetectionMetric(CLASSES)
    metric.update(found, truth)
    return metric.compute(**pick)


BOX, FAR = [10, 10, 59, 59], [200, 200, 249, 249]  # 50 x 50 with their last pixels: medium


def test_without_truth_nan_and_without_predictions_zero():
    assert np.isnan(DetectionMetric(CLASSES).compute()["mAP50"])
    assert np.isnan(score(decoded(), target([], []))["mAP50"])
    scores = score(decoded(), target([BOX], [0]))
    assert scores["mAP50"] == scores["AR100"] == 0.0
    assert np.isnan(scores["AP50/dog"])


def test_perfect_is_100_and_sizes_are_separate():
    scores = score(decoded([*BOX, 0.9, 0]), target([BOX], [0]))
    for key in ("mAP", "mAP75", "APm", "AR1"):
        assert scores[key] == HUNDRED
    assert np.isnan(scores["APs"])
    assert np.isnan(scores["APl"])


def test_class_must_agree():
    assert score(decoded([*BOX, 0.9, 1]), target([BOX], [0]))["mAP50"] == 0.0


def test_a_false_positive_ranked_first_halves_precision():
    found = decoded([*FAR, 0.9, 0], [*BOX, 0.8, 0])
    assert score(found, target([BOX], [0]))["AP50/cat"] == pytest.approx(50.0)


def test_a_second_box_on_one_truth_is_wrong():
    found = decoded([*BOX, 0.9, 0], [*BOX, 0.8, 0], [*FAR, 0.7, 0])
    # recalls 1/2, 1/2, 1 and precisions 1, 1/2, 2/3: 51 points at 1, 50 at 2/3
    scores = score(found, target([BOX, FAR], [0, 0]))
    assert scores["AP50/cat"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert scores["AR1"] == pytest.approx(50.0)


def test_ignored_truth_counts_neither_way():
    found = decoded([*FAR, 0.9, 0], [*FAR, 0.85, 0], [*BOX, 0.8, 0])
    scores = score(found, target([BOX, FAR], [0, 0], [False, True]))
    assert scores["AP50/cat"] == HUNDRED


def test_boxes_include_their_last_pixel():
    # 10 wide against 5: IoU 0.5 counted inclusively, 4 / 9 otherwise.
    assert score(decoded([0, 0, 4, 9, 0.9, 0]), target([[0, 0, 9, 9]], [0]))["mAP50"] == HUNDRED


def test_padding_rows_are_no_predictions_or_truth():
    found = decoded([*BOX, 0.9, 0], *([[0] * 6] * 5))
    assert score(found, target([BOX, [0, 0, 0, 0]], [0, -1]))["mAP50"] == HUNDRED


def test_rows_pick_frames_with_repeats():
    metric = DetectionMetric(CLASSES)
    metric.update(decoded([*BOX, 0.9, 0]), target([BOX], [0]))
    metric.update(decoded(), target([BOX], [0]))
    assert metric.compute(np.array([0]))["mAP50"] == HUNDRED
    assert metric.compute(np.array([1]))["mAP50"] == 0.0
    # Three of four wanted: precision 1 at recalls up to 0.75, which are 76 of 101 points.
    assert metric.compute(np.array([0, 1, 0, 0]))["mAP50"] == pytest.approx(7600 / 101)


def crowded(truths, seed, kinds=3):
    """100 predictions near some of very many boxes that overlap, a fifth of them ignored."""
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 600, (truths, 2)), rng.uniform(4, 120, (truths, 2))
    boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)
    boxes[1::7] = boxes[0]  # equals too
    classes, picked = rng.integers(0, kinds, truths), rng.integers(0, truths, 100)
    near = boxes[picked] + rng.normal(0, 3, (100, 4))
    found = np.column_stack([near, rng.random(100), classes[picked]]).astype(np.float32)
    return found, target(boxes, classes, rng.random(truths) < 0.2)


@pytest.mark.parametrize("few", [50, 701])
def test_matching_in_chunks_equals_matching_at_once(few, monkeypatch):
    metrics = [DetectionMetric(CLASSES) for _ in range(2)]
    for metric, most in zip(metrics, (10**9, few), strict=True):
        monkeypatch.setattr(detection, "MAX_TRUTH", most)
        for seed in range(3):
            metric.update(*crowded(3000, seed))
    whole, parts = metrics
    assert np.array_equal(np.concatenate(whole._found), np.concatenate(parts._found))
    assert whole.compute()["AR100"] > 0


def test_memory_is_bounded_whatever_the_number_of_boxes():
    metric = DetectionMetric(CLASSES)
    metric.update(*crowded(3000, 0))  # what is imported at first use is not counted
    found, truth = crowded(300_000, 0, kinds=1)
    tracemalloc.start()
    metric.update(found, truth)
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 50_000  # what stays of a frame
    assert most < 100e6  # the IoUs at once would be 240 MB


BOXES = [
    [0, 0, 20, 20, 0.9, 0],
    [200, 0, 220, 20, 0.8, 0],
    [50, 50, 80, 80, 0.6, 0],
    [300, 0, 320, 20, 0.4, 0],
    [400, 0, 420, 20, 0.3, 0],
]
TRUTH = [[0, 0, 20, 20], [50, 50, 80, 80], [90, 0, 99, 9]]


def test_threshold_is_the_score_of_the_best_f1():
    scores = score(decoded(*BOXES), target(TRUTH, [0, 0, 0]))
    # Two of three found with one false positive: 2 * 2 / (3 + 3).
    assert scores["bestF1"] == pytest.approx(100 * 4 / 6)
    assert scores["threshold"] == pytest.approx(60)


def shown(*rows, truth=TRUTH, classes=(0, 0, 0), ignore=None):
    return score(decoded(*rows), target(truth, classes, ignore))["shown_threshold/cat"]


def test_shown_threshold_is_the_lowest_with_a_precision_of_70_percent():
    assert shown(*BOXES) == pytest.approx(90)  # precisions 1, 1/2, 2/3, ...
    right = [[*TRUTH[2], 0.5, 0]]
    assert shown(*BOXES[:3], *right) == pytest.approx(50)  # 3/4 again
    assert shown(*BOXES[1:2]) == 100.0, "no score has the precision"
    assert shown() == 100.0
    assert np.isnan(shown(*BOXES, truth=[], classes=[])), "without objects it cannot be measured"


def test_shown_threshold_takes_boxes_of_equal_score_together():
    tied = [[*TRUTH[0], 0.6, 0], [200, 0, 220, 20, 0.6, 0]]
    assert shown(*tied) == 100.0
    assert shown([*TRUTH[1], 0.9, 0], *tied) == pytest.approx(90)


def test_shown_threshold_is_per_class_and_ignored_truth_does_not_count():
    other = [[*TRUTH[1], 0.7, 1], [200, 0, 220, 20, 0.95, 1]]
    scores = score(decoded(*BOXES[:1], *other), target(TRUTH, [0, 1, 1]))
    assert scores["shown_threshold/cat"] == pytest.approx(90)
    assert scores["shown_threshold/dog"] == 100.0
    assert np.isnan(scores["shown_threshold/emu"])
    assert shown(*BOXES[:3], ignore=[False, False, True]) == pytest.approx(90)


def test_objects_are_counted_and_rare_classes_noted():
    metric = DetectionMetric(CLASSES)
    metric.update(decoded(), target([BOX, FAR, FAR], [0, 1, 1], [False, False, True]))
    metric.update(decoded(), target([BOX] * 40, [0] * 40))
    assert metric.counts() == {"cat": 41, "dog": 1, "emu": 0}
    assert metric.counts(np.array([0, 0])) == {"cat": 2, "dog": 2, "emu": 0}
    (note,) = metric.notes()
    assert "dog (1)" in note
    assert "cat" not in note


@pytest.mark.parametrize(
    ("width", "map75", "thresholds"), [(72, 0.0, 5), (75, 100.0, 6), (77, 100.0, 6), (80, 100.0, 7)]
)
def test_map75_is_at_an_iou_of_75_percent(width, map75, thresholds):
    """A box of `width` in one of 100 columns: the IoU in percent, found at 50, 55, ..., 95."""
    scores = score(decoded([0, 0, width - 1, 9, 0.9, 0]), target([[0, 0, 99, 9]], [0]))
    assert scores["mAP75"] == pytest.approx(map75)
    assert scores["mAP"] == pytest.approx(10.0 * thresholds)


def test_recall_of_the_first_and_of_the_first_ten_boxes():
    truth = [[20 * n, 0, 20 * n + 9, 9] for n in range(11)]
    found = decoded(*([*box, 0.9 - 0.01 * n, 0] for n, box in enumerate(truth)))
    scores = score(found, target(truth, [0] * 11))
    assert scores["AR1"] == pytest.approx(100 / 11)
    assert scores["AR10"] == pytest.approx(1000 / 11)
    assert scores["AR100"] == HUNDRED


@pytest.mark.parametrize(("before", "ap"), [(99, 1.0), (100, 0.0)])
def test_only_the_best_hundred_boxes_of_a_class_count(before, ap):
    """The right box comes after `before` wrong ones; those of another class take no place."""
    wrong = [[*FAR, 0.9, kind] for kind in (0, 1) for _ in range(before)]
    scores = score(decoded(*wrong, [*BOX, 0.1, 0]), target([BOX], [0]))
    assert scores["AP50/cat"] == pytest.approx(ap)
    assert scores["AR100"] == pytest.approx(100 * ap)


@pytest.mark.parametrize(("objects", "rare"), [(29, True), (30, False)])
def test_fewer_than_thirty_objects_are_rare(objects, rare):
    metric = DetectionMetric(CLASSES)
    metric.update(decoded(), target([BOX] * objects, [0] * objects))
    assert bool(metric.notes()) == rare
