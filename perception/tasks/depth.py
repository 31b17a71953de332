"""Depth of every pixel, in metres along the camera's axis."""

from collections.abc import Mapping, Sequence
from math import log
from typing import Final, cast

import numpy as np
import torch
from torch import Tensor, nn

from perception.metrics.base import Metric
from perception.metrics.maps import DepthMetric
from perception.runtime.view import View
from perception.tasks.base import LossPart, Raw, Target, Task
from perception.tasks.dense import Tower, enlarge

NEAREST: Final = 0.1  # metres
FARTHEST: Final = 300.0
START: Final = 10.0  # prediction of an untrained head


class Depth(Task):
    """Predicts the logarithm of depth, so that errors are relative.

    The loss is the absolute error of the logarithm, plus half of the absolute error in metres
    divided by the mean depth. Absolute, not squared: depth maps are wrong along object borders.
    """

    view = View(kind="map", unit="m", range=(0.0, 80.0))
    score = "abs"
    higher_is_better = False
    loss_parts = ("log", "metres")

    def __init__(self, channels: int, strides: tuple[int, ...], view: View | None = None) -> None:
        super().__init__(channels, strides, view)
        self.tower = Tower(channels)
        self.measure = nn.Conv2d(channels, 1, 1)
        nn.init.constant_(cast(Tensor, self.measure.bias), log(START))

    def forward(self, features: Sequence[Tensor]) -> Raw:
        return {"log_depth": self.measure(self.tower(features[0]))}  # (B, 1, H/4, W/4)

    def loss(self, raw: Raw, target: Target) -> dict[str, LossPart]:
        logarithm = enlarge(raw["log_depth"].float(), self.strides[0]).squeeze(1)  # (B, H, W)
        truth = target["map"]
        known = (truth > 0) & (truth <= FARTHEST)  # False for NaN
        truth = torch.where(known, truth, torch.ones_like(truth)).clamp(min=NEAREST)
        ratio = (logarithm - truth.log()).abs() * known
        metres = (metric_depth(logarithm) - truth).abs() * known
        return {
            "log": LossPart(ratio.sum(), known.sum()),
            # mean error / mean depth = sum of errors / sum of depths
            "metres": LossPart(0.5 * metres.sum(), (truth * known).sum()),
        }

    def decode(self, raw: Raw) -> Tensor:
        return metric_depth(enlarge(raw["log_depth"], self.strides[0]).squeeze(1))  # (B, H, W)

    @classmethod
    def metric(cls, view: View) -> Metric:
        return DepthInRange()


class DepthInRange(DepthMetric):
    """Errors where the true depth is within the task's range; a few pixels of the far horizon
    would otherwise dominate a frame."""

    def update(self, decoded: np.ndarray, target: Mapping[str, np.ndarray]) -> None:
        """As DepthMetric, without truth of zero or less and beyond FARTHEST."""
        truth = target["map"]
        known = (truth > 0) & (truth <= FARTHEST)
        super().update(decoded, {"map": np.where(known, truth, np.nan)})


def metric_depth(logarithm: Tensor) -> Tensor:
    """Metres, clamped to the range of the training labels."""
    return logarithm.clamp(log(NEAREST), log(FARTHEST)).exp()
