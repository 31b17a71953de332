"""Masks, lanes, maps, normals and attributes on cases counted by hand."""

import numpy as np
import pytest

from perception.classes import LANE_CATEGORY_UNKNOWN, LANE_TYPE_UNKNOWN
from perception.metrics.classification import ClassificationMetric
from perception.metrics.confusion import ConfusionMetric, confusion
from perception.metrics.lane import LaneMetric
from perception.metrics.maps import BINS, DepthMetric, NormalsMetric, _median

MARKING = LANE_CATEGORY_UNKNOWN | LANE_TYPE_UNKNOWN


def run(metric, *frames):
    for decoded, target in frames:
        metric.update(decoded, target)
    return metric.compute()


@pytest.mark.parametrize(
    ("metric", "key"),
    [
        (ConfusionMetric("ab"), "mIoU"),
        (LaneMetric(), "F1@5"),
        (ClassificationMetric({"a": "xy"}), "accuracy"),
        (DepthMetric(), "abs"),
        (NormalsMetric(), "mean"),
    ],
)
def test_without_frames_the_score_is_nan(metric, key):
    assert np.isnan(metric.compute()[key])


# Masks ----------------------------------------------------------------------------------------


def mask(*values):
    return np.array([values], np.uint8)


def test_confusion_leaves_out_pixels_without_annotation():
    table = confusion(mask(0, 1, 1, 255, 0), mask(0, 0, 1, 1, 255), 2)
    assert table.tolist() == [[1, 1, 0], [0, 1, 1]]


def test_iou_by_hand():
    scores = run(ConfusionMetric("abc"), (mask(0, 0, 1, 1), {"mask": mask(0, 1, 1, 1)}))
    assert scores["IoU/a"] == pytest.approx(50.0)
    assert scores["IoU/b"] == pytest.approx(100 * 2 / 3)
    assert np.isnan(scores["IoU/c"])
    assert scores["mIoU"] == pytest.approx((50 + 200 / 3) / 2)
    assert scores["pixAcc"] == 75.0


def test_false_positives_on_a_class_not_counted_lower_only_the_strict_scores():
    metric = ConfusionMetric("abc", counted="ab")
    scores = run(metric, (mask(0, 1, 0, 2), {"mask": mask(0, 1, 2, 2)}))
    assert scores["mIoU"] == 100.0
    assert scores["mIoU_strict"] == pytest.approx(75.0)
    assert scores["pixAcc"] == 100.0
    assert scores["pixAcc_strict"] == 75.0
    assert "IoU/c" not in scores


def test_pixel_accuracy_without_background_is_the_toolkits():
    metric = ConfusionMetric("abc", counted="ab")
    scores = run(metric, (mask(0, 2, 2, 2, 2), {"mask": mask(0, 1, 2, 2, 2)}))
    assert scores["pixAcc"] == 50.0
    assert scores["pixAcc_strict"] == 80.0
    assert metric.counts() == {"a": 1, "b": 1}


def test_a_prediction_that_is_no_class_is_wrong():
    metric = ConfusionMetric("abc", counted="ab")
    scores = run(metric, (mask(0, 1, 255, 2, 0), {"mask": mask(0, 1, 2, 2, 255)}))
    assert scores["pixAcc_strict"] == 75.0
    assert scores["pixAcc"] == 100.0


def test_rows_are_pooled_not_averaged():
    metric = ConfusionMetric("ab")
    metric.update(mask(0, 0, 0, 0), {"mask": mask(0, 0, 0, 0)})
    metric.update(mask(0, 0, 0, 0), {"mask": mask(1, 1, 1, 1)})
    assert metric.compute()["mIoU"] == pytest.approx((50 + 0) / 2)
    assert metric.compute(np.array([0]))["mIoU"] == 100.0
    assert metric.compute(np.array([0, 0, 0, 1]))["IoU/a"] == pytest.approx(75.0)


# Lanes ----------------------------------------------------------------------------------------


