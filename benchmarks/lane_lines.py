"""Scores of lane polylines: distance of points, F1 at 1.5 m, and F1 by line IoU.

Each frame's predicted and true lines are matched one to one so that the most pairs pass the
threshold; F1 = 2 TP / (lines predicted + lines true), over all frames.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

NEAR_M = 1.5  # OpenLane's threshold (arXiv 2203.11089, section 5.1)
POINT_SHARE = 0.75  # of a line's points that must be within it, in OpenLane
STEP_M = 1.0
# CULane's evaluation (arXiv 1712.06080): lines 30 pixels wide on frames of 1640 pixels, IoU 0.5.
LINE_WIDTH_SHARE = 30 / 1640
MIN_IOU = 0.5


class LaneLineMetric:
    """Accumulates frames of lines in metres (`update_ground`) and in pixels (`update_pixels`)."""

    def __init__(self) -> None:
        self.ground = np.zeros(3, np.int64)  # matched, predicted, true lines
        self.pixels = np.zeros(3, np.int64)
        self.distances: list[np.ndarray] = []

    def update_ground(self, found: Sequence[np.ndarray], real: Sequence[np.ndarray]) -> None:
        """One frame's lines as (N, 2) right and forward in metres."""
        off = [[ground_distances(a, b) for b in real] for a in found]
        good = [[len(d) > 0 and (d <= NEAR_M).mean() >= POINT_SHARE for d in row] for row in off]
        pairs = match(good, len(real))
        self.distances += [off[i][j][np.isfinite(off[i][j])] for i, j in pairs]
        self.ground += (len(pairs), len(found), len(real))

    def update_pixels(
        self, found: Sequence[np.ndarray], real: Sequence[np.ndarray], size_hw: tuple[int, int]
    ) -> None:
        """One frame's lines as (N, 2) xy in pixels."""
        drawn = [[_drawn(line, size_hw) for line in lines] for lines in (found, real)]
        good = [[_iou(a, b) >= MIN_IOU for b in drawn[1]] for a in drawn[0]]
        pairs = match(good, len(real))
        self.pixels += (len(pairs), len(found), len(real))

    def compute(self) -> dict[str, float]:
        """F1 in percent; median distance of matched lines' points on the ground in metres."""
        distances = np.concatenate([*self.distances, np.zeros(0)])
        return {
            "F1@1.5m": f1(self.ground),
            "F1@IoU0.5": f1(self.pixels),
            "point distance": float(np.median(distances)) if len(distances) else float("nan"),
        }


def f1(counts: np.ndarray) -> float:
    """Percent, from (matched, predicted, true); NaN where there is nothing to find or found."""
    matched, found, real = (int(one) for one in counts)
    return 200.0 * matched / (found + real) if found + real else float("nan")


def ground_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Lateral distances in metres at every STEP_M of the range that either line covers; inf where
    only one does, empty where they share nothing. As in OpenLane, a line that is too short fails
    by its missing points."""
    if len(a) < 2 or len(b) < 2:
        return np.zeros(0)
    (first_a, last_a), (first_b, last_b) = (_range(line) for line in (a, b))
    if min(last_a, last_b) <= max(first_a, first_b):
        return np.zeros(0)
    z = np.arange(min(first_a, first_b), max(last_a, last_b) + 1e-6, STEP_M)
    return np.abs(_at(a, z) - _at(b, z))


def _range(line: np.ndarray) -> tuple[float, float]:
    return float(line[:, 1].min()), float(line[:, 1].max())


def _at(line: np.ndarray, z: np.ndarray) -> np.ndarray:
    order = np.argsort(line[:, 1])
    return np.interp(z, line[order, 1], line[order, 0], left=np.inf, right=-np.inf)


def _drawn(line: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """bool (h, w) at a quarter of the size, where the line is 30/1640 of the width thick."""
    height, width = size_hw[0] // 4, size_hw[1] // 4
    canvas = np.zeros((height, width), np.uint8)
    thick = max(1, round(LINE_WIDTH_SHARE * width))
    path = [np.round(line / 4 * 16).astype(np.int32)]  # 4 fractional bits
    cv2.polylines(canvas, path, False, 1, thick, cv2.LINE_8, shift=4)
    return canvas > 0


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0


def match(good: Sequence[Sequence[bool]], columns: int) -> list[tuple[int, int]]:
    """The most pairs (row, column) with `good`, each row and column used at most once."""
    fits = np.array(good, bool).reshape(len(good), columns)
    pairs = zip(*linear_sum_assignment(fits, maximize=True), strict=True)
    return [(int(row), int(column)) for row, column in pairs if fits[row, column]]
