"""Drivable areas and lanes drawn from their outlines, straight or Bezier."""

from typing import Final

import cv2
import numpy as np

from perception.classes import LANE_BACKGROUND
from training.data.bdd.categories import BACKGROUND_DRIVABLE
from training.data.bdd.index import Index

# Positions given to OpenCV in 1/16 of a pixel.
SHIFT: Final = 4
STEPS: Final = 24


def draw(index: Index, task: str, frame: int, size_hw: tuple[int, int], width: int) -> np.ndarray:
    """The mask (H, W) uint8 of a frame: drivable ids, or lane bytes `width` pixels wide."""
    area = task == "drivable"
    mask = np.full(size_hw, BACKGROUND_DRIVABLE if area else LANE_BACKGROUND, np.uint8)
    start, count = (index.drivable_rows if area else index.lane_rows)[frame].tolist()
    for polygon in range(start, start + count):
        first, stop = index.vertex_start[polygon : polygon + 2].tolist()
        points = outline(index.vertex_xy[first:stop], index.vertex_curve[first:stop])
        value = int(index.polygon_value[polygon])
        fixed = np.round(points * (1 << SHIFT)).astype(np.int32)
        if area:
            cv2.fillPoly(mask, [fixed], value, shift=SHIFT)
        else:
            cv2.polylines(mask, [fixed], False, value, width, shift=SHIFT)
    return mask


def outline(vertices: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """(K, 2) points along (V, 2) vertices; three C vertices in a row end one cubic Bezier."""
    points = [vertices[:1]]
    at = 1
    while at < len(vertices):
        if curve[at] and at + 2 < len(vertices):
            points.append(_bezier(vertices[at - 1 : at + 3]))
            at += 3
        else:
            points.append(vertices[at : at + 1])
            at += 1
    return np.concatenate(points)


def _bezier(control: np.ndarray) -> np.ndarray:
    t = np.linspace(0, 1, STEPS + 1)[1:, None]
    s = 1 - t
    return (
        s**3 * control[0]
        + 3 * s**2 * t * control[1]
        + 3 * s * t**2 * control[2]
        + t**3 * control[3]
    )