def lane(column=None, byte=0, width=1):
    out = np.full((40, 60), 255, np.uint8)
    if column is not None:
        out[:, column : column + width] = byte
    return out


@pytest.mark.parametrize(
    ("off", "f1"), [(0, (100, 100, 100)), (1, (100, 100, 100)), (2, (0, 100, 100)), (6, (0, 0, 0))]
)
def test_f1_by_distance(off, f1):
    scores = run(LaneMetric(), (lane(20 + off), {"lane": lane(20)}))
    assert tuple(scores[f"F1@{r}"] for r in (1, 2, 5)) == f1
    assert scores["IoU"] == scores["recall"] == (100 if off == 0 else 0)


def test_recall_and_iou_of_a_line_seen_in_part():
    """10 of its 40 pixels, and 20 elsewhere: 10 / 40, and 10 of 60 pixels in all."""
    found = lane()
    found[:10, 20] = found[:20, 40] = 0
    scores = run(LaneMetric(), (found, {"lane": lane(20)}))
    assert scores["recall"] == pytest.approx(25.0)
    assert scores["IoU"] == pytest.approx(100 / 6)


def test_distance_is_euclidean():
    truth, near, far = lane(), lane(), lane()
    truth[10, 10] = near[13, 14] = far[14, 14] = 0  # 5 and 5.66 away
    assert run(LaneMetric(), (near, {"lane": truth}))["F1@5"] == 100.0
    assert run(LaneMetric(), (far, {"lane": truth}))["F1@5"] == 0.0


def test_empty_frames_are_right_and_frames_weigh_equally():
    scores = run(
        LaneMetric(),
        (lane(), {"lane": lane()}),
        (lane(5), {"lane": lane()}),
        (lane(), {"lane": lane(5)}),
        (lane(5, width=9), {"lane": lane(5, width=9)}),
    )
    assert scores["F1@1"] == 50.0


def test_parts_of_the_lane_byte_are_scored_separately():
    # Same place, category wrong (1 for 6), style right, direction wrong.
    scores = run(LaneMetric(), (lane(20, 0b010001), {"lane": lane(20, 0b110110)}))
    assert scores["F1@1"] == scores["style_F1@1"] == 100.0
    assert scores["direction_F1@1"] == 0.0
    assert scores["category_F1@1"] == pytest.approx(100 * 6 / 8)
    assert scores["F1@1/category/single white"] == scores["F1@1/category/double other"] == 0.0
    assert np.isnan(scores["F1@1/category/crosswalk"]), "in neither truth nor prediction"
    assert scores["average_F1@1"] == pytest.approx((0 + 100 + 75) / 3)


def test_binary_truth_counts_for_the_foreground_only():
    binary = (lane(20, 3), {"lane": lane(20, MARKING)})
    scores = run(LaneMetric(), binary)
    assert scores["F1@1"] == scores["IoU"] == 100.0
    assert np.isnan(scores["category_F1@5"])
    assert np.isnan(scores["average_F1@5"])
    # A binary frame without lanes says nothing of categories either, unless typed frames are there.
    assert np.isnan(run(LaneMetric(), binary, (lane(), {"lane": lane()}))["category_F1@5"])
    typed = run(LaneMetric(), binary, (lane(20, 3), {"lane": lane(20, 4)}))
    assert typed["category_F1@5"] == pytest.approx(75.0)


def test_a_prediction_near_a_lane_of_unknown_type_is_neither_right_nor_wrong():
    truth = lane(20, 2)
    truth[:, 40] = MARKING | 0
    found = lane(20, 2)
    found[:, 42] = 2
    scores = run(LaneMetric(), (found, {"lane": truth}))
    assert scores["F1@2/category/double white"] == scores["F1@5/category/double white"] == 100.0
    assert scores["F1@1/category/double white"] == pytest.approx(200 / 3), "2 px away"
    found[:, 42] = 0  # crosswalk, which the truth may contain
    assert run(LaneMetric(), (found, {"lane": truth}))["F1@2/category/crosswalk"] == 100.0


