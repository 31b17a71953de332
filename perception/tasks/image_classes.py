"""What an image shows as a whole: one of ImageNet's classes, or which of Pascal VOC's."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

from perception.metrics.base import chosen, percent
from perception.metrics.classification import ClassificationMetric
from perception.runtime.description import Group, View
from perception.tasks.base import Metric, Raw, Target, Task
from perception.tasks.class_lists import VOC_OBJECTS
from perception.tasks.dense import cross_entropy
from perception.tasks.imagenet_classes import NAMES
from perception.tasks.scene import probabilities

PRESENCE: Final = ("absent", "present", "difficult")


class ImageNet(Task):
    """One of a thousand, from the pooled coarsest two levels."""

    view: ClassVar[View] = View(kind="label", groups=(Group("class", NAMES),))
    score: ClassVar[str] = "accuracy"

    def __init__(self, channels: int, strides: tuple[int, ...]) -> None:
        super().__init__(channels, strides)
        self.sizes = [len(group.classes) for group in self.view.groups]
        self.classify = nn.Linear(2 * channels, sum(self.sizes))

    def forward(self, features: Sequence[Tensor]) -> Raw:
        pooled = [feature.mean((2, 3)) for feature in features[-2:]]
        return {"logits": self.classify(torch.cat(pooled, 1))}  # (B, sum of group sizes)

    def loss(self, raw: Raw, target: Target) -> dict[str, Tensor]:
        labels = target["labels"]  # (B, G)
        losses = [
            cross_entropy(logits, labels[:, group], labels[:, group] >= 0)
            for group, logits in enumerate(raw["logits"].split(self.sizes, 1))
        ]
        return {"cross_entropy": torch.stack(losses).mean()}

    def decode(self, raw: Raw) -> Tensor:
        return probabilities(raw["logits"], self.sizes)  # (B, G, C)

    def metric(self) -> Metric:
        return Summary({group.name: group.classes for group in self.view.groups})


class ClassesVOC(ImageNet):
    """For each of the 20 classes whether the image shows it, plainly or only with difficulty."""

    view: ClassVar[View] = View(
        kind="label", groups=tuple(Group(name, PRESENCE) for name in VOC_OBJECTS)
    )
    # Nineteen of twenty classes are absent: accuracy would be high for an answer of always no.
    score: ClassVar[str] = "F1"

    def metric(self) -> Metric:
        return Shown()


class Summary(ClassificationMetric):
    """The means alone: a thousand classes each with a score are no summary."""

    def compute(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """accuracy, F1 and ECE in percent."""
        scores: Mapping[str, float] = super().compute(rows)
        return {name: scores[name] for name in ("accuracy", "F1", "ECE")}


class Shown:
    """F1 of `present` and accuracy, in percent, over all pairs of frame and class."""

    def __init__(self) -> None:
        self._frames: list[np.ndarray] = []  # (5): hits, said, true, right, known

    def update(self, decoded: np.ndarray, target: Mapping[str, np.ndarray]) -> None:
        """One frame: probabilities (classes, 3) and labels int (classes)."""
        said, truth = decoded.argmax(1), target["labels"]
        said, truth = said[truth >= 0], truth[truth >= 0]
        present = PRESENCE.index("present")
        yes, wanted = said == present, truth == present
        counts = [yes & wanted, yes, wanted, said == truth, np.ones_like(yes)]
        self._frames.append(np.array([count.sum() for count in counts]))

    def compute(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """F1 and accuracy; NaN where nothing was seen."""
        sums = chosen(self._frames, rows).sum(0) if self._frames else np.zeros(5)
        hits, said, wanted, right, known = sums.tolist()
        return {"F1": percent(2 * hits, said + wanted), "accuracy": percent(right, known)}
