"""Mask files, read into the training encodings.

Those of published datasets are in the table ENCODINGS. Any other mask has a palette file that says
what its values or colours (R, G, B) mean:

    road: [128, 64, 128]
    background: [0, 0, 0]
"""

from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from perception import classes
from perception.classes import IGNORE
from perception.errors import UserError
from perception.images import read_pixels
from training.data.classes import check_names, read_yaml

BACKGROUND_DRIVABLE: Final = classes.DRIVABLE.index("background")
LANE_FOREGROUND: Final = classes.LANE_CATEGORY_UNKNOWN | classes.LANE_TYPE_UNKNOWN
UNKNOWN: Final = "the unknown value {}; allowed:"


def read_mask(path: Path, encoding: Any, size_hw: tuple[int, int] | None = None) -> np.ndarray:
    """A mask in its training encoding, a key of ENCODINGS or what `read_palette` returned.

    Raises UserError naming the file and the fix.
    """
    pixels = read_pixels(path, size_hw)
    try:
        if isinstance(encoding, dict):
            return by_palette(pixels, np.array(encoding["colours"], np.uint8))
        coloured = pixels.ndim == 3 and not np.array_equal(pixels[..., 0], pixels[..., 2])
        if coloured and encoding == "drivable-panoptic":
            return red_and_blue(pixels)
        return mapped(pixels, *ENCODINGS[encoding])
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


def mapped(pixels: np.ndarray, meanings: dict[int, int], wrong: str) -> np.ndarray:
    """(H, W) uint8 with the meaning of each value; `wrong` is what to say of a value without."""
    if pixels.dtype != np.uint8:
        raise ValueError(f"mask is {pixels.dtype}; save it with 8 bits per pixel")
    if pixels.ndim == 3:
        # Grey saved as colour is common; other colours have no class.
        first = pixels[..., 0]
        if any(not np.array_equal(first, pixels[..., channel]) for channel in (1, 2)):
            raise ValueError("mask is a colour image; give masks of class ids")
        pixels = np.ascontiguousarray(first)
    # Ten times faster than np.unique or np.bincount on a frame.
    seen = np.flatnonzero(cv2.calcHist([pixels], [0], None, [256], [0, 256])).tolist()
    if unknown := [value for value in seen if value not in meanings]:
        raise ValueError(f"mask holds {wrong.format(unknown[0])}")
    if all(meanings[value] == value for value in seen):
        return pixels
    return cv2.LUT(pixels, np.array([meanings.get(value, 0) for value in range(256)], np.uint8))


def red_and_blue(pixels: np.ndarray) -> np.ndarray:
    """da_seg_annotations in colour: direct areas red, alternative ones blue."""
    blue, red = pixels[..., 0], pixels[..., 2]
    area = np.where(blue > red, 1, 0)
    return np.where(pixels[..., :3].max(2) > 1, area, BACKGROUND_DRIVABLE).astype(np.uint8)


# Label ids of the 19 evaluated classes, in training order (cityscapesscripts/helpers/labels.py).
CITYSCAPES: Final = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
# (training value of each value, what to say of another one) of the masks of published datasets.
ENCODINGS: Final[dict[str, tuple[dict[int, int], str]]] = {
    "drivable": (
        {value: value for value in (*range(len(classes.DRIVABLE)), IGNORE)},
        f"{UNKNOWN} 0 direct, 1 alternative, 2 background, 255 ignore",
    ),
    "drivable-2018": (  # drivable_maps
        {0: BACKGROUND_DRIVABLE, 1: 0, 2: 1, IGNORE: IGNORE},
        f"{UNKNOWN} 0 background, 1 direct, 2 alternative, 255 ignore",
    ),
    # Where the packer of da_seg_annotations merged both areas everything drivable is direct.
    "drivable-panoptic": (
        {0: BACKGROUND_DRIVABLE, 1: 0, 2: 1, 127: 1, 128: 1, 254: 0, 255: 0},
        f"{UNKNOWN} 0 background, 127 alternative, 255 direct",
    ),
    "lane": (  # any value with bit 3 set is background
        {
            value: classes.LANE_BACKGROUND if value & classes.LANE_BACKGROUND_BIT else value
            for value in range(256)
            if value & classes.LANE_BACKGROUND_BIT or value < classes.LANE_CATEGORY_UNKNOWN
        },
        "{}, no lane byte (category, style, direction)",
    ),
    "lane-panoptic": (  # ll_seg_annotations: lane above 1, by the rule of that protocol
        {value: LANE_FOREGROUND if value > 1 else classes.LANE_BACKGROUND for value in range(256)},
        "",
    ),
    "semantic": (
        {value: value for value in (*range(len(classes.SEMANTIC)), IGNORE)},
        f"{UNKNOWN} 0-18 and 255 ignore",
    ),
    "cityscapes": (
        {**dict.fromkeys(range(256), IGNORE), **{v: n for n, v in enumerate(CITYSCAPES)}},
        "",
    ),
    "ade20k": (
        {0: IGNORE, **{number + 1: number for number in range(len(classes.ADE20K))}},
        f"{UNKNOWN} 0 not annotated, 1-150",
    ),
}
