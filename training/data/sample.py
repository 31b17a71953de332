"""A sample with the labels it has, and a batch with the rows that have each label."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from perception.runtime.letterbox import Letterbox
from training.data.labels import WHOLE, Label, Window, crop_image


@dataclass
class Sample:
    """One frame: image uint8 (H, W, 3) BGR and its labels; a task without a label has no key.

    The image may be decoded smaller than its labels: windows are fractions of the frame.
    """

    image: np.ndarray
    labels: dict[str, Label]
    name: str

    def window(self, window: Window, size_hw: tuple[int, int]) -> Self:
        """Crop and resize, image and labels alike."""
        labels = {task: label.window(window, size_hw) for task, label in self.labels.items()}
        return replace(self, image=crop_image(self.image, window, size_hw), labels=labels)

    def letterbox(self, size_hw: tuple[int, int]) -> Self:
        """The frame as the deployed model gets it, by the same function; labels alike."""
        geometry = Letterbox(self.image.shape[:2], size_hw)
        labels = {
            task: label.window(WHOLE, geometry.inner_hw).pad(geometry.top_left, size_hw)
            for task, label in self.labels.items()
        }
        return replace(self, image=geometry.apply(self.image), labels=labels)

    def flip(self) -> Self:
        """Mirror left to right."""
        labels = {task: label.flip() for task, label in self.labels.items()}
        return replace(self, image=np.ascontiguousarray(self.image[:, ::-1]), labels=labels)


@dataclass
class Batch:
    """Frames uint8 (B, H, W, 3) BGR; per task, the rows with a label and their targets."""

    frames: Tensor
    targets: dict[str, dict[str, Tensor]]
    rows: dict[str, Tensor]  # (B_task,) int64 indices into the batch
    names: list[str]

    def each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with every tensor changed."""
        targets = {
            task: {key: change(value) for key, value in target.items()}
            for task, target in self.targets.items()
        }
        rows = {task: change(rows) for task, rows in self.rows.items()}
        return Batch(change(self.frames), targets, rows, self.names)

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device; copies do not block where the memory is pinned."""
        return self.each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Page-locked copies, for the loader."""
        return self.each(Tensor.pin_memory)


def collate(samples: Sequence[Sample]) -> Batch:
    """A batch of samples of one size; tasks that no sample has are absent."""
    frames = torch.from_numpy(np.stack([sample.image for sample in samples]))
    tasks = sorted({task for sample in samples for task in sample.labels})
    targets: dict[str, dict[str, Tensor]] = {}
    rows: dict[str, Tensor] = {}
    for task in tasks:
        having = [row for row, sample in enumerate(samples) if task in sample.labels]
        labels = [samples[row].labels[task] for row in having]
        arrays = labels[0].collate([label.arrays() for label in labels])
        targets[task] = {key: torch.from_numpy(array) for key, array in arrays.items()}
        rows[task] = torch.tensor(having)
    return Batch(frames, targets, rows, [sample.name for sample in samples])
