"""What every pixel shows. A label space is a task: one class here for each list of names.

Datasets with different lists can then be trained together, each frame teaching the head whose
names it uses, and a checkpoint knows its classes by the names of its tasks.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from perception.classes import IGNORE, SEMANTIC
from perception.metrics.confusion import ConfusionMetric
from perception.runtime.description import View
from perception.tasks.base import Raw, Target, Task
from perception.tasks.class_lists import ADE20K, NYUV2, VOC
from perception.tasks.dense import Tower, cross_entropy, enlarge


class Semantic(Task):
    """The 19 classes of Cityscapes and BDD100K at stride 4, enlarged bilinearly.

    Cross entropy over the annotated pixels, and Dice over the classes that the batch shows: the
    first ranks the classes of a pixel, the second keeps the small ones alive.
    """

    view: ClassVar[View] = View(kind="mask", classes=SEMANTIC)
    score: ClassVar[str] = "mIoU"

    def __init__(self, channels: int, strides: tuple[int, ...]) -> None:
        super().__init__(channels, strides)
        self.tower = Tower(channels)
        self.classify = nn.Conv2d(channels, len(self.view.classes), 1)

    def forward(self, features: Sequence[Tensor]) -> Raw:
        return {"logits": self.classify(self.tower(features[0]))}  # (B, C, H/4, W/4)

    def loss(self, raw: Raw, target: Target) -> dict[str, Tensor]:
        logits = enlarge(raw["logits"].float(), self.strides[0])  # (B, C, H, W)
        known = target["mask"] != IGNORE  # (B, H, W)
        return {
            "cross_entropy": cross_entropy(logits, target["mask"], known),
            "overlap": 0.5 * dice_of_shown(logits, target["mask"], known),
        }

    def decode(self, raw: Raw) -> Tensor:
        return enlarge(raw["logits"], self.strides[0]).argmax(1).to(torch.uint8)  # (B, H, W)

    def metric(self) -> ConfusionMetric:
        return ConfusionMetric(self.view.classes)


class SemanticNYUv2(Semantic):
    """The 13 classes of NYUv2 as the multi-task literature uses them (Couprie et al., 2013)."""

    view: ClassVar[View] = View(kind="mask", classes=NYUV2)


class SemanticADE20K(Semantic):
    """The 150 classes of the ADE20K scene parsing benchmark (Zhou et al., 2017)."""

    view: ClassVar[View] = View(kind="mask", classes=ADE20K)


class SemanticVOC(Semantic):
    """Background and the 20 classes of Pascal VOC (Everingham et al., 2010)."""

    view: ClassVar[View] = View(kind="mask", classes=VOC)


def dice_of_shown(logits: Tensor, mask: Tensor, known: Tensor) -> Tensor:
    """1 - Dice, mean over the classes present in the batch; zero without any.

    Sums by class are scattered, not taken from one-hot masks: 150 full-size masks would not fit.
    """
    probabilities = logits.softmax(1) * known[:, None]  # (B, C, H, W)
    classes = logits.shape[1]
    truth = torch.where(known, mask, torch.zeros_like(mask)).long()
    at_truth = probabilities.gather(1, truth[:, None]).squeeze(1)
    zeros = logits.new_zeros(classes)
    hits = zeros.scatter_add(0, truth.flatten(), at_truth.flatten())
    shown = zeros.scatter_add(0, truth.flatten(), known.flatten().to(logits.dtype))
    dice = 2 * hits / (shown + probabilities.sum((0, 2, 3))).clamp(min=1e-6)
    present = shown > 0
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)
