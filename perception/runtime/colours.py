"""A BGR colour for every class name: from a table for driving classes, else derived from the name,
so that new classes need no code; and for the numbers of maps."""

import colorsys
import zlib
from functools import cache

import cv2
import numpy as np

from perception.classes import LANE_BACKGROUND_BIT, LANE_CATEGORY_BITS, LANE_STYLE_BIT
from perception.runtime.view import View

BGR = tuple[int, int, int]
BACKGROUND = "background"

COLOURS: dict[str, BGR] = {
    # traffic: warm for people, cool for vehicles
    "pedestrian": (96, 96, 255),
    "person": (96, 96, 255),
    "rider": (170, 90, 255),
    "bicycle": (235, 120, 255),
    "motorcycle": (255, 110, 200),
    "car": (255, 190, 60),
    "truck": (255, 140, 70),
    "bus": (230, 220, 60),
    "train": (200, 170, 120),
    "traffic light": (70, 220, 255),
    "traffic sign": (60, 170, 255),
    # drivable area
    "direct": (130, 200, 40),
    "alternative": (220, 130, 50),
    # lane markings, near their own colour
    "single white": (255, 255, 255),
    "double white": (255, 245, 205),
    "single yellow": (40, 205, 255),
    "double yellow": (20, 165, 255),
    "single other": (205, 205, 150),
    "double other": (190, 190, 120),
    "road curb": (150, 120, 255),
    "crosswalk": (255, 130, 190),
    # surroundings, after Cityscapes
    "road": (128, 64, 128),
    "sidewalk": (232, 35, 244),
    "building": (90, 90, 90),
    "wall": (156, 102, 102),
    "fence": (153, 153, 190),
    "pole": (170, 170, 170),
    "vegetation": (60, 140, 90),
    "terrain": (152, 251, 152),
    "sky": (200, 140, 70),
}


@cache
def colour(name: str) -> BGR:
    """BGR, the same on every machine."""
    if name in COLOURS:
        return COLOURS[name]
    hue = zlib.crc32(name.encode()) % 360 / 360
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.55, 0.95)
    return int(255 * blue), int(255 * green), int(255 * red)


@cache
def lookup(view: View) -> tuple[np.ndarray, np.ndarray]:
    """(colours uint8 (256, 1, 3), opacity float32 (256,)) for every value of a mask, in the shapes
    that cv2.applyColorMap and cv2.LUT take. Background and values without a class are clear."""
    colours, opacity = np.zeros((256, 1, 3), np.uint8), np.zeros(256, np.float32)
    if view.categories:
        for value in range(64):
            category = value & LANE_CATEGORY_BITS
            if not value & LANE_BACKGROUND_BIT and category < len(view.categories):
                colours[value] = colour(view.categories[category])
                opacity[value] = 0.75 if value & LANE_STYLE_BIT else 1.0
    for value, name in enumerate(view.classes[:256]):
        if name != BACKGROUND:
            colours[value], opacity[value] = colour(name), 1.0
    return colours, opacity


def map_picture(values: np.ndarray, low_high: tuple[float, ...]) -> np.ndarray:
    """float (h, w) in the turbo colour map, logarithmic, small values warm.

    Without a range in the description, from the 2nd to the 98th percentile; NaN is black.
    """
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros((*values.shape, 3), np.uint8)
    low, high = low_high if len(low_high) == 2 else np.percentile(values[finite], (2, 98))
    shifted = np.clip(np.where(finite, values, high), low, high) - low
    share = np.log1p(shifted) / max(float(np.log1p(high - low)), 1e-6)
    painted = cv2.applyColorMap((255 * (1 - share)).astype(np.uint8), cv2.COLORMAP_TURBO)
    painted[~finite] = 0
    return painted


def vector_picture(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors (3, h, w) as colour: x, y, z from -1..1 to red, green, blue."""
    unit = np.nan_to_num(vectors.transpose(1, 2, 0)[..., ::-1])
    return np.clip(127.5 * (unit + 1), 0, 255).astype(np.uint8)
