"""The image of a lane marking on a flat road of constant curvature, and where such lines meet.

With v = y - horizon, a marking at offset o, heading t and curvature k is at
x = a v + c + b / v with a = o / h, c = centre + f t and b = f^2 h k / 2, for a camera of focal
length f at height h (a hyperbola; Chen and Wang, IEEE Intelligent Vehicles 2006). All markings of
one road share c and b, which gives the horizon (`find_row`, `find_column`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PIXEL_SIGMA = 0.0015  # of a marking's centre, share of the frame's width
CENTRE_SIGMA = 0.05  # of c around the vanishing point, share of the width: a car within its lane
LINE_SIGMA = 0.04  # of one marking's direction, share of the width: not every line is parallel
BEND_SIGMA = 1e-3  # of b, share of the width squared: curvature 1/500 m at a height of 1.4 m
ROUNDS = 4
HORIZONS = np.linspace(0.25, 0.68, 44)  # searched, share of the frame's height
POINTS_PER_LINE = 24
FAR_END = 0.06  # of the frame's height, left out at the far end of the markings
MAX_ROW_SIGMA = 0.04  # share of the frame's height
LEAST_POINTS = 8  # of a marking


@dataclass(frozen=True)
class LaneCurve:
    """One fitted marking in frame pixels."""

    coefficients: np.ndarray  # (3,) a, b, c of x = a v + c + b / v, in the order a, c, b
    covariance: np.ndarray  # (3, 3)
    horizon: float

    def x(self, y: np.ndarray | float) -> np.ndarray:
        """Columns at rows below the horizon."""
        v = np.maximum(np.asarray(y, np.float64) - self.horizon, 1.0)
        a, c, b = self.coefficients.tolist()
        return a * v + c + b / v

    def sigma(self, y: np.ndarray | float) -> np.ndarray:
        """Standard deviation of x(y) in pixels."""
        terms = _terms(np.asarray(y, np.float64) - self.horizon)
        return np.sqrt(np.maximum((terms @ self.covariance * terms).sum(-1), 0))

    def heading(self, y: float) -> float:
        """Column at a row of the line through the camera that is parallel to the marking."""
        terms = _terms(np.asarray(y - self.horizon, np.float64))
        return float(terms[1:] @ self.coefficients[1:])

    @property
    def offset(self) -> float:
        """Lateral offset from the camera in camera heights, positive to the right."""
        return float(self.coefficients[0])


def _terms(v: np.ndarray) -> np.ndarray:
    """(..., 3) factors of a, c and b."""
    v = np.maximum(v, 1.0)
    terms = np.ones((*np.shape(v), 3))  # several times as fast as np.stack for so few numbers
    terms[..., 0], terms[..., 2] = v, 1 / v
    return terms


def fit_curves(
    lines: Sequence[np.ndarray], vanishing_xy: tuple[float, float], width: int
) -> list[LaneCurve]:
    """The curve through the points (N, 2+) xy of each marking: iteratively reweighted least squares
    (Cauchy weights), with a prior on c and b so that a short marking stays straight.

    All markings at once, padded to the longest.
    """
    if not lines:
        return []
    counts = np.array([len(line) for line in lines])
    inside = np.arange(counts.max()) < counts[:, None]
    x, y = np.zeros((2, *inside.shape))
    x[inside], y[inside] = np.concatenate([line[:, :2] for line in lines]).T
    terms = _terms(y - vanishing_xy[1])
    sigma = PIXEL_SIGMA * width
    prior = np.diag([1e-9, 1 / (CENTRE_SIGMA * width) ** 2, 1 / (BEND_SIGMA * width**2) ** 2])
    towards = prior @ np.array([0.0, vanishing_xy[0], 0.0])
    weights, each = inside.astype(float), np.arange(len(lines))
    for _ in range(ROUNDS):
        scaled = (terms * (weights / sigma**2)[..., None]).swapaxes(1, 2)
        covariance = np.linalg.inv(scaled @ terms + prior)
        coefficients = covariance @ (scaled @ x[..., None] + towards[:, None])
        off = np.abs((terms @ coefficients)[..., 0] - x)
        ordered = np.sort(np.where(inside, off, np.inf), axis=1)
        median = (ordered[each, (counts - 1) // 2] + ordered[each, counts // 2]) / 2
        weights = inside / (1 + (off / np.maximum(2 * sigma, 1.5 * median)[:, None]) ** 2)
    return [
        LaneCurve(one, spread, vanishing_xy[1])
        for one, spread in zip(coefficients[..., 0], covariance, strict=True)
    ]


def find_row(lines: Sequence[np.ndarray], size_hw: tuple[int, int]) -> tuple[float, float] | None:
    """Row in which the markings (each (N, 2) xy) meet, and its standard deviation, in pixels.

    A search over the horizon's row. None where fewer than two markings differ enough, where the
    best row is at the end of the searched range, and where the minimum is flatter than
    MAX_ROW_SIGMA.
    """
    height, width = size_hw
    if not lines:
        return None
    # The far ends merge, and they would keep the search above the rows they reach.
    top = min(float(line[:, 1].min()) for line in lines) + FAR_END * height
    lines = [_thinned(line[line[:, 1] > top]) for line in lines]
    lines = [line for line in lines if len(line) >= LEAST_POINTS]
    if len(lines) < 2:
        return None
    lowest = min(float(line[:, 1].min()) for line in lines)
    rows = HORIZONS[HORIZONS * height < lowest - 0.02 * height] * height
    if len(rows) < 5:
        return None
    costs, found, _ = _shared(lines, rows, width)
    best = int(costs.argmin())
    if best in (0, len(rows) - 1):
        return None
    slopes = found[best, 2:]
    if slopes.max() - slopes.min() < 1.0:  # in camera heights: less than one lane apart
        return None
    low, middle, high = costs[best - 1 : best + 2].tolist()
    second = max(low - 2 * middle + high, 1e-9)
    vertex = 0.5 * (low - high) / second  # of a parabola through the three
    step = rows[1] - rows[0]
    # The cost is a quarter of chi squared; the points of one line count as a quarter as many.
    sigma = step * (2 / second) ** 0.5
    if sigma > MAX_ROW_SIGMA * height:
        return None
    return float(rows[best] + np.clip(vertex, -1, 1) * step), float(sigma)


def find_column(
    lines: Sequence[np.ndarray], row: float, sigma_row: float, width: int
) -> tuple[float, float] | None:
    """Column in which the markings (one is enough) reach the horizon's row, and its standard
    deviation, in pixels; None where no marking is long enough below it."""
    lines = [_thinned(line[line[:, 1] > row + 2 * sigma_row]) for line in lines]
    lines = [line for line in lines if len(line) >= LEAST_POINTS]
    if not lines:
        return None
    _, found, normal = _shared(lines, np.array([row, row + sigma_row]), width)
    variance = np.linalg.inv(normal[0])[0, 0] + (LINE_SIGMA * width) ** 2 / len(lines)
    column, moved = found[:, 0].tolist()
    return column, float(np.hypot(variance**0.5, moved - column))


def combine(*parts: tuple[float, float]) -> tuple[float, float]:
    """(mean, standard deviation) of independent Gaussians given as (mean, information)."""
    total = sum(information for _, information in parts)
    return sum(mean * information for mean, information in parts) / total, total**-0.5


def _thinned(line: np.ndarray) -> np.ndarray:
    return line[:: max(1, len(line) // POINTS_PER_LINE)]


def _shared(
    lines: Sequence[np.ndarray], horizons: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(costs (H,), [c, b, a of every line] (H, L + 2), normal matrices) of the fits with common c
    and b at each of the horizons."""
    x, y = np.concatenate([line[:, :2] for line in lines]).T
    owner = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    v = y - horizons[:, None]
    terms = np.zeros((*v.shape, len(lines) + 2))
    terms[..., 0], terms[..., 1] = 1, 1 / v
    terms[:, np.arange(len(x)), owner + 2] = v
    prior = np.zeros(terms.shape[2])
    prior[1] = 1 / (BEND_SIGMA * width**2) ** 2
    sigma = PIXEL_SIGMA * width
    weights = np.ones(v.shape)
    for _ in range(ROUNDS):
        scaled = (terms * (weights / sigma**2)[..., None]).swapaxes(1, 2)
        normal = scaled @ terms + np.diag(prior + 1e-9)
        found = np.linalg.solve(normal, scaled @ x[:, None])
        off = (((terms @ found)[..., 0] - x) / (2 * sigma)) ** 2
        weights = 1 / (1 + off)
    found = found[..., 0]
    return np.log1p(off).sum(1) + prior[1] * found[:, 1] ** 2, found, normal
