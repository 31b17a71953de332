"""Where one may drive: direct, alternative or background for every pixel."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from perception.classes import DRIVABLE, IGNORE
from perception.metrics.confusion import ConfusionMetric
from perception.runtime.description import View
from perception.tasks.base import Raw, Target, Task
from perception.tasks.dense import Tower, cross_entropy, enlarge, tversky


class Drivable(Task):
    """Three classes at stride 4, enlarged bilinearly: areas have smooth borders."""

    view: ClassVar[View] = View(kind="mask", classes=DRIVABLE)
    # The official mIoU forgives whatever is called drivable on background (metrics/confusion.py).
    score: ClassVar[str] = "mIoU_strict"

    def __init__(self, channels: int, strides: tuple[int, ...]) -> None:
        super().__init__(channels, strides)
        self.factor = strides[0]  # from the logits to the frame
        self.tower: nn.Module = Tower(channels)
        self.classify = nn.Conv2d(channels, len(DRIVABLE), 1)

    def forward(self, features: Sequence[Tensor]) -> Raw:
        return {"logits": self.classify(self.tower(features[0]))}  # (B, 3, H/4, W/4)

    def loss(self, raw: Raw, target: Target) -> dict[str, Tensor]:
        logits = enlarge(raw["logits"].float(), self.factor)  # (B, 3, H, W)
        mask = target["mask"]
        known = mask != IGNORE
        probabilities = logits.softmax(1)
        overlaps = [
            tversky(probabilities[:, index], (mask == index).float(), known, 0.5, 0.5)
            for index in range(len(DRIVABLE))
        ]
        return {
            "cross_entropy": cross_entropy(logits, mask, known),
            "overlap": 0.5 * torch.stack(overlaps).mean(),
        }

    def decode(self, raw: Raw) -> Tensor:
        return enlarge(raw["logits"], self.factor).argmax(1).to(torch.uint8)  # (B, H, W)

    def metric(self) -> ConfusionMetric:
        return ConfusionMetric(DRIVABLE, counted=DRIVABLE[:2])
