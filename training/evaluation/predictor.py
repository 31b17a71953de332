"""A checkpoint or an .onnx file as one thing: frames in, decoded outputs out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, cast

import cv2
import numpy as np
import torch

from perception import checkpoint
from perception.errors import UserError
from perception.model import Deployed
from perception.runtime.description import BOXES, LABEL, MAP, MASK, NORMALS, View
from perception.runtime.letterbox import Letterbox
from perception.runtime.runner import Runner
from perception.tasks.base import Task

Outputs = dict[str, np.ndarray]


class Predictor(Protocol):
    """What the evaluation needs of a model, whatever file it came from."""

    name: str
    size_hw: tuple[int, int]
    pad_value: int
    views: dict[str, View]

    def __call__(self, images: Sequence[np.ndarray]) -> list[Outputs]:
        """Decoded outputs for letterboxed uint8 (H, W, 3) BGR images of `size_hw`."""


class TorchPredictor:
    """A checkpoint of train-bdd, on the GPU if there is one."""

    pad_value = 114

    def __init__(self, path: Path) -> None:
        model, meta = checkpoint.load(path)
        self.name, self.size_hw = meta.model, meta.size_hw
        self.views: dict[str, View] = {
            name: cast(Task, task).view for name, task in model.tasks.items()
        }
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = Deployed(model).eval().to(self.device)

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> list[Outputs]:
        outputs = self.model(torch.from_numpy(np.stack(images)).to(self.device))
        arrays = [output.cpu().numpy() for output in outputs]
        return [
            {name: array[row] for name, array in zip(self.views, arrays, strict=True)}
            for row in range(len(images))
        ]


class OnnxPredictor:
    """An exported file, through the same Runner that a car uses; one image at a time."""

    def __init__(self, path: Path, provider: str) -> None:
        self.runner = Runner(path, provider)
        description = self.runner.description
        self.name, self.size_hw = description.name, description.size_hw
        self.views, self.pad_value = description.views, description.pad_value

    def __call__(self, images: Sequence[np.ndarray]) -> list[Outputs]:
        return [self.runner.raw(image) for image in images]


def open_predictor(path: Path, provider: str = "cpu") -> Predictor:
    """The model in a .safetensors or .onnx file. Raises UserError for anything else."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a checkpoint (.safetensors) or an .onnx")
    if path.suffix == ".onnx":
        return OnnxPredictor(path, provider)
    if path.suffix == ".safetensors":
        return TorchPredictor(path)
    raise UserError(f"{path}: not a model; give a checkpoint (.safetensors) or an .onnx")


# From the model's input back to the frame, by kind --------------------------------------------


def _boxes(array: np.ndarray, box: Letterbox) -> np.ndarray:
    """(N, 6) in frame pixels, clipped; rows that are no box there are dropped."""
    rows = array[np.isfinite(array).all(axis=1)]
    xyxy = box.boxes_to_frame(rows[:, :4])
    real = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
    return np.concatenate([xyxy, rows[:, 4:]], axis=1)[real]


def _normals(array: np.ndarray, box: Letterbox) -> np.ndarray:
    full = box.map_to_frame(array)
    return full / np.maximum(np.linalg.norm(full, axis=0, keepdims=True), 1e-6)


TO_FRAME: Final = {
    BOXES: _boxes,
    MASK: lambda array, box: box.mask_to_frame(array),
    LABEL: lambda array, box: array,
    MAP: lambda array, box: box.map_to_frame(array),
    NORMALS: _normals,
}


def to_frame(output: np.ndarray, view: View, box: Letterbox) -> np.ndarray:
    """A decoded output in the frame's own coordinates and size, of the same form."""
    return TO_FRAME[view.kind](output, box)


def unpadded(output: np.ndarray, view: View, box: Letterbox) -> np.ndarray:
    """A mask at the model's own resolution without the padding; other kinds in the frame's."""
    if view.kind == MASK:
        return np.ascontiguousarray(box.crop(output))
    return to_frame(output, view, box)


def letterboxed(frame: np.ndarray, predictor: Predictor) -> tuple[np.ndarray, Letterbox]:
    """The model's input for a frame, and the way back."""
    height, width = frame.shape[:2]
    box = Letterbox((height, width), predictor.size_hw, predictor.pad_value)
    return box.apply(frame), box


def single_thread_opencv() -> None:
    """Frames are read and scored in threads of our own; OpenCV's would fight with them."""
    cv2.setNumThreads(1)
