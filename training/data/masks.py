"""Mask files, read into the training encodings.

One function per encoding of BDD100K's releases: (H, W) pixels as stored -> (H, W) uint8. It raises
ValueError for wrong values, to which `read_mask` adds the file's name. Any other mask has a palette
file that says what its values or colours (R, G, B) mean:

    road: [128, 64, 128]
    background: [0, 0, 0]
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from perception.classes import (
    DRIVABLE,
    IGNORE,
    LANE_BACKGROUND,
    LANE_BACKGROUND_BIT,
    LANE_CATEGORY_UNKNOWN,
    LANE_TYPE_UNKNOWN,
    SEMANTIC,
)
from perception.errors import UserError
from perception.images import read_pixels
from training.data.classes import check_names, read_yaml

BACKGROUND_DRIVABLE: Final = DRIVABLE.index("background")
LANE_FOREGROUND: Final = LANE_CATEGORY_UNKNOWN | LANE_TYPE_UNKNOWN


def read_mask(path: Path, encoding: Any, size_hw: tuple[int, int] | None = None) -> np.ndarray:
    """A mask in its training encoding, a key of ENCODINGS or what `read_palette` returned.

    Raises UserError naming the file and the fix.
    """
    pixels = read_pixels(path, size_hw)
    try:
        if isinstance(encoding, dict):
            return by_palette(pixels, np.array(encoding["colours"], np.uint8))
        return ENCODINGS[encoding](pixels)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def read_palette(path: Path) -> dict[str, Any]:
    """{"names", "colours"}: a BGR triple or a value per name. Raises UserError where wrong."""
    data = read_yaml(path, texts=True)
    names = check_names(list(data), str(path))
    colours: list[list[int]] = []
    for name, given in zip(names, data.values(), strict=True):
        texts = [str(value) for value in (given if isinstance(given, list) else [given])]
        colour = [int(text) if text.isdecimal() else -1 for text in texts]
        if len(colour) not in (1, 3) or not all(0 <= value <= 255 for value in colour):
            raise UserError(f"{path}: {name}: write a value 0..255 or [R, G, B]")
        if colour[::-1] in colours:
            raise UserError(f"{path}: {name}: another class has the same colour")
        colours.append(colour[::-1])
    if len({len(colour) for colour in colours}) > 1:
        raise UserError(f"{path}: write values for all classes, or colours for all")
    return {"names": list(names), "colours": colours}


def by_palette(pixels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """(H, W) uint8: number of each pixel's class in the palette, 255 for other colours."""
    if pixels.dtype != np.uint8:
        raise ValueError(f"{pixels.dtype}; save it with 8 bits per channel")
    if colours.shape[1] == 1:
        if pixels.ndim == 3:
            raise ValueError("colours, but the palette lists values; write [R, G, B] there")
        table = np.full(256, IGNORE, np.uint8)
        table[colours[:, 0]] = np.arange(len(colours))
        return cv2.LUT(pixels, table)
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    mask = np.full(pixels.shape[:2], IGNORE, np.uint8)
    for number, colour in enumerate(colours):
        mask[(pixels[..., :3] == colour).all(2)] = number
    return mask


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


def _mapped(pixels: np.ndarray, allowed: dict[int, int], meaning: str) -> np.ndarray:
    pixels = _single_channel(pixels)
    seen = _values(pixels).tolist()
    unknown = [value for value in seen if value not in allowed]
    if unknown:
        raise ValueError(f"mask holds the unknown value {unknown[0]}; allowed: {meaning}")
    if all(allowed[value] == value for value in seen):
        return pixels
    table = np.array([allowed.get(value, 0) for value in range(256)], np.uint8)
    return cv2.LUT(pixels, table)


def drivable(pixels: np.ndarray) -> np.ndarray:
    """Official ids."""
    allowed = {value: value for value in (*range(len(DRIVABLE)), IGNORE)}
    return _mapped(pixels, allowed, "0 direct, 1 alternative, 2 background, 255 ignore")


def drivable_2018(pixels: np.ndarray) -> np.ndarray:
    """Ids of drivable_maps."""
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


def lane_panoptic(pixels: np.ndarray) -> np.ndarray:
    """ll_seg_annotations: above 1 is lane (the rule of that protocol), kind unknown."""
    seen = np.where(_single_channel(pixels) > 1, LANE_FOREGROUND, LANE_BACKGROUND)
    return seen.astype(np.uint8)


def semantic(pixels: np.ndarray) -> np.ndarray:
    """Train ids of the 19 classes."""
    allowed = {value: value for value in (*range(len(SEMANTIC)), IGNORE)}
    return _mapped(pixels, allowed, "0-18 and 255 ignore")


ENCODINGS: Final[dict[str, Callable[[np.ndarray], np.ndarray]]] = {
    "drivable": drivable,
    "drivable-2018": drivable_2018,
    "drivable-panoptic": drivable_panoptic,
    "lane": lane,
    "lane-panoptic": lane_panoptic,
    "semantic": semantic,
}