def test_absent_classes_are_nan_but_count_in_the_toolkits_means():
    metric = LaneMetric()
    scores = run(metric, (lane(20, 6), {"lane": lane(20, 6)}), (lane(), {"lane": lane()}))
    assert scores["category_F1@5"] == scores["F1@5/category/single white"] == 100.0
    assert np.isnan(scores["F1@5/category/crosswalk"])
    assert metric.counts()["category/single white"] == 1
    assert metric.counts()["category/crosswalk"] == 0


def test_frames_with_lane_types_are_counted():
    metric = LaneMetric()
    run(metric, (lane(20, 3), {"lane": lane(20, MARKING)}), (lane(20, 3), {"lane": lane(20, 4)}))
    assert metric.typed("category") == 1
    assert "of 2: direction 1, style 1, category 1" in metric.notes()[0]
    binary = LaneMetric()
    run(binary, (lane(20, 3), {"lane": lane(20, MARKING)}), (lane(), {"lane": lane()}))
    assert binary.typed("category") == 0


def test_pixels_without_annotation_are_not_counted():
    truth = lane(20, 2)
    truth[:, 30:] = 254
    found = lane(20, 2)
    found[:, 45] = 2
    scores = run(LaneMetric(), (found, {"lane": truth}))
    assert scores["F1@1"] == scores["IoU"] == scores["recall"] == scores["category_F1@1"] == 100.0
    nothing = run(LaneMetric(), (found, {"lane": np.full_like(truth, 254)}))
    assert np.isnan(nothing["F1@1"])


# Attributes -----------------------------------------------------------------------------------


def test_accuracy_leaves_out_unknown_attributes():
    groups = {"sky": ("sun", "rain"), "hour": ("day", "night", "dusk")}

    def frame(sky, hour, labels):
        out = np.zeros((2, 3), np.float32)
        out[0, sky], out[1, hour] = 1, 1
        return out, {"labels": np.array(labels)}

    scores = run(
        ClassificationMetric(groups),
        frame(0, 0, (0, -1)),
        frame(1, 1, (0, 1)),
        frame(1, 2, (1, 1)),
    )
    assert scores["accuracy/sky"] == pytest.approx(200 / 3)
    assert scores["accuracy/hour"] == 50.0
    assert scores["accuracy"] == pytest.approx((200 / 3 + 50) / 2)
    assert scores["F1/sky"] == pytest.approx(200 / 3)  # 2/3 and 2/3
    assert scores["F1/hour"] == pytest.approx(100 / 3)  # night 2/3, dusk 0; day never occurs


@pytest.mark.parametrize(
    ("truth", "found", "f1"),
    [
        ((0, 0), (0, 0), np.nan),  # one class alone
        ((0, 0), (0, 1), (200 / 3 + 0) / 2),  # two of three
        ((0, 1, 2), (0, 1, 1), (100 + 200 / 3 + 0) / 3),
    ],
)
def test_macro_f1_is_over_the_classes_that_occur_if_there_are_two(truth, found, f1):
    metric = ClassificationMetric({"sky": ("sun", "rain", "snow")})
    for label, best in zip(truth, found, strict=True):
        metric.update(np.eye(3, dtype=np.float32)[[best]], {"labels": np.array([label])})
    assert metric.compute()["F1/sky"] == pytest.approx(f1, nan_ok=True)
    assert metric.compute()["F1"] == pytest.approx(f1, nan_ok=True)


def test_labelled_frames_are_counted_per_class():
    metric = ClassificationMetric({"sky": ("sun", "rain")})
    for label in (0, 0, 1, -1):
        metric.update(np.array([[1, 0]], np.float32), {"labels": np.array([label])})
    assert metric.counts() == {"sky": 3, "sky/sun": 2, "sky/rain": 1}


