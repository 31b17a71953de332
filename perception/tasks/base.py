"""The task interface: a head with its loss, its decoding and its metric. One task per file."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from perception.metrics.base import Metric
from perception.runtime.view import View

Raw = dict[str, Tensor]
Target = Mapping[str, Tensor]


def to_float(raw: Raw) -> Raw:
    """The raw outputs in float32, in which losses are computed."""
    return {key: value.float() for key, value in raw.items()}


@dataclass(frozen=True)
class LossPart:
    """One term of a loss: a sum over the given frames and what the sum is divided by.

    Sums and counts add up over ranks: each rank divides its own sum by the total count.
    """

    sum: Tensor  # scalar, with gradient
    count: Tensor  # scalar, without gradient: pixels, frames, weighted positives, ...

    def mean(self) -> Tensor:
        """The term's value for these frames alone; 0 where the count is 0."""
        return self.sum / torch.where(self.count > 0, self.count, torch.ones_like(self.count))


def total_loss(parts: Mapping[str, LossPart]) -> Tensor:
    """A task's loss on these frames alone: the sum of its terms' means."""
    return torch.stack([part.mean() for part in parts.values()]).sum()


class Task(nn.Module, ABC):
    """A head with its loss, its decoding and its metric.

    `features` are the neck's outputs at `strides`, each (B, channels, H/stride, W/stride). `view`
    describes the output to consumers, class names included; the class attribute is the default.
    """

    view: View
    score: str  # the headline metric
    higher_is_better: bool = True
    loss_parts: tuple[str, ...]  # keys of what `loss` returns, in order
    # Buffers to which `loss` adds counts of the labels it is given; they are summed over ranks.
    counters: tuple[str, ...] = ()

    def __init__(self, channels: int, strides: tuple[int, ...], view: View | None = None) -> None:
        super().__init__()
        self.channels, self.strides = channels, strides
        self.view = view or type(self).view

    def class_rows(self, view: View) -> dict[str, tuple[str, ...]]:
        """{key of the state: class of each row} of the entries with one row per class, for a head
        with the classes of `view`.

        Used to initialise a head from one with other classes; without it, such a head starts
        untrained.
        """
        return {}

    @abstractmethod
    def forward(self, features: Sequence[Tensor]) -> Raw:
        """Raw outputs; the same keys in training and in evaluation."""

    @abstractmethod
    def loss(self, raw: Raw, target: Target) -> dict[str, LossPart]:
        """The terms of the loss, named as in `loss_parts`. Finite for an empty target."""

    @abstractmethod
    def decode(self, raw: Raw) -> Tensor:
        """Fixed-shape output, traced into the exported file; validation uses it too."""

    def for_inference(self) -> None:
        """Rearranges the head, in place, where that makes `decode` cheaper; the outputs stay the
        same, and the head cannot be trained any more."""

    @classmethod
    @abstractmethod
    def metric(cls, view: View) -> Metric:
        """A new metric for outputs described by `view`; compute() contains the key `score`."""
