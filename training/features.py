"""`--freeze trunk`: the neck's maps of every training frame, computed once and kept on disk.

Heads then train without trunk, neck, decoding or rendering. The maps belong to the letterboxed
frame, so there is no augmentation; a frame at 384x640 with 64 channels takes 2.6 MB in bf16.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from perception.errors import UserError
from perception.files import replacing
from training.data.cached import pack, unpack
from training.data.sample import Batch, Sample, collate
from training.data.sampling import Frames, Key

Compute = Callable[[np.ndarray], list[Tensor]]


@dataclass
class FeatureBatch(Batch):
    """A batch whose frames have been through trunk and neck; `frames` only tells their number."""

    features: list[Tensor]  # (B, C, H/s, W/s) for each stride

    def to(self, device: torch.device) -> "FeatureBatch":
        moved = super().to(device)
        features = [level.to(device, non_blocking=True) for level in self.features]
        return FeatureBatch(moved.frames, moved.targets, moved.rows, moved.names, features)

    def pin_memory(self) -> "FeatureBatch":
        pinned = super().pin_memory()
        features = [level.pin_memory() for level in self.features]
        return FeatureBatch(pinned.frames, pinned.targets, pinned.rows, pinned.names, features)


class FeatureFrames(TorchDataset[tuple[Sample, list[Tensor]]]):
    """Features and labels of `frames` (letterboxed, not augmented) from files under `folder`.

    `key` names all that they depend on: weights, data, size. A torn file is reported with its name.
    """

    def __init__(self, frames: Frames, folder: Path, key: str) -> None:
        self.frames = frames
        self.folder = folder / hashlib.sha256(key.encode()).hexdigest()[:16]

    def path(self, index: int) -> Path:
        """The file of a frame."""
        return self.folder / f"{index // 1000:04d}" / f"{index:07d}.safetensors"

    def fill(self, indices: Sequence[int], compute: Compute, told: Callable[[], None]) -> None:
        """Computes what is not there yet. `told` is called after each frame."""
        for index in indices:
            if not self.path(index).exists():
                sample = self.frames[0, index]
                levels = {f"level{i}": x for i, x in enumerate(compute(sample.image))}
                nothing = replace(sample, image=np.zeros((1, 1, 3), np.uint8))
                labels = {name: torch.tensor(array) for name, array in pack(nothing).items()}
                with replacing(self.path(index)) as beside:
                    save_file(levels | labels, beside)
            told()

    def __getitem__(self, key: Key) -> tuple[Sample, list[Tensor]]:
        path = self.path(key[1])
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path}: not readable ({error}); delete it and start again") from None
        levels = sorted(name for name in tensors if name.startswith("level"))
        arrays = {name: value.numpy() for name, value in tensors.items() if name not in levels}
        return unpack(arrays), [tensors[name] for name in levels]


def collate_features(items: Sequence[tuple[Sample, list[Tensor]]]) -> FeatureBatch:
    """A batch of cached frames."""
    batch = collate([sample for sample, _ in items])
    features = [torch.stack(level) for level in zip(*(levels for _, levels in items), strict=True)]
    return FeatureBatch(batch.frames, batch.targets, batch.rows, batch.names, features)
