"""Classification of whole images: ImageNet-1k, and presence of each Pascal VOC class."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from timm.data import ImageNetInfo
from torch import Tensor, nn

from perception.classes import VOC_OBJECTS
from perception.metrics.base import Metric, chosen, percent
from perception.metrics.classification import ClassificationMetric
from perception.runtime.view import Group, View
from perception.tasks.base import LossPart, Raw, Target, Task
from perception.tasks.class_names import every_name
from perception.tasks.dense import cross_entropy
from perception.tasks.scene import probabilities

PRESENCE: Final = ("absent", "present", "difficult")


def imagenet_classes() -> dict[str, str]:
    """WordNet id -> name of the 1000 classes of ImageNet-1k, in class order.

    The name is the first synonym, with the id appended where two classes share it ("crane").
    """
    info = ImageNetInfo("imagenet-1k")
    names = [text.split(", ")[0] for text in info.label_descriptions()]
    shared = {name for name, count in Counter(names).items() if count > 1}
    return {
        synset: f"{name} ({synset})" if name in shared else name
        for synset, name in zip(info.label_names(), names, strict=True)
    }


class ImageNet(Task):
    """One of 1000 classes, from the pooled two coarsest levels."""

    view = View(kind="label", groups=(Group("class", tuple(imagenet_classes().values())),))
    score = "accuracy"
    loss_parts = ("cross_entropy",)

    def __init__(self, channels: int, strides: tuple[int, ...], view: View | None = None) -> None:
        super().__init__(channels, strides, view)
        self.sizes = [len(group.classes) for group in self.view.groups]
        self.classify = nn.Linear(2 * channels, sum(self.sizes))

    def class_rows(self, view: View) -> dict[str, tuple[str, ...]]:
        return dict.fromkeys(("classify.weight", "classify.bias"), every_name(view))

    def forward(self, features: Sequence[Tensor]) -> Raw:
        pooled = [feature.mean((2, 3)) for feature in features[-2:]]
        return {"logits": self.classify(torch.cat(pooled, 1))}  # (B, sum of group sizes)

    def loss(self, raw: Raw, target: Target) -> dict[str, LossPart]:
        labels = target["labels"]  # (B, G)
        parts = [
            cross_entropy(logits, labels[:, group], labels[:, group] >= 0)
            for group, logits in enumerate(raw["logits"].split(self.sizes, 1))
        ]
        total = torch.stack([part.sum for part in parts]).sum()
        count = torch.stack([part.count for part in parts]).sum()
        return {"cross_entropy": LossPart(total, count)}

    def decode(self, raw: Raw) -> Tensor:
        return probabilities(raw["logits"], self.sizes)  # (B, G, C)

    @classmethod
    def metric(cls, view: View) -> Metric:
        return MeansOnly({group.name: group.classes for group in view.groups})


class ClassesVOC(ImageNet):
    """Whether the image shows each of the 20 classes: absent, present, or difficult to see."""

    view = View(kind="label", groups=tuple(Group(name, PRESENCE) for name in VOC_OBJECTS))
    # 19 of 20 classes are absent: accuracy would be high for a constant answer.
    score = "F1"

    @classmethod
    def metric(cls, view: View) -> Metric:
        return PresenceMetric()


class MeansOnly(ClassificationMetric):
    """The means without the scores of 1000 single classes."""

    def compute(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """accuracy, F1 and ECE in percent."""
        scores: Mapping[str, float] = super().compute(rows)
        return {name: scores[name] for name in ("accuracy", "F1", "ECE")}


class PresenceMetric(Metric):
    """F1 of `present` and accuracy, in percent, over all pairs of frame and class."""

    def __init__(self) -> None:
        self._frames: list[np.ndarray] = []  # (5): hits, predicted, true, right, known

    def update(self, decoded: np.ndarray, target: Mapping[str, np.ndarray]) -> None:
        """One frame: probabilities (classes, 3) and labels int (classes)."""
        predicted, truth = decoded.argmax(1), target["labels"]
        predicted, truth = predicted[truth >= 0], truth[truth >= 0]
        present = PRESENCE.index("present")
        yes, wanted = predicted == present, truth == present
        counts = [yes & wanted, yes, wanted, predicted == truth, np.ones_like(yes)]
        self._frames.append(np.array([count.sum() for count in counts]))

    def compute(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """F1 and accuracy; NaN where nothing was annotated."""
        sums = chosen(self._frames, rows).sum(0) if self._frames else np.zeros(5)
        hits, predicted, wanted, right, known = sums.tolist()
        return {"F1": percent(2 * hits, predicted + wanted), "accuracy": percent(right, known)}
