"""What the model sees on validation frames, as one PNG for the eye to judge."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from perception.files import replacing
from perception.runtime.description import View
from perception.runtime.drawing import draw
from perception.runtime.letterbox import Letterbox
from perception.runtime.scene import Scene, read_output


def overlay(
    frame: np.ndarray, outputs: dict[str, np.ndarray], views: dict[str, View]
) -> np.ndarray:
    """A model-size uint8 (H, W, 3) BGR frame with its decoded outputs drawn on it."""
    size_hw = (frame.shape[0], frame.shape[1])
    box = Letterbox(size_hw, size_hw)
    seen = {name: read_output(array, views[name], box) for name, array in outputs.items()}
    return draw(frame, Scene(size_hw, seen))


def write_sheet(path: Path, pictures: Sequence[np.ndarray], columns: int = 2) -> None:
    """Equal-sized pictures side by side in one PNG."""
    if not pictures:
        return
    blank = np.zeros_like(pictures[0])
    padded = [*pictures, *[blank] * (-len(pictures) % columns)]
    rows = [np.hstack(padded[start : start + columns]) for start in range(0, len(padded), columns)]
    with replacing(path) as beside:
        cv2.imwrite(str(beside), np.vstack(rows))
