"""The panoptic protocol by hand: every rule has a case here that fails if it is changed."""

from fnmatch import fnmatch

import numpy as np
import pytest

from perception.classes import DETECTION, DRIVABLE
from perception.metrics.panoptic import (
    AreaMetric,
    LineMetric,
    VehicleMetric,
    average_precision,
    box_iou,
    match,
    nms,
    panoptic_metric,
    shrink,
)
from perception.runtime.view import LANE_BYTE, View

CAR, TRUCK, PERSON = (DETECTION.index(name) for name in ("car", "truck", "pedestrian"))
EMPTY = np.zeros((0, 6), np.float32)


def box(x, score, c=CAR, width=100):
    return [x, 0, x + width, 100, score, c]


def vehicles(found, truth, classes=None, **extra):
    metric = VehicleMetric(DETECTION)
    target = {
        "boxes_xyxy": np.array([b[:4] for b in truth], np.float32).reshape(-1, 4),
        "classes": np.array([b[5] for b in truth] if classes is None else classes, np.int64),
        **extra,
    }
    metric.update(np.array(found, np.float32).reshape(-1, 6), target)
    return metric.compute()


# Vehicles -------------------------------------------------------------------------------------


def test_no_prediction_scores_zero_and_no_truth_nan():
    assert vehicles([], [box(0, 1)]) == dict.fromkeys(
        ("mAP50", "recall", "mAP50_yolop", "recall_yolop"), 0.0
    )
    assert np.isnan(vehicles([box(0, 0.9)], [])["mAP50"])


def test_car_bus_truck_train_are_one_class_and_others_none():
    for name in ("car", "bus", "truck", "train"):
        truth = [box(0, 1, DETECTION.index(name))]
        assert vehicles([box(0, 0.9, CAR)], truth)["recall"] == 100.0
    assert vehicles([box(0, 0.9, TRUCK)], [box(0, 1, CAR)])["recall"] == 100.0
    assert np.isnan(vehicles([box(0, 0.9, PERSON)], [box(0, 1, PERSON)])["recall"])
    assert vehicles([box(0, 0.9, PERSON)], [box(0, 1, CAR)])["recall"] == 0.0


def test_candidates_start_above_confidence_0_001():
    truth = [box(0, 1), box(500, 1)]
    assert vehicles([box(0, 0.9), box(500, 0.0011)], truth)["recall"] == 100.0
    assert vehicles([box(0, 0.9), box(500, 0.0009)], truth)["recall"] == 50.0


def test_at_most_300_boxes_the_most_confident_ones():
    noise = [box(5000 + i, 0.5) for i in range(299)]
    assert vehicles([*noise, box(0, 0.4)], [box(0, 1)])["recall"] == 100.0
    assert vehicles([*noise, box(9000, 0.5), box(0, 0.4)], [box(0, 1)])["recall"] == 0.0
    assert vehicles([*noise, box(9000, 0.5), box(0, 0.6)], [box(0, 1)])["recall"] == 100.0


def test_iou_must_be_more_than_half_in_continuous_pixels():
    half, more = [0, 0, 50, 100, 0.9, CAR], [0, 0, 51, 100, 0.9, CAR]
    assert box_iou(np.array([half[:4]]), np.array([[0, 0, 100, 100]]))[0, 0] == 0.5
    assert vehicles([half], [box(0, 1)])["recall"] == 0.0
    assert vehicles([more], [box(0, 1)])["recall"] == 100.0


def test_the_more_confident_prediction_takes_the_truth():
    near, exact = box(10, 0.9), box(0, 0.8)
    # The worse box comes first and is right; at recall 1 the envelope has fallen to 1/2, so the
    # last of the hundred trapezoids is (1 + 1/2) / 2. By overlap it would be 50.
    assert vehicles([exact, near], [box(0, 1)])["mAP50"] == pytest.approx(99 + 0.75)


