"""Samples stored decoded and resized, so that reading one needs no decoding."""

import hashlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from perception.files import replacing
from perception.runtime.letterbox import Letterbox
from training.data import labels as kinds
from training.data.dataset import Dataset
from training.data.labels import Label
from training.data.sample import Sample


class Cached:
    """Samples of `dataset` scaled down to fit `size_hw`, written under `folder` when first read.

    A damaged file is written again. The files are keyed by the dataset's fingerprint.
    """

    def __init__(self, dataset: Dataset, folder: Path, size_hw: tuple[int, int]) -> None:
        self.dataset, self.size_hw = dataset, size_hw
        key = f"3 {dataset.fingerprint()} {size_hw}"
        self.folder = folder / hashlib.sha256(key.encode()).hexdigest()[:16]

    def __getitem__(self, index: int) -> Sample:
        path = self.folder / f"{index // 1000:04d}" / f"{index:07d}.safetensors"
        try:
            return unpack(load_file(path))
        except (OSError, SafetensorError, LookupError, TypeError, AttributeError):
            sample = shrink(self.dataset[index], self.size_hw)
            with replacing(path) as temporary:
                save_file(pack(sample), temporary)
            return sample


def shrink(sample: Sample, size_hw: tuple[int, int]) -> Sample:
    """The frame scaled to fit `size_hw` as the letterbox scales it; never enlarged."""
    inner_hw = Letterbox(sample.image.shape[:2], size_hw).inner_hw
    return sample.letterbox(inner_hw) if inner_hw[0] < sample.image.shape[0] else sample


def pack(sample: Sample) -> dict[str, np.ndarray]:
    """The sample as named arrays: `image`, `name` and `task/Kind/field`."""
    arrays = {"image": sample.image, "name": np.frombuffer(sample.name.encode(), np.uint8)}
    for task, label in sample.labels.items():
        for part in fields(label):  # type: ignore[arg-type]
            value = np.asarray(getattr(label, part.name))
            arrays[f"{task}/{type(label).__name__}/{part.name}"] = np.ascontiguousarray(value)
    return arrays


def unpack(arrays: dict[str, np.ndarray]) -> Sample:
    """The inverse of `pack`."""
    parts: dict[tuple[str, str], dict[str, Any]] = {}
    for key, value in arrays.items():
        if key.count("/") == 2:
            task, kind, part = key.split("/")
            parts.setdefault((task, kind), {})[part] = value
    labels: dict[str, Label] = {}
    for (task, kind), values in parts.items():
        if "size_hw" in values:
            values["size_hw"] = tuple(int(side) for side in values["size_hw"])
        labels[task] = getattr(kinds, kind)(**values)
    return Sample(arrays["image"], labels, arrays["name"].tobytes().decode())
