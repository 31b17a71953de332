"""Frames to scenes: the frames of a dataset, and a checkpoint or an .onnx file applied to them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from perception import checkpoint
from perception.classes import ATTRIBUTES
from perception.errors import UserError
from perception.model import Deployed
from perception.runtime.letterbox import Letterbox, as_bgr
from perception.runtime.runner import Runner
from perception.runtime.scene import Scene, read_scene
from perception.runtime.view import View
from training.data.dataset import Dataset
from training.data.labels import Arrays, Labels, label_arrays
from training.data.sample import Sample


class Predictor(Protocol):
    """A model as the evaluation uses it, from either kind of file."""

    name: str
    size_hw: tuple[int, int]
    views: dict[str, View]

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Scene]:
        """What the car gets for each uint8 (H, W, 3) BGR frame; frames may differ in size."""


class TorchPredictor:
    """A checkpoint of train-bdd, on the GPU if there is one."""

    def __init__(self, path: Path) -> None:
        model, meta = checkpoint.load(path)
        self.name, self.size_hw = meta.model, meta.size_hw
        self.views = {name: task.view for name, task in model.tasks.items()}
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = Deployed(model).eval().to(self.device)

    @torch.inference_mode()
    def __call__(self, frames: Sequence[np.ndarray]) -> list[Scene]:
        frames = [as_bgr(frame) for frame in frames]
        boxes = [Letterbox(frame.shape[:2], self.size_hw) for frame in frames]
        images = np.stack([box.apply(frame) for box, frame in zip(boxes, frames, strict=True)])
        outputs = self.model(torch.from_numpy(images).to(self.device))
        arrays = dict(zip(self.views, (output.cpu().numpy() for output in outputs), strict=True))
        return [
            read_scene({name: array[row] for name, array in arrays.items()}, self.views, box)
            for row, box in enumerate(boxes)
        ]


class OnnxPredictor:
    """An exported file, run by the same Runner as in a car, one frame at a time."""

    def __init__(self, path: Path, provider: str) -> None:
        self.runner = Runner(path, provider)
        description = self.runner.description
        self.name, self.size_hw = description.name, description.size_hw
        self.views = description.views

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Scene]:
        return [self.runner(frame) for frame in frames]


def open_predictor(path: Path, provider: str = "cpu") -> Predictor:
    """The model in a .safetensors or .onnx file. Raises UserError for anything else."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a checkpoint (.safetensors) or an .onnx")
    if path.suffix == ".onnx":
        return OnnxPredictor(path, provider)
    if path.suffix == ".safetensors":
        return TorchPredictor(path)
    raise UserError(f"{path}: not a model; give a checkpoint (.safetensors) or an .onnx")


@dataclass
class LabelledFrame:
    """A frame to score, with its labels as arrays."""

    index: int
    name: str
    image: np.ndarray
    targets: dict[str, Arrays]
    sources: dict[str, str]  # where the label of a task is from, "" where not known
    attributes: dict[str, str]


def read_frames(
    dataset: Dataset,
    pool: ThreadPoolExecutor,
    ahead: int,
    skipped: list[str] | None = None,
    limit: int = 0,
) -> Iterator[LabelledFrame]:
    """Frames in order; the pool reads up to `ahead` of them in advance.

    A frame that cannot be read raises UserError; with `skipped`, its error is appended there.
    """

    def read(index: int) -> LabelledFrame | UserError:
        try:
            sample = dataset[index]
        except UserError as error:
            return error
        targets = label_arrays(sample.labels)
        sources = {task: dataset.source(task, index) for task in targets}
        attributes = attributes_of(dataset, index, sample)
        return LabelledFrame(index, sample.name, sample.image, targets, sources, attributes)

    count = min(len(dataset), limit) if limit else len(dataset)
    waiting = [pool.submit(read, index) for index in range(min(ahead, count))]
    for index in range(count):
        frame = waiting.pop(0).result()
        if index + ahead < count:
            waiting.append(pool.submit(read, index + ahead))
        if isinstance(frame, LabelledFrame):
            yield frame
        elif skipped is None:
            raise UserError(f"{frame} (or pass --skip-bad)")
        else:
            skipped.append(str(frame))


def attributes_of(dataset: Dataset, index: int, sample: Sample) -> dict[str, str]:
    """Weather, scene and time of day of a frame: from the dataset, else from the frame's labels."""
    given = dataset.attributes(index)
    if given is not None:
        return dict(given)
    for label in sample.labels.values():
        if isinstance(label, Labels) and len(label.labels) == len(ATTRIBUTES):
            codes = label.labels.tolist()
            return {
                name: values[code] if code >= 0 else "undefined"
                for (name, values), code in zip(ATTRIBUTES.items(), codes, strict=True)
            }
    return {}