def test_calibration_error_by_hand():
    metric = ClassificationMetric({"sky": ("sun", "rain")})
    for probability, right in ((0.95, True), (0.95, False), (0.65, True), (0.6, True)):
        decoded = np.array([[probability, 1 - probability]], np.float32)
        metric.update(decoded, {"labels": np.array([0 if right else 1])})
    # One bin holds two at 0.95, of which half are right; 0.65 and 0.6 have a bin each.
    expected = (2 * abs(0.95 - 0.5) + 0.35 + 0.4) / 4
    assert metric.compute()["ECE/sky"] == pytest.approx(100 * expected, abs=1e-3)
    assert metric.compute()["ECE"] == metric.compute()["ECE/sky"]


def test_padding_columns_are_no_class():
    metric = ClassificationMetric({"sky": ("sun", "rain"), "hour": ("day", "night", "dusk")})
    decoded = np.array([[0.4, 0.5, 0.9], [1, 0, 0]], np.float32)
    metric.update(decoded, {"labels": np.array([1, 0])})
    assert metric.compute()["accuracy"] == 100.0


# Maps -----------------------------------------------------------------------------------------


def test_depth_errors_by_hand():
    truth = np.array([[2.0, 4.0, np.nan]], np.float32)
    scores = run(DepthMetric(), (np.array([[3.0, 4.0, 99.0]], np.float32), {"map": truth}))
    assert scores == {"abs": 0.5, "rel": 0.25, "rmse": pytest.approx(0.5**0.5)}


def test_normals_by_hand():
    angles = np.radians([0.0, 10.0, 20.0, 28.0, 90.0])
    decoded = np.stack([np.sin(angles), np.zeros(5), np.cos(angles)])[:, None].astype(np.float32)
    truth = np.zeros((3, 1, 6), np.float32)
    truth[2] = 2.0  # length does not matter
    truth[:, 0, 5] = np.nan
    decoded = np.pad(decoded, ((0, 0), (0, 0), (0, 1)))
    scores = run(NormalsMetric(), (decoded, {"normals": truth}))
    assert scores["mean"] == pytest.approx(148 / 5, abs=1e-3)
    assert scores["median"] == pytest.approx(20.0, abs=0.05)
    assert (scores["<11.25"], scores["<22.5"], scores["<30"]) == (40.0, 60.0, 80.0)


def test_the_median_of_normals_is_close_to_the_exact_one():
    rng = np.random.default_rng(0)
    angles = np.abs(rng.normal(0, 30, 5000))
    rad = np.radians(angles)
    decoded = np.stack([np.sin(rad), 0 * rad, np.cos(rad)])[:, None]
    truth = np.zeros((3, 1, 5000))
    truth[2] = 1
    assert run(NormalsMetric(), (decoded, {"normals": truth}))["median"] == pytest.approx(
        np.median(angles), abs=0.02
    )


@pytest.mark.parametrize(
    ("counts", "median"),
    [
        ({10: 1}, 10.5),  # in the middle of its bin
        ({10: 1, 20: 1}, 11),  # where half of the pixels lie below
        ({10: 1, 20: 3}, 20 + 1 / 3),
        ({0: 4, 20: 1}, 0.625),
        ({BINS - 1: 2}, BINS - 0.5),
    ],
)
def test_median_of_a_histogram_by_hand(counts: dict[int, int], median: float):
    histogram = np.zeros(BINS, np.int64)
    histogram[[*counts]] = [*counts.values()]
    assert _median(histogram) == pytest.approx(median * 180 / BINS)


def test_the_median_of_two_normals_of_one_bin_is_between_its_edges():
    """10.01 and 10.04 degrees are in the bin from 10.00 to 10.05."""
    rad = np.radians([10.01, 10.04])
    decoded = np.stack([np.sin(rad), 0 * rad, np.cos(rad)])[:, None]
    truth = np.zeros((3, 1, 2))
    truth[2] = 1
    scores = run(NormalsMetric(), (decoded, {"normals": truth}))
    assert scores["median"] == pytest.approx(10.025, abs=1e-6)
