"""`--freeze trunk`: the neck's outputs of every training frame, computed once and cached on disk.

Heads then train without trunk, neck, decoding or rendering. The features belong to the letterboxed
frame, so there is no augmentation; a frame at 384x640 with 64 channels takes 2.6 MB in bf16.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from perception.errors import UserError
from perception.files import replacing
from training.config import Config, DataArgs
from training.data.cached import pack, unpack
from training.data.sample import Batch, Sample, collate
from training.data.sampling import Key, Order, TransformedFrames, letterboxed, loader, worker_count
from training.data.union import Union
from training.learner import Learner
from training.logs import make_progress
from training.resume import digest

Compute = Callable[[np.ndarray], list[Tensor]]


class FeatureFrames(TorchDataset[tuple[Sample, list[Tensor]]]):
    """Features and labels of `frames` (letterboxed, not augmented) from files under `folder`.

    `key` identifies all that they depend on: weights, data, size. An unreadable file is reported by
    name.
    """

    def __init__(self, frames: TransformedFrames, folder: Path, key: str) -> None:
        self.frames = frames
        self.folder = folder / hashlib.sha256(key.encode()).hexdigest()[:16]

    def path(self, index: int) -> Path:
        """The file of a frame."""
        return self.folder / f"{index // 1000:04d}" / f"{index:07d}.safetensors"

    def fill(self, indices: Sequence[int], compute: Compute, after: Callable[[], None]) -> None:
        """Computes what is not cached yet. `after` is called after each frame."""
        for index in indices:
            if not self.path(index).exists():
                sample = self.frames[0, index]
                levels = {f"level{i}": x for i, x in enumerate(compute(sample.image))}
                nothing = replace(sample, image=np.zeros((1, 1, 3), np.uint8))
                labels = {name: torch.tensor(array) for name, array in pack(nothing).items()}
                with replacing(self.path(index)) as temporary:
                    save_file(levels | labels, temporary)
            after()

    def __getitem__(self, key: Key) -> tuple[Sample, list[Tensor]]:
        path = self.path(key[1])
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path}: not readable ({error}); delete it and run again") from None
        levels = sorted(name for name in tensors if name.startswith("level"))
        arrays = {name: value.numpy() for name, value in tensors.items() if name not in levels}
        return unpack(arrays), [tensors[name] for name in levels]


def collate_features(items: Sequence[tuple[Sample, list[Tensor]]]) -> Batch:
    """A batch of cached frames."""
    batch = collate([sample for sample, _ in items])
    batch.features = [torch.stack(x) for x in zip(*(levels for _, levels in items), strict=True)]
    return batch


def neck_outputs(learner: Learner) -> Compute:
    """uint8 (H, W, 3) -> the neck's outputs, as training would compute them."""
    learner.model.eval()

    @torch.no_grad()
    def compute(image: np.ndarray) -> list[Tensor]:
        batch = torch.from_numpy(image)[None].to(learner.world.device)
        with learner.autocast():
            return [level[0].contiguous().cpu() for level in learner.model.features(batch)]

    return compute


def cache_key(learner: Learner, data: DataArgs, tasks: Sequence[str], marks: Sequence[str]) -> str:
    """Identifies all that cached features and labels depend on: weights, precision, data."""
    weights = learner.model.state_dict()
    frozen = {key: value for key, value in weights.items() if not key.startswith("tasks.")}
    used = [data.data, data.size, data.limit, list(tasks), list(marks), learner.bf16]
    return json.dumps([digest(frozen), used])


def feature_loader(
    config: Config, learner: Learner, frames: Union, order: Order, out: Path, console: Console
) -> DataLoader[Batch]:
    """Batches of the features of training frames; all ranks compute those not on disk yet.

    They are kept in --cache, else in the run's folder `out`.
    """
    args, world = config.data, learner.world
    key = cache_key(learner, args, frames.tasks, frames.fingerprints())
    folder = Path(args.cache) if args.cache else out / "features"
    cached = FeatureFrames(letterboxed(frames, args), folder, key)
    mine = range(world.rank, len(frames), world.size)
    with make_progress(console) as bar:
        line = bar.add_task("features", total=len(mine))
        cached.fill(mine, neck_outputs(learner), lambda: bar.advance(line))
    learner.train_mode()
    world.wait()
    workers = worker_count(args.workers)
    return loader(cached, order, workers, world.on_gpu, collate_features)
