"""Semantic segmentation. Each label space is a task of its own: one class here per class list.

Datasets with different lists can then be trained together: each frame trains the head of its own
label space.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from perception.classes import ADE20K, NYUV2, SEMANTIC, VOC
from perception.metrics.base import Metric
from perception.metrics.confusion import ConfusionMetric
from perception.runtime.view import View
from perception.tasks.base import LossPart, Raw, Target, Task
from perception.tasks.dense import Tower, enlarge, enlarged_argmax, mask_loss


class Semantic(Task):
    """The 19 classes of Cityscapes and BDD100K at stride 4, upsampled bilinearly."""

    view = View(kind="mask", classes=SEMANTIC)
    score = "mIoU"
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
        return ConfusionMetric(view.classes)


class SemanticNYUv2(Semantic):
    """The 13 classes of NYUv2 as the multi-task literature uses them (Couprie et al., 2013)."""

    view = View(kind="mask", classes=NYUV2)


class SemanticADE20K(Semantic):
    """The 150 classes of the ADE20K scene parsing benchmark (Zhou et al., 2017)."""

    view = View(kind="mask", classes=ADE20K)


class SemanticVOC(Semantic):
    """Background and the 20 classes of Pascal VOC (Everingham et al., 2010)."""

    view = View(kind="mask", classes=VOC)
