"""Frames to check and calibrate with: real ones from a folder, or synthetic ones."""

from pathlib import Path

import numpy as np

from perception.errors import UserError
from perception.images import IMAGE_SUFFIXES, read_image
from perception.runtime.letterbox import Letterbox


def synthetic_frames(size_hw: tuple[int, int], count: int, seed: int = 0) -> np.ndarray:
    """uint8 (count, H, W, 3): coloured patches, noise and a gradient."""
    rng = np.random.default_rng(seed)
    height, width = size_hw
    frames = np.empty((count, height, width, 3), np.uint8)
    for frame in frames:
        coarse = rng.integers(0, 256, (height // 32, width // 32, 3)).astype(np.float32)
        patches = coarse.repeat(32, 0).repeat(32, 1)
        slope = np.linspace(0, 60, width, dtype=np.float32)[None, :, None]
        frame[:] = np.clip(0.7 * patches + slope + rng.normal(0, 12, frame.shape), 0, 255)
    return frames


def read_frames(folder: Path, size_hw: tuple[int, int], count: int) -> np.ndarray:
    """uint8 (N <= count, H, W, 3): letterboxed images, evenly spaced over a folder tree.

    Raises UserError where there is no image or one cannot be decoded.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one with images")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise UserError(f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)}) in it")
    count = min(count, len(paths))
    chosen = [paths[i * len(paths) // count] for i in range(count)]
    images = (read_image(path)[0] for path in chosen)
    return np.stack([Letterbox(image.shape[:2], size_hw).apply(image) for image in images])
