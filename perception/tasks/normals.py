"""Which way every surface faces: unit vectors in camera axes."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.metrics.normals import NormalsMetric
from perception.runtime.description import View
from perception.tasks.base import Raw, Target, Task
from perception.tasks.dense import Tower, enlarge


class Normals(Task):
    """Three channels at stride 4, enlarged and set to unit length.

    The cosine turns the vector the short way; the L1 part keeps pulling where the cosine is flat.
    """

    view: ClassVar[View] = View(kind="normals")
    score: ClassVar[str] = "mean"
    higher_is_better: ClassVar[bool] = False

    def __init__(self, channels: int, strides: tuple[int, ...]) -> None:
        super().__init__(channels, strides)
        self.tower = Tower(channels)
        self.face = nn.Conv2d(channels, 3, 1)

    def forward(self, features: Sequence[Tensor]) -> Raw:
        return {"vectors": self.face(self.tower(features[0]))}  # (B, 3, H/4, W/4)

    def loss(self, raw: Raw, target: Target) -> dict[str, Tensor]:
        vectors = self.decode({"vectors": raw["vectors"].float()})
        truth = target["normals"]
        known = truth.isfinite().all(1)  # (B, H, W)
        truth = torch.where(known[:, None], truth, torch.zeros_like(truth))
        count = known.sum().clamp(min=1)
        cosine = (vectors * truth).sum(1)
        apart = (vectors - truth).abs().sum(1)
        return {
            "cosine": ((1 - cosine) * known).sum() / count,
            "l1": 0.5 * (apart * known).sum() / count,
        }

    def decode(self, raw: Raw) -> Tensor:
        return F.normalize(enlarge(raw["vectors"], self.strides[0]), dim=1)  # (B, 3, H, W)

    def metric(self) -> NormalsMetric:
        return NormalsMetric()
