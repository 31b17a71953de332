"""Masks as PNG files with a palette file: `images/NAME.jpg`, `masks/TASK/NAME.png`.

`masks/TASK/palette.yaml` (or .json) says what the values or colours (R, G, B) mean:

    road: [128, 64, 128]
    background: [0, 0, 0]

TASK is drivable, semantic or lane; split folders may lie below images/ and masks/TASK/. Pixels of
another colour are not annotated.
"""

from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from perception.classes import IGNORE
from perception.errors import UserError
from perception.images import read_pixels
from training.data.classes import check_names, read_yaml

PALETTES: Final = ("palette.yaml", "palette.yml", "palette.json")
TASKS: Final = ("drivable", "semantic", "lane")


def palette_file(folder: Path) -> Path | None:
    """The palette of a folder of masks."""
    return next((path for name in PALETTES if (path := folder / name).is_file()), None)


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


def read_palette_mask(path: Path, palette: dict[str, Any], size_hw: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8: number of each pixel's class in the palette, 255 for other colours."""
    pixels = read_pixels(path, size_hw)
    if pixels.dtype != np.uint8:
        raise UserError(f"{path}: {pixels.dtype}; save it with 8 bits per channel")
    colours = np.array(palette["colours"], np.uint8)
    mask = np.full(size_hw, IGNORE, np.uint8)
    if colours.shape[1] == 1:
        if pixels.ndim == 3:
            raise UserError(f"{path}: colours, but the palette lists values; write [R, G, B] there")
        table = np.full(256, IGNORE, np.uint8)
        table[colours[:, 0]] = np.arange(len(colours))
        return cv2.LUT(pixels, table)
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    for number, colour in enumerate(colours):
        mask[(pixels[..., :3] == colour).all(2)] = number
    return mask
