"""The left and right border of the ego lane, fitted to the lane mask."""

import numpy as np

from perception.runtime.lanes import marks_along
from perception.runtime.scene import Mask, Scene

ROWS = 40
TOP = 0.5  # of the frame's height: the horizon of a usual dash-cam
# Where a border may begin, of the height. Below, the bonnet may reflect the markings.
BOTTOMS = (0.97, 0.86, 0.76)
MAX_OUTWARD = 0.03  # of the width, in the lower half: a border runs towards the vanishing point
MAX_JUMP = 0.06  # of the width, between two rows
MIN_POINTS = 6


def ego_lane(scene: Scene) -> dict[str, np.ndarray]:
    """{"left": (N, 2), "right": (N, 2)} xy polylines in frame pixels; a side without a border
    is absent."""
    for _, mask in scene.of(Mask):
        if mask.is_lane_byte:
            return ego_borders(mask)
    return {}


def ego_borders(mask: Mask) -> dict[str, np.ndarray]:
    """The nearest marking to the left and right of the frame's middle, followed upwards.

    Each side is a parabola x(y), fitted by least squares and once more without its outliers.
    """
    marks = marks_along(mask)
    height, width = marks.shape
    scale = np.array([mask.frame_hw[1] / width, mask.frame_hw[0] / height])
    sides = {}
    for side, sign in (("left", -1), ("right", 1)):
        for bottom in BOTTOMS:
            points = follow(marks, sign, bottom)
            if len(points) < MIN_POINTS:
                continue
            path = parabola(points)
            if runs_ahead(path, sign, width):
                sides[side] = (path + 0.5) * scale
                break
    return sides


def runs_ahead(path: np.ndarray, sign: int, width: int) -> bool:
    """Whether a border, given from the bottom up, stays with the lane in its lower half."""
    near = path[: len(path) // 2, 0]
    return bool((sign * (near - near[0])).max() <= MAX_OUTWARD * width)


def follow(marks: np.ndarray, sign: int, bottom: float = BOTTOMS[0]) -> np.ndarray:
    """(N, 2) xy of one border's points, from the bottom row up, ending where it jumps.

    The first point is the marking nearest to the middle on one side (`sign` -1: left, 1: right).
    """
    height, width = marks.shape
    points: list[tuple[float, int]] = []
    rows = np.linspace(TOP * (height - 1), bottom * (height - 1), ROWS).round().astype(int)
    for y in np.unique(rows)[::-1]:  # rows of a small frame may coincide
        centres = run_centres(marks[y])
        if not points:
            away = sign * (centres - width / 2)
            near = np.where(away >= 0, away, np.inf)
            reach = 0.5 * width
        else:
            expected = _ahead(points, y)
            near, reach = np.abs(centres - expected), MAX_JUMP * width
        if len(near) and near.min() <= reach:
            points.append((float(centres[near.argmin()]), int(y)))
        elif points and points[-1][1] - y > height * 0.2:
            break  # longer than the gap between two dashes
    return np.array(points, np.float64).reshape(-1, 2)


def _ahead(points: list[tuple[float, int]], y: int) -> float:
    """The expected x at row y, extrapolated from the last points."""
    if len(points) < 3:
        return points[-1][0]
    (x0, y0), (x1, y1) = points[max(0, len(points) - 5)], points[-1]
    return x1 + (x1 - x0) * (y - y1) / min(y1 - y0, -1)


def run_centres(row: np.ndarray) -> np.ndarray:
    """float (N,): centre of every run of True in a row."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
    return (edges[0::2] + edges[1::2] - 1) / 2


def parabola(points: np.ndarray, steps: int = 16) -> np.ndarray:
    """(steps, 2) xy along x = a y^2 + b y + c, fitted to the points without outliers."""
    x, y = points[:, 0], points[:, 1]
    middle, spread = y.mean(), max(float(np.ptp(y)), 1.0)
    t = (y - middle) / spread  # keeps the fit well conditioned
    degree = 2 if len(points) >= 8 else 1
    fit = np.polyfit(t, x, degree)
    off = np.abs(np.polyval(fit, t) - x)
    keep = off <= max(2.0, 2.5 * float(np.median(off)))
    if keep.sum() > degree + 1:
        fit = np.polyfit(t[keep], x[keep], degree)
    rows = np.linspace(y.max(), y.min(), steps)
    return np.stack([np.polyval(fit, (rows - middle) / spread), rows], axis=1)