def test_a_prediction_takes_its_best_free_truth_and_yolop_only_its_best():
    ious = np.array([[0.9, 0.6], [0.8, 0.7]])
    assert match(ious).tolist() == [True, True]
    assert match(ious, only_best=True).tolist() == [True, False]
    assert match(np.array([[0.6, 0.9], [0.7, 0.0]])).tolist() == [True, True]


def test_yolop_suppresses_overlaps_above_0_6_over_the_merged_class():
    # A truck on a car: IoU 0.67, then 0.54.
    near, far = [20, 0, 120, 100, 0.8, TRUCK], [30, 0, 130, 100, 0.8, TRUCK]
    truth = [box(0, 1), box(25, 1)]
    assert vehicles([box(0, 0.9), near], truth)["recall"] == 100.0
    assert vehicles([box(0, 0.9), near], truth)["recall_yolop"] == 50.0
    assert vehicles([box(0, 0.9), far], truth)["recall_yolop"] == 100.0


def test_yolop_keeps_300_boxes_after_suppression():
    doubles = [box(0, 0.9 - i / 1000) for i in range(300)]
    scores = vehicles([*doubles, box(500, 0.4)], [box(500, 1)])
    assert (scores["recall"], scores["recall_yolop"]) == (0.0, 100.0)


def test_suppression_is_greedy_in_order_of_confidence():
    boxes = np.array([[0, 0, 100, 100], [20, 0, 120, 100], [40, 0, 140, 100]])
    assert nms(boxes, 0.6).tolist() == [0, 2]  # the second is gone and suppresses nothing
    assert nms(boxes, 0.7).tolist() == [0, 1, 2]
    assert nms(np.zeros((0, 4)), 0.6).tolist() == []


def test_the_last_sentinel_of_yolops_validation_is_0_001_beyond_the_last_recall():
    # One of two found: envelope 1 to recall 0.5, 0 from 0.501, so 0 at the next point 0.51.
    assert average_precision(np.array([1]), 2, 0.001)[0] == pytest.approx(0.5 + 0.01 / 2)
    # One of eight (0.125): 1 at 0.12, 0 from 0.126.
    assert average_precision(np.array([1]), 8, 0.001)[0] == pytest.approx(0.12 + 0.01 / 2)
    truth = [box(500 * i, 1) for i in range(8)]
    scores = vehicles([box(0, 0.9)], truth)
    assert scores["mAP50"] == pytest.approx(12 + 0.75 + 0.25)
    assert scores["mAP50_yolop"] == pytest.approx(12.5)


def test_ignored_truth_is_no_part_of_the_protocol():
    truth = [box(0, 1), box(500, 1)]
    scores = vehicles([box(0, 0.9)], truth, ignore=np.array([False, True]))
    assert scores["recall"] == 100.0
    scores = vehicles([box(500, 0.9), box(0, 0.8)], truth, ignore=np.array([False, True]))
    assert scores["mAP50"] < 60, "a box on ignored truth is a false alarm"


def test_ap_has_envelope_sentinels_and_101_trapezoids():
    # Two wanted; right, wrong, right: recall .5 .5 1, precision 1 1/2 2/3, envelope 1 2/3 2/3.
    ap, recall = average_precision(np.array([1, 0, 1]), 2)
    # At 0.5 itself np.interp takes the last of equal recalls: points 0 to 0.49 are 1, the rest 2/3.
    assert recall == 1.0
    values = np.concatenate([np.full(50, 1.0), np.full(51, 2 / 3)])
    assert ap == pytest.approx(((values[1:] + values[:-1]) / 2).sum() / 100)


def test_the_last_sentinel_is_one_hundredth_beyond_the_last_recall():
    # One of two found: envelope 1 to recall 0.5, falling to 0 at 0.51, which is a point itself.
    ap, recall = average_precision(np.array([1]), 2)
    assert recall == 0.5
    assert ap == pytest.approx(0.5 + 0.01 / 2)
    # One of eight: 1 at 0.12, half way down at 0.13, 0 from 0.135.
    assert average_precision(np.array([1]), 8)[0] == pytest.approx(0.12 + 0.0075 + 0.0025)
    # At recall 1 the sentinel lies beyond the last point and costs nothing.
    assert average_precision(np.array([1, 1]), 2)[0] == pytest.approx(1.0)


