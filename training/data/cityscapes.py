"""Cityscapes: 19 classes from the fine annotations, depth from the stereo disparity.

`leftImg8bit/`, `gtFine/`, and optionally `disparity/` and `camera/`, as the archives of
https://www.cityscapes-dataset.com unpack. Cite: Cordts et al., CVPR 2016.
"""

import json
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from perception.errors import UserError
from perception.files import read_bounded
from perception.images import read_pixels
from training.data.files import expecting
from training.data.labels import Distance, Label
from training.data.pairs import Pairs

# Metres times pixels of the usual camera, for frames without a camera file.
BASELINE_FOCAL: Final = 0.209313 * 2262.52
MAX_CAMERA: Final = 1 << 16
IMAGE: Final = "_leftImg8bit"  # end of the images' names


class Cityscapes(Pairs):
    """Frames with a fine annotation or a disparity map."""

    format = "Cityscapes"
    labels = ("semantic", "depth")
    frames_at = f"leftImg8bit/{{split}}/{{city}}/{{stem}}{IMAGE}.png"
    labels_at: ClassVar = {
        "semantic": "gtFine/{split}/{city}/{stem}_gtFine_labelIds.png",
        "depth": "disparity/{split}/{city}/{stem}_disparity.png",
    }
    encodings: ClassVar = {"semantic": "cityscapes"}

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return (root / "leftImg8bit").is_dir()

    def name(self, index: int) -> str:
        return super().name(index).removesuffix(IMAGE)

    def pixels(self, task: str, path: Path, size_hw: tuple[int, int]) -> Label:
        if task == "semantic":
            return super().pixels(task, path, size_hw)
        camera = self.root / "camera" / self.split / path.parent.name
        metres = baseline(camera / f"{path.stem.removesuffix('_disparity')}_camera.json")
        pixels = read_pixels(path, size_hw)
        if pixels.ndim != 2 or pixels.dtype != np.uint16:
            raise UserError(f"{path}: not one channel of uint16; restore the file")
        return Distance(to_metres(pixels, metres))


def to_metres(disparity: np.ndarray, baseline_focal: float) -> np.ndarray:
    """16-bit disparity (0 unknown, else (p - 1) / 256 pixels) to metres, NaN unknown.

    Disparities below one pixel are too imprecise and become unknown as well.
    """
    pixels = (disparity.astype(np.float32) - 1) / 256
    known = (disparity > 0) & (pixels >= 1)
    return np.where(known, baseline_focal / np.maximum(pixels, 1), np.nan).astype(np.float32)


def baseline(camera: Path) -> float:
    """Baseline times focal length of a camera file, if there is one."""
    if not camera.is_file():
        return BASELINE_FOCAL
    with expecting(camera, "a Cityscapes camera file"):
        data = json.loads(read_bounded(camera, MAX_CAMERA))
        found = float(data["extrinsic"]["baseline"]) * float(data["intrinsic"]["fx"])
        if not 0 < found < 1e9:
            raise ValueError(f"baseline times focal length is {found}")
        return found
