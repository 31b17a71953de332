"""Mask files of every release, read into the training encodings.

One function per encoding: (H, W) pixels as stored -> (H, W) uint8. It raises ValueError for wrong
values, to which `read_mask` adds the file's name.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from perception.classes import (
    DRIVABLE,
    IGNORE,
    LANE_BACKGROUND,
    LANE_BACKGROUND_BIT,
    LANE_CATEGORY_UNKNOWN,
    SEMANTIC,
)
from perception.errors import UserError
from perception.images import read_pixels
from training.data.bdd.table import BACKGROUND_DRIVABLE, LANE_FOREGROUND


def read_mask(path: Path, encoding: str, size_hw: tuple[int, int] | None = None) -> np.ndarray:
    """A mask in its training encoding. Raises UserError naming the file and the fix."""
    pixels = read_pixels(path, size_hw)
    try:
        return ENCODINGS[encoding](pixels)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def _single_channel(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype != np.uint8:
        raise ValueError(f"mask is {pixels.dtype}; save it with 8 bits per pixel")
    if pixels.ndim == 3:
        # Grey saved as colour is common; other colours have no class.
        first = pixels[..., 0]
        if any(not np.array_equal(first, pixels[..., channel]) for channel in (1, 2)):
            raise ValueError("mask is a colour image; give masks of class ids")
        return np.ascontiguousarray(first)
    return pixels


def _values(pixels: np.ndarray) -> np.ndarray:
    # Ten times faster than np.unique or np.bincount on a frame.
    return np.flatnonzero(cv2.calcHist([pixels], [0], None, [256], [0, 256]))


def _table(allowed: dict[int, int]) -> np.ndarray:
    table = np.full(256, -1, np.int16)
    table[list(allowed)] = list(allowed.values())
    return table


def _mapped(pixels: np.ndarray, allowed: dict[int, int], meaning: str) -> np.ndarray:
    pixels = _single_channel(pixels)
    table = _table(allowed)
    seen = _values(pixels)
    unknown = seen[table[seen] < 0]
    if len(unknown):
        raise ValueError(f"mask holds the unknown value {unknown[0]}; allowed: {meaning}")
    if all(table[value] == value for value in seen):
        return pixels
    return cv2.LUT(pixels, np.where(table < 0, 0, table).astype(np.uint8))


def drivable(pixels: np.ndarray) -> np.ndarray:
    """Official ids: 0 direct, 1 alternative, 2 background, 255 not annotated."""
    allowed = {value: value for value in (*range(len(DRIVABLE)), IGNORE)}
    return _mapped(pixels, allowed, "0 direct, 1 alternative, 2 background, 255 ignore")


def drivable_2018(pixels: np.ndarray) -> np.ndarray:
    """drivable_maps ids: 0 background, 1 direct, 2 alternative."""
    allowed = {0: BACKGROUND_DRIVABLE, 1: 0, 2: 1, IGNORE: IGNORE}
    return _mapped(pixels, allowed, "0 background, 1 direct, 2 alternative, 255 ignore")


def drivable_panoptic(pixels: np.ndarray) -> np.ndarray:
    """da_seg_annotations: grey (0 background, 127 alternative, else direct) or red and blue.

    Where the packer merged both areas everything drivable is read as direct.
    """
    if pixels.ndim == 3 and not np.array_equal(pixels[..., 0], pixels[..., 2]):
        blue, red = pixels[..., 0].astype(np.int16), pixels[..., 2].astype(np.int16)
        area = np.where(blue > red, 1, 0)
        return np.where(pixels[..., :3].max(2) > 1, area, BACKGROUND_DRIVABLE).astype(np.uint8)
    allowed = {0: BACKGROUND_DRIVABLE, 1: 0, 2: 1, 127: 1, 128: 1, 254: 0, 255: 0}
    return _mapped(pixels, allowed, "0 background, 127 alternative, 255 direct")


def lane(pixels: np.ndarray) -> np.ndarray:
    """The official lane byte; any value with bit 3 set is background."""
    pixels = _single_channel(pixels)
    seen = _values(pixels)
    unknown = seen[((seen & LANE_BACKGROUND_BIT) == 0) & (seen >= LANE_CATEGORY_UNKNOWN)]
    if len(unknown):
        raise ValueError(f"mask holds {unknown[0]}, no lane byte (category, style, direction)")
    if all(value == LANE_BACKGROUND or not value & LANE_BACKGROUND_BIT for value in seen):
        return pixels
    return np.where(pixels & LANE_BACKGROUND_BIT, np.uint8(LANE_BACKGROUND), pixels)


def lane_binary(pixels: np.ndarray) -> np.ndarray:
    """Any foreground: lane of unknown category, style and direction."""
    pixels = _single_channel(pixels)
    seen = _values(pixels)
    if len(seen) > 2 or (len(seen) == 2 and seen[0] != 0):
        raise ValueError(f"binary lane mask holds the values {seen[:5].tolist()}; two are allowed")
    table = np.full(256, LANE_FOREGROUND, np.uint8)
    table[0] = LANE_BACKGROUND
    return cv2.LUT(pixels, table)


def lane_panoptic(pixels: np.ndarray) -> np.ndarray:
    """ll_seg_annotations: above 1 is lane (the rule of that protocol), kind unknown."""
    seen = np.where(_single_channel(pixels) > 1, LANE_FOREGROUND, LANE_BACKGROUND)
    return seen.astype(np.uint8)


def semantic(pixels: np.ndarray) -> np.ndarray:
    """Train ids of the 19 classes, 255 not annotated."""
    allowed = {value: value for value in (*range(len(SEMANTIC)), IGNORE)}
    return _mapped(pixels, allowed, "0-18 and 255 ignore")


ENCODINGS: Final[dict[str, Callable[[np.ndarray], np.ndarray]]] = {
    "drivable": drivable,
    "drivable-2018": drivable_2018,
    "drivable-panoptic": drivable_panoptic,
    "lane": lane,
    "lane-binary": lane_binary,
    "lane-panoptic": lane_panoptic,
    "semantic": semantic,
}
