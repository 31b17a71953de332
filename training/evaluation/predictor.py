"""Frames to scenes: the frames of a dataset, and a network or an .onnx file applied to them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from perception import checkpoint
from perception.classes import ATTRIBUTES
from perception.errors import UserError
from perception.files import WriteError
from perception.model import Deployed, HydraNet
from perception.runtime.letterbox import Letterbox, as_bgr
from perception.runtime.runner import Runner
from perception.runtime.scene import Scene, read_scene
from perception.runtime.view import View
from training.data.dataset import Dataset
from training.data.labels import Arrays, Labels
from training.data.sample import Sample
from training.distributed import World


class Predictor(Protocol):
    """A model as the evaluation uses it, from either kind of file."""

    name: str
    size_hw: tuple[int, int]
    views: dict[str, View]

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Scene]:
        """What the car gets for each uint8 (H, W, 3) BGR frame; frames may differ in size."""


class TorchPredictor:
    """A network, on the device of its weights."""

    def __init__(self, model: HydraNet, name: str, size_hw: tuple[int, int]) -> None:
        self.name, self.size_hw = name, size_hw
        self.views = {name: task.view for name, task in model.tasks.items()}
        self.model = Deployed(model)

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Scene]:
        outputs = zip(self.outputs(frames), frames, strict=True)
        return [self.scene(arrays, frame.shape[:2]) for arrays, frame in outputs]

    @torch.no_grad()
    def outputs(self, frames: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The decoded outputs of each frame, at the model's size."""
        if not frames:
            return []
        boxes = [Letterbox(frame.shape[:2], self.size_hw) for frame in frames]
        images = [box.apply(as_bgr(frame)) for box, frame in zip(boxes, frames, strict=True)]
        device = next(self.model.parameters()).device
        found = self.model.eval()(torch.from_numpy(np.stack(images)).to(device))
        arrays = dict(zip(self.views, (output.cpu().numpy() for output in found), strict=True))
        return [{name: array[row] for name, array in arrays.items()} for row in range(len(frames))]

    def scene(self, arrays: dict[str, np.ndarray], frame_hw: tuple[int, int]) -> Scene:
        """The outputs in the coordinates of the frame."""
        return read_scene(arrays, self.views, Letterbox(frame_hw, self.size_hw))


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
    """The model in a .safetensors file, on the GPU if there is one, or in an .onnx file.

    Raises UserError for anything else.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a checkpoint (.safetensors) or an .onnx")
    if path.suffix == ".onnx":
        return OnnxPredictor(path, provider)
    if path.suffix == ".safetensors":
        model, meta = checkpoint.load(path)
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        return TorchPredictor(model, meta.model, meta.size_hw)
    raise UserError(f"{path}: not a model; give a checkpoint (.safetensors) or an .onnx")


@dataclass
class LabelledFrame:
    """A frame to score, with its labels as arrays."""

    index: int
    name: str
    size_hw: tuple[int, int]
    image: np.ndarray | None  # None: read by another rank
    targets: dict[str, Arrays]
    attributes: dict[str, str]


def read_frames(
    dataset: Dataset,
    pool: ThreadPoolExecutor,
    ahead: int,
    skipped: list[str] | None = None,
    rows: Sequence[int] | None = None,
) -> Iterator[LabelledFrame]:
    """The frames of `rows` (None: all) in order; the pool reads up to `ahead` in advance.

    A frame that cannot be read raises UserError; with `skipped`, its error is appended there.
    """

    def read(index: int) -> LabelledFrame | UserError:
        try:
            sample = dataset[index]
        except WriteError:
            raise  # of --cache: no fault of the frame
        except UserError as error:
            return error
        image = sample.image
        targets = {task: label.arrays() for task, label in sample.labels.items()}
        attributes = attributes_of(dataset, index, sample)
        return LabelledFrame(index, sample.name, image.shape[:2], image, targets, attributes)

    rows = range(len(dataset)) if rows is None else rows
    waiting = [pool.submit(read, index) for index in rows[:ahead]]
    for place in range(len(rows)):
        frame = waiting.pop(0).result()
        if place + ahead < len(rows):
            waiting.append(pool.submit(read, rows[place + ahead]))
        if isinstance(frame, LabelledFrame):
            yield frame
        elif skipped is None:
            raise UserError(f"{frame} (or pass --skip-bad)")
        else:
            skipped.append(str(frame))


def gather(
    world: World, found: Sequence[tuple[LabelledFrame, dict[str, np.ndarray]]]
) -> list[tuple[LabelledFrame, dict[str, np.ndarray]]]:
    """Every rank's frames and outputs, without the images, in the dataset's order, on the leading
    rank; else empty."""
    parts = world.gather([(replace(frame, image=None), outputs) for frame, outputs in found])
    every = [item for part in parts for item in part] if world.leads else []
    return sorted(every, key=lambda item: item[0].index)


def attributes_of(dataset: Dataset, index: int, sample: Sample) -> dict[str, str]:
    """Weather, scene and time of day of a frame: from the dataset, else from the frame's labels."""
    given = dataset.attributes(index)
    if given is not None:
        return dict(given)
    for label in sample.labels.values():
        if isinstance(label, Labels) and len(label.labels) == len(ATTRIBUTES):
            return attribute_names(label.labels)
    return {}


def attribute_names(codes: np.ndarray) -> dict[str, str]:
    """A frame's attributes by name, from their numbers."""
    pairs = zip(ATTRIBUTES.items(), codes.tolist(), strict=True)
    return {name: values[code] if code >= 0 else "undefined" for (name, values), code in pairs}
