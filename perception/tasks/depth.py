"""How far away every pixel is, in metres along the camera's axis."""

from collections.abc import Mapping, Sequence
from math import log
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

from perception.metrics.depth import DepthMetric
from perception.runtime.description import View
from perception.tasks.base import Raw, Target, Task
from perception.tasks.dense import Tower, enlarge

NEAREST: Final = 0.1
FARTHEST: Final = 300.0
# A head that has learned nothing says ten metres: right in size for a road, near for a room.
START: Final = 10.0


class Depth(Task):
    """Predicts the logarithm: a metre matters more at two metres than at fifty.

    The loss is the error of the logarithm, which is relative, and the error in metres over the mean
    depth, which is what the headline score counts. Both are absolute, not squared: depth maps have
    wrong pixels along every edge.
    """

    view: ClassVar[View] = View(kind="map", unit="m", range=(0.0, 80.0))
    score: ClassVar[str] = "abs"
    higher_is_better: ClassVar[bool] = False

    def __init__(self, channels: int, strides: tuple[int, ...]) -> None:
        super().__init__(channels, strides)
        self.tower = Tower(channels)
        self.measure = nn.Conv2d(channels, 1, 1)
        bias = self.measure.bias
        assert bias is not None
        nn.init.constant_(bias, log(START))

    def forward(self, features: Sequence[Tensor]) -> Raw:
        return {"log_depth": self.measure(self.tower(features[0]))}  # (B, 1, H/4, W/4)

    def loss(self, raw: Raw, target: Target) -> dict[str, Tensor]:
        logarithm = enlarge(raw["log_depth"].float(), self.strides[0]).squeeze(1)  # (B, H, W)
        truth = target["map"]
        known = (truth > 0) & (truth <= FARTHEST)  # NaN is not
        truth = torch.where(known, truth, torch.ones_like(truth)).clamp(min=NEAREST)
        count = known.sum().clamp(min=1)
        ratio = (logarithm - truth.log()).abs() * known
        metres = (metric_depth(logarithm) - truth).abs() * known
        mean = ((truth * known).sum() / count).clamp(min=NEAREST)
        return {"log": ratio.sum() / count, "metres": 0.5 * metres.sum() / count / mean}

    def decode(self, raw: Raw) -> Tensor:
        return metric_depth(enlarge(raw["log_depth"], self.strides[0]).squeeze(1))  # (B, H, W)

    def metric(self) -> "DepthInRange":
        return DepthInRange()


class DepthInRange(DepthMetric):
    """Errors where the true depth is one that the task can say: one pixel of a far horizon must
    not outweigh a frame."""

    def update(self, decoded: np.ndarray, target: Mapping[str, np.ndarray]) -> None:
        """As DepthMetric, without truth of zero or less and beyond the range."""
        truth = target["map"]
        known = (truth > 0) & (truth <= FARTHEST)
        super().update(decoded, {"map": np.where(known, truth, np.nan)})


def metric_depth(logarithm: Tensor) -> Tensor:
    """Metres, within what the loss has been taught."""
    return logarithm.clamp(log(NEAREST), log(FARTHEST)).exp()
