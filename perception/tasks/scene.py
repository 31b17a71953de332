"""Frame attributes: weather, kind of place and time of day, each with probabilities."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.classes import ATTRIBUTES
from perception.metrics.base import Metric
from perception.metrics.classification import ClassificationMetric
from perception.runtime.view import Group, View
from perception.tasks.base import LossPart, Raw, Target, Task
from perception.tasks.class_names import every_name
from perception.tasks.dense import cross_entropy


class Scene(Task):
    """One softmax per attribute, from the pooled two coarsest levels.

    Rare classes are weighted by the square root of their inverse frequency, as counted in the
    labels seen so far. The weights distort the probabilities; a temperature per attribute
    (arXiv 1706.04599), trained jointly on unweighted labels and detached logits, corrects that
    without changing any other parameter or the best class.
    """

    view = View(
        kind="label", groups=tuple(Group(name, classes) for name, classes in ATTRIBUTES.items())
    )
    score = "accuracy"
    counters = ("counts",)
    counts: Tensor

    def __init__(self, channels: int, strides: tuple[int, ...], view: View | None = None) -> None:
        super().__init__(channels, strides, view)
        groups = self.view.groups
        self.sizes = tuple(len(group.classes) for group in groups)
        self.loss_parts = tuple(
            name for group in groups for name in (group.name, f"{group.name}_temperature")
        )
        self.perceptron = nn.Sequential(
            nn.Linear(2 * channels, 2 * channels),
            nn.ReLU(inplace=True),
            nn.Dropout(0.1),
            nn.Linear(2 * channels, sum(self.sizes)),
        )
        self.log_temperature = nn.Parameter(torch.zeros(len(groups)))
        self.register_buffer("counts", torch.full((sum(self.sizes),), 10.0))

    def class_rows(self, view: View) -> dict[str, tuple[str, ...]]:
        last = f"perceptron.{len(self.perceptron) - 1}"
        rows = dict.fromkeys((f"{last}.weight", f"{last}.bias", "counts"), every_name(view))
        return rows | {"log_temperature": tuple(group.name for group in view.groups)}

    def forward(self, features: Sequence[Tensor]) -> Raw:
        pooled = [feature.mean((2, 3)) for feature in features[-2:]]
        logits = self.perceptron(torch.cat(pooled, 1))
        return {"logits": logits, "tempered": self.tempered(logits.detach())}  # (B, classes) each

    def tempered(self, logits: Tensor) -> Tensor:
        """(B, classes of all attributes) logits, each attribute's divided by its temperature."""
        scales = (-self.log_temperature).exp().unbind()
        parts = zip(logits.split(self.sizes, 1), scales, strict=True)
        return torch.cat([part * scale for part, scale in parts], 1)

    def loss(self, raw: Raw, target: Target) -> dict[str, LossPart]:
        labels = target["labels"]  # (B, attributes)
        losses = {}
        both = raw["logits"].split(self.sizes, 1), raw["tempered"].split(self.sizes, 1)
        parts = zip(*both, self.counts.split(self.sizes), self.view.groups, strict=True)
        for index, (logits, tempered, counts, group) in enumerate(parts):
            weight = (counts.mean() / counts).sqrt().clamp(max=5)
            classes, known = labels[:, index], labels[:, index] >= 0
            losses[group.name] = cross_entropy(logits, classes, known, weight, scale=0.5)
            name = f"{group.name}_temperature"
            losses[name] = cross_entropy(tempered, classes, known, scale=0.1)
        if self.training:
            pairs = zip(labels.unbind(1), self.sizes, strict=True)
            seen = [
                torch.bincount(classes[classes >= 0], minlength=size) for classes, size in pairs
            ]
            self.counts += torch.cat(seen)
        return losses

    def decode(self, raw: Raw) -> Tensor:
        return probabilities(raw["tempered"], self.sizes)  # (B, G, C)

    @classmethod
    def metric(cls, view: View) -> Metric:
        return ClassificationMetric({group.name: group.classes for group in view.groups})


def probabilities(logits: Tensor, sizes: Sequence[int]) -> Tensor:
    """(B, sum of sizes) -> (B, groups, widest): softmax of each group, padded with zeros."""
    widest = max(sizes)
    groups = [
        F.pad(part.softmax(1), (0, widest - part.shape[1])) for part in logits.split(sizes, 1)
    ]
    return torch.stack(groups, 1)
