"""Drivable area: direct, alternative or background for every pixel."""

from collections.abc import Sequence

from torch import Tensor, nn

from perception.classes import DRIVABLE
from perception.metrics.base import Metric
from perception.metrics.confusion import ConfusionMetric
from perception.runtime.view import View
from perception.tasks.base import LossPart, Raw, Target, Task
from perception.tasks.dense import Tower, enlarge, enlarged_argmax, mask_loss

BACKGROUND = "background"


class Drivable(Task):
    """Class logits at stride 4, upsampled bilinearly: areas have smooth borders."""

    view = View(kind="mask", classes=DRIVABLE)
    # The official mIoU ignores false positives on the background (metrics/confusion.py).
    score = "mIoU_strict"
    loss_parts = ("cross_entropy", "overlap")

    def __init__(self, channels: int, strides: tuple[int, ...], view: View | None = None) -> None:
        super().__init__(channels, strides, view)
        self.factor = strides[0]  # from the logits to the frame
        self.tower: nn.Module = Tower(channels)
        self.classify = nn.Conv2d(channels, len(self.view.classes), 1)

    def class_rows(self, view: View) -> dict[str, tuple[str, ...]]:
        return {"classify.weight": view.classes, "classify.bias": view.classes}

    def forward(self, features: Sequence[Tensor]) -> Raw:
        return {"logits": self.classify(self.tower(features[0]))}  # (B, C, H/4, W/4)

    def loss(self, raw: Raw, target: Target) -> dict[str, LossPart]:
        return mask_loss(enlarge(raw["logits"].float(), self.factor), target["mask"])

    def decode(self, raw: Raw) -> Tensor:
        return enlarged_argmax(raw["logits"], self.factor)  # (B, H, W)

    @classmethod
    def metric(cls, view: View) -> Metric:
        return ConfusionMetric(view.classes, [c for c in view.classes if c != BACKGROUND])
