"""Depth errors over the pixels whose depth is known."""

from collections.abc import Mapping

import numpy as np

from perception.metrics.base import Metric, chosen


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
