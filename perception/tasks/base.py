"""Contract 1: a task is a head with its loss, its decoding and its score. One task, one file."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import numpy as np
from torch import Tensor, nn

from perception.runtime.description import View

Raw = dict[str, Tensor]
Target = Mapping[str, Tensor]


class Metric(Protocol):
    """Accumulates over frames; make a new one for each evaluation (there is no reset)."""

    def update(self, decoded: np.ndarray, target: Mapping[str, np.ndarray]) -> None:
        """Takes one frame: the decoded output and the target's arrays, both at the same size."""

    def compute(self) -> dict[str, float]:
        """All scores in percent or physical units; NaN where nothing was seen."""


class Task(nn.Module, ABC):
    """A head with its loss, its decoding and its score.

    `features` are the neck's outputs at `strides`, each (B, channels, H/stride, W/stride).
    """

    view: ClassVar[View]
    score: ClassVar[str]
    higher_is_better: ClassVar[bool] = True

    def __init__(self, channels: int, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.channels, self.strides = channels, strides

    @abstractmethod
    def forward(self, features: Sequence[Tensor]) -> Raw:
        """Raw outputs, the same keys in training and in evaluation."""

    @abstractmethod
    def loss(self, raw: Raw, target: Target) -> dict[str, Tensor]:
        """Named scalars; their sum is the task's loss. Finite for an empty target."""

    @abstractmethod
    def decode(self, raw: Raw) -> Tensor:
        """Fixed-shape, exportable output; the same for validation, demo and car."""

    @abstractmethod
    def metric(self) -> Metric:
        """A fresh accumulator whose compute() contains the key `score`."""
