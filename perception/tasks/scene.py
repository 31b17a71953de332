"""What scene it is: weather, kind of place and time of day, each with probabilities."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.classes import ATTRIBUTES
from perception.metrics.classification import ClassificationMetric
from perception.runtime.description import Group, View
from perception.tasks.base import Raw, Target, Task
from perception.tasks.dense import cross_entropy

_GROUPS = tuple(Group(name, classes) for name, classes in ATTRIBUTES.items())


class Scene(Task):
    """Three attributes from the pooled pyramid.

    Rare classes weigh more, by the square root of their rarity as counted while training. What
    that does to the probabilities a temperature for each attribute eases (arXiv 1706.04599), which
    is learned beside, without weights, and changes no other parameter and no answer.
    """

    view: ClassVar[View] = View(kind="label", groups=_GROUPS)
    score: ClassVar[str] = "accuracy"
    counts: Tensor

    def __init__(self, channels: int, strides: tuple[int, ...]) -> None:
        super().__init__(channels, strides)
        self.sizes = tuple(len(group.classes) for group in _GROUPS)
        self.perceptron = nn.Sequential(
            nn.Linear(2 * channels, 2 * channels),
            nn.ReLU(inplace=True),
            nn.Dropout(0.1),
            nn.Linear(2 * channels, sum(self.sizes)),
        )
        self.log_temperature = nn.Parameter(torch.zeros(len(_GROUPS)))
        self.register_buffer("counts", torch.full((sum(self.sizes),), 10.0))

    def forward(self, features: Sequence[Tensor]) -> Raw:
        pooled = [feature.mean((2, 3)) for feature in features[-2:]]
        logits = self.perceptron(torch.cat(pooled, 1))
        return {"logits": logits, "tempered": self.tempered(logits.detach())}  # both (B, 15)

    def tempered(self, logits: Tensor) -> Tensor:
        """(B, 15) logits, each attribute's over its temperature. Part of the raw outputs, because
        under several ranks a loss reaches a parameter through those alone (training/joint.py)."""
        scales = (-self.log_temperature).exp().unbind()
        parts = zip(logits.split(self.sizes, 1), scales, strict=True)
        return torch.cat([part * scale for part, scale in parts], 1)

    def loss(self, raw: Raw, target: Target) -> dict[str, Tensor]:
        labels = target["labels"]  # (B, 3)
        if self.training:
            self._count(labels)
        losses = {}
        both = raw["logits"].split(self.sizes, 1), raw["tempered"].split(self.sizes, 1)
        parts = zip(*both, self.counts.split(self.sizes), strict=True)
        for index, (logits, tempered, counts) in enumerate(parts):
            weight = (counts.mean() / counts).sqrt().clamp(max=5)
            classes = labels[:, index]
            losses[_GROUPS[index].name] = 0.5 * cross_entropy(logits, classes, classes >= 0, weight)
            name = f"{_GROUPS[index].name}_temperature"
            losses[name] = 0.1 * cross_entropy(tempered, classes, classes >= 0)
        return losses

    def _count(self, labels: Tensor) -> None:
        with torch.no_grad():
            start = 0
            for index, size in enumerate(self.sizes):
                seen = labels[:, index]
                hot = F.one_hot(seen.clamp(min=0), size) * (seen >= 0)[:, None]
                self.counts[start : start + size] += hot.sum(0)
                start += size

    def decode(self, raw: Raw) -> Tensor:
        return probabilities(raw["tempered"], self.sizes)  # (B, G, C)

    def metric(self) -> ClassificationMetric:
        return ClassificationMetric(ATTRIBUTES)


def probabilities(logits: Tensor, sizes: Sequence[int]) -> Tensor:
    """(B, sum of sizes) -> (B, groups, widest): softmax of each group, padded with zeros."""
    widest = max(sizes)
    groups = [
        F.pad(part.softmax(1), (0, widest - part.shape[1])) for part in logits.split(sizes, 1)
    ]
    return torch.stack(groups, 1)
