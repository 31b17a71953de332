"""Surface normals: a unit vector in camera axes for every pixel."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.metrics.base import Metric
from perception.metrics.maps import NormalsMetric
from perception.runtime.view import View
from perception.tasks.base import LossPart, Raw, Target, Task
from perception.tasks.dense import Tower, enlarge


class Normals(Task):
    """Three channels at stride 4, upsampled and normalised to unit length.

    Loss: 1 - cosine, plus half of the L1 distance, whose gradient does not vanish at opposite
    vectors.
    """

    view = View(kind="normals")
    score = "mean"
    higher_is_better = False
    loss_parts = ("cosine", "l1")

    def __init__(self, channels: int, strides: tuple[int, ...], view: View | None = None) -> None:
        super().__init__(channels, strides, view)
        self.tower = Tower(channels)
        self.face = nn.Conv2d(channels, 3, 1)

    def forward(self, features: Sequence[Tensor]) -> Raw:
        return {"vectors": self.face(self.tower(features[0]))}  # (B, 3, H/4, W/4)

    def loss(self, raw: Raw, target: Target) -> dict[str, LossPart]:
        vectors = self.decode({"vectors": raw["vectors"].float()})
        truth = target["normals"]
        known = truth.isfinite().all(1)  # (B, H, W)
        truth = torch.where(known[:, None], truth, torch.zeros_like(truth))
        cosine = (vectors * truth).sum(1)
        distance = (vectors - truth).abs().sum(1)
        return {
            "cosine": LossPart(((1 - cosine) * known).sum(), known.sum()),
            "l1": LossPart(0.5 * (distance * known).sum(), known.sum()),
        }

    def decode(self, raw: Raw) -> Tensor:
        return F.normalize(enlarge(raw["vectors"], self.strides[0]), dim=1)  # (B, 3, H, W)

    @classmethod
    def metric(cls, view: View) -> Metric:
        return NormalsMetric()