def test_recall_is_the_largest_reached_not_that_of_the_best_f1():
    right = np.array([1] + [0] * 50 + [1])
    assert average_precision(right, 2)[1] == 1.0


def test_frames_are_pooled_in_order_of_confidence():
    metric = VehicleMetric(DETECTION)
    one = {"boxes_xyxy": np.array([[0, 0, 100, 100]], np.float32), "classes": np.array([CAR])}
    metric.update(np.array([box(900, 0.3)], np.float32), one)  # wrong, unsure
    metric.update(np.array([box(0, 0.9)], np.float32), one)  # right, sure
    # Right then wrong: 1 to recall 0.49, 1/2 at 0.5, 0 from 0.51. The other way round 25.
    assert metric.compute()["mAP50"] == pytest.approx(49 + 0.75 + 0.25)
    assert metric.compute(np.array([1]))["mAP50"] == pytest.approx(100.0)
    assert metric.compute(np.array([0]))["mAP50"] == 0.0


# Areas ----------------------------------------------------------------------------------------


def area(found_rows, truth_rows):
    """Frames of 360 x 640 / 720 x 1280 whose first rows are drivable (in pixels at 360)."""
    found, truth = np.full((360, 640), 2, np.uint8), np.full((720, 1280), 2, np.uint8)
    found[:found_rows], truth[: 2 * truth_rows] = 0, 1  # direct against alternative: merged
    return found, {"mask": truth}


def test_area_merges_direct_and_alternative_and_averages_two_classes():
    metric = AreaMetric(DRIVABLE)
    metric.update(*area(90, 180))
    # drivable 90 / 180, background 180 / 270
    assert metric.compute()["mIoU_set"] == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)
    assert metric.compute()["accuracy_set"] == pytest.approx(75.0)


def test_area_is_compared_at_360x640():
    found, target = area(90, 180)
    truth, known = shrink(target["mask"] != 2, np.zeros((720, 1280), bool))
    assert truth.shape == known.shape == (360, 640)
    metric = AreaMetric(DRIVABLE)
    target["mask"][:] = 2
    target["mask"][0, 0] = 0  # one native pixel is one whole pixel at 360x640
    found[:] = 2
    found[0, 0] = 0
    metric.update(found, target)
    assert metric.compute()["mIoU_set"] == 100.0


def test_batch24_resets_its_counters_and_weighs_by_batch_size():
    metric = AreaMetric(DRIVABLE)
    for _ in range(24):
        metric.update(*area(180, 180))  # perfect
    for _ in range(6):
        metric.update(*area(0, 180))  # nothing found: 0 and 1/2
    scores = metric.compute()
    assert scores["mIoU_batch24"] == pytest.approx((24 * 100 + 6 * 25) / 30)
    # One table: drivable 24 / 30, background 30 / 36.
    assert scores["mIoU_set"] == pytest.approx(100 * (24 / 30 + 30 / 36) / 2)


def test_area_not_annotated_is_not_counted():
    found, target = area(180, 180)
    target["mask"][:360, :640] = 255
    found[:180, :320] = 2
    metric = AreaMetric(DRIVABLE)
    metric.update(found, target)
    assert metric.compute()["mIoU_set"] == 100.0


# Lanes ----------------------------------------------------------------------------------------


def lane(found_columns, truth_columns):
    """Found at 360 x 640 and truth at 720 x 1280, lanes in the given columns of each."""
    found, truth = np.full((360, 640), 255, np.uint8), np.full((720, 1280), 255, np.uint8)
    found[:, found_columns], truth[:, truth_columns] = 6, 0b110000
    return found, {"lane": truth}


