"""Scores of lane polylines against values worked out by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from lane_lines import LaneLineMetric, ground_distances, match


def line(x: float, first: float = 5, last: float = 45, slope: float = 0.0) -> np.ndarray:
    z = np.arange(first, last + 0.5)
    return np.column_stack([x + slope * z, z])


@pytest.mark.parametrize(
    ("found", "real", "f1"),
    [
        ([line(0)], [line(0)], 100.0),
        ([line(0)], [line(1.4)], 100.0),
        ([line(0)], [line(1.6)], 0.0),
        ([line(0), line(3)], [line(0)], 200 / 3),
        ([], [line(0)], 0.0),
        ([line(0)], [], 0.0),
        ([line(0, last=20)], [line(0)], 0.0),  # covers 16 of 41 points
        ([line(0, last=40)], [line(0)], 100.0),
        ([line(0, 50, 60)], [line(0)], 0.0),
        # One prediction fits both true lines, the other only the first: both are matched.
        ([line(0), line(-1)], [line(0.2), line(1.2)], 100.0),
    ],
)
def test_f1_on_the_ground(found, real, f1):
    metric = LaneLineMetric()
    metric.update_ground(found, real)
    assert metric.compute()["F1@1.5m"] == pytest.approx(f1)


def test_point_distance_is_that_of_matched_lines():
    metric = LaneLineMetric()
    metric.update_ground([line(0.5), line(9)], [line(0), line(20)])
    assert metric.compute()["point distance"] == pytest.approx(0.5)


def test_without_frames_there_is_no_score():
    assert all(np.isnan(value) for value in LaneLineMetric().compute().values())


def test_line_iou_in_pixels():
    metric, size = LaneLineMetric(), (360, 640)
    upright = np.array([[300.0, 350], [300, 100]])
    metric.update_pixels([upright], [upright + np.array([2, 0])], size)
    assert metric.compute()["F1@IoU0.5"] == 100
    metric.update_pixels([upright], [upright + np.array([12, 0])], size)
    assert metric.compute()["F1@IoU0.5"] == 50


def test_lines_that_share_no_range_have_no_distances():
    assert len(ground_distances(line(0, 5, 10), line(0, 20, 30))) == 0


def test_matching_is_maximal():
    assert match([[True, True], [True, False]], 2) == [(0, 1), (1, 0)]
