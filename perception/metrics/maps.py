"""Errors of depth and of surface normals, over the pixels where the truth is known."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from perception.metrics.base import Metric, chosen

LIMITS: Final = (11.25, 22.5, 30.0)  # degrees
BINS: Final = 3600  # of angles, 0.05 degrees each, for the median


class DepthMetric(Metric):
    """Absolute and root mean square error in metres, relative error as a share.

    Averages are over all pixels of the set, as in the multi-task literature, not over frames.
    """

    def __init__(self) -> None:
        self._frames: list[np.ndarray] = []  # (4): sums of |e|, |e|/d, e^2, and the count

    def update(self, decoded: np.ndarray, target: Mapping[str, np.ndarray]) -> None:
        """One frame: decoded float32 (H, W) and map float32 (H, W), NaN where unknown."""
        known = ~np.isnan(target["map"])
        truth = target["map"][known].astype(np.float64)
        error = np.abs(decoded[known] - truth)
        self._frames.append(
            np.array([error.sum(), (error / truth).sum(), (error**2).sum(), truth.size])
        )

    def compute(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """abs, rel, rmse; NaN where no pixel was known."""
        sums = chosen(self._frames, rows).sum(0) if self._frames else np.zeros(4)
        if sums[3] == 0:
            return dict.fromkeys(("abs", "rel", "rmse"), float("nan"))
        absolute, relative, squared = sums[:3] / sums[3]
        return {"abs": float(absolute), "rel": float(relative), "rmse": float(squared**0.5)}


class NormalsMetric(Metric):
    """Mean and median angle in degrees, and the share of pixels within each limit in percent."""

    def __init__(self) -> None:
        self._sums: list[np.ndarray] = []  # (2 + limits): count, sum of angles, pixels within
        self._histograms: list[np.ndarray] = []  # (BINS) pixel counts

    def update(self, decoded: np.ndarray, target: Mapping[str, np.ndarray]) -> None:
        """One frame: decoded float32 (3, H, W) and normals (3, H, W), NaN where unknown."""
        known = ~np.isnan(target["normals"]).any(0)
        a = decoded[:, known].astype(np.float64)  # (3, N)
        b = target["normals"][:, known].astype(np.float64)
        length = np.maximum(np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0), 1e-12)
        angle = np.degrees(np.arccos(np.clip((a * b).sum(0) / length, -1.0, 1.0)))
        within = [(angle < limit).sum() for limit in LIMITS]
        self._sums.append(np.array([angle.size, angle.sum(), *within], dtype=np.float64))
        histogram, _ = np.histogram(angle, BINS, (0.0, 180.0))
        self._histograms.append(histogram.astype(np.uint32))

    def compute(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """mean, median (interpolated in 0.05 degree bins), <11.25, <22.5, <30."""
        names = ("mean", "median", *(f"<{limit:g}" for limit in LIMITS))
        sums = chosen(self._sums, rows).sum(0) if self._sums else np.zeros(2 + len(LIMITS))
        if sums[0] == 0:
            return dict.fromkeys(names, float("nan"))
        histogram = chosen(self._histograms, rows).sum(0, dtype=np.int64)
        values = (sums[1] / sums[0], _median(histogram), *(100.0 * sums[2:] / sums[0]))
        return {name: float(value) for name, value in zip(names, values, strict=True)}


def _median(histogram: np.ndarray) -> float:
    below = np.concatenate([[0], histogram.cumsum()])
    half = below[-1] / 2.0
    bin_ = int(np.searchsorted(below, half, side="left")) - 1
    inside = (half - below[bin_]) / histogram[bin_]
    return (bin_ + inside) * 180.0 / BINS