def test_lane_truth_is_shrunk_by_area_and_above_one():
    # Two native columns 101 and 102 touch columns 50 and 51: both are lane.
    truth = lane([], slice(101, 103))[1]["lane"] != 255
    small, _ = shrink(truth, np.zeros_like(truth))
    assert np.flatnonzero(small[0]).tolist() == [50, 51]
    metric = LineMetric()
    metric.update(*lane([50, 51], slice(101, 103)))
    assert metric.compute()["IoU_set"] == 100.0


def test_an_8_px_prediction_against_2_px_truth_is_capped_below_half():
    found = shrink(lane([], slice(97, 105))[1]["lane"] != 255, np.zeros((720, 1280), bool))[0]
    metric = LineMetric()
    metric.update(np.where(found, 0, 255).astype(np.uint8), lane([], slice(100, 102))[1])
    assert metric.compute()["IoU_set"] < 48
    assert metric.compute()["IoU_dilated_set"] == 100.0


def test_both_lane_accuracies():
    metric = LineMetric()
    # Truth in columns 100..103 (4 of 640); found 102..105: 2 right, 2 wrong, 2 missed.
    metric.update(*lane(slice(102, 106), slice(200, 208)))
    scores = metric.compute()
    assert scores["IoU_set"] == pytest.approx(100 * 2 / 6)
    assert scores["recall_set"] == pytest.approx(50.0)
    assert scores["balanced_set"] == pytest.approx(100 * (2 / 4 + 634 / 636) / 2)


def test_dilated_truth_is_three_pixels_wider_on_each_side():
    metric = LineMetric()
    # Columns 200, 201 become 197..204, which touch columns 98..102 at half size.
    metric.update(*lane(slice(98, 103), slice(200, 202)))
    scores = metric.compute()
    assert scores["IoU_dilated_set"] == 100.0
    assert scores["IoU_set"] == pytest.approx(100 * 1 / 5)
    # Columns 201, 202 become 198..205, which touch 99..102; one pixel wider would touch 98, 103.
    metric = LineMetric()
    metric.update(*lane(slice(99, 103), slice(201, 203)))
    assert metric.compute()["IoU_dilated_set"] == 100.0


def test_lane_batch24_against_set():
    metric = LineMetric()
    for _ in range(24):
        metric.update(*lane([100], slice(200, 202)))
    metric.update(*lane([], slice(200, 202)))
    scores = metric.compute()
    assert scores["recall_batch24"] == pytest.approx(100 * 24 / 25)
    metric.update(*lane([], slice(200, 204)))  # a frame with twice the lane
    scores = metric.compute()
    assert scores["recall_batch24"] == pytest.approx(100 * 24 / 26)
    assert scores["recall_set"] == pytest.approx(100 * 24 / 27)


def test_a_model_of_another_size_is_compared_on_the_same_grid():
    metric = LineMetric()
    found, target = lane([100], slice(200, 202))
    metric.update(np.ascontiguousarray(found[::2, ::2]), target)  # 180 x 320
    assert metric.compute()["recall_set"] == 100.0
    assert metric.compute()["IoU_set"] == 50.0


def test_lane_ignore_is_not_counted():
    metric = LineMetric()
    found, target = lane([100, 300], slice(200, 202))
    target["lane"][:, 600:602] = 254
    metric.update(found, target)
    assert metric.compute()["IoU_set"] == 100.0


def test_batch_size_is_chosen_and_only_24_is_as_published():
    view = View("mask", encoding=LANE_BYTE)
    metric = panoptic_metric(view, batch=2)
    for columns in ([100], [100], []):
        metric.update(*lane(columns, slice(200, 202)))
    assert metric.compute()["recall_batch2"] == pytest.approx(100 * 2 / 3)
    backwards = metric.compute(np.array([2, 1, 0]))  # (0 + 1) / 2 in the first batch, then 1
    assert backwards["recall_batch2"] == pytest.approx(100 * 2 / 3)
    assert backwards["IoU_batch2"] == metric.compute()["IoU_batch2"]
    assert not any(fnmatch("recall_batch2", pattern) for pattern in metric.official)
    assert any(fnmatch("recall_batch24", pattern) for pattern in panoptic_metric(view).official)
    assert "order of the frames" in metric.notes()[0]
