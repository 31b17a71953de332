"""Areas of a mask as polygons along the edges of their pixels: drawn filled, they give the mask."""

import cv2
import numpy as np

from perception.runtime.scene import Mask

MAX_AREAS = 300  # per mask; the largest are kept
MAX_HOLES = 20  # per area; the largest are kept
MIN_HOLE_PIXELS = 10
MIN_PIXELS = 2  # of the model's resolution, of one area
TOLERANCE = 0.2  # of a polygon's simplification, in pixels of the model's resolution


def outlines(mask: Mask, value: int) -> list[np.ndarray]:
    """Outlines float (N, 2) in frame pixels of the areas of one value, largest first.

    Holes are cut open to the outline, so that each area is one polygon.
    """
    areas = (mask.small == value).astype(np.uint8)
    height, width = areas.shape
    # On a grid where pixel (y, x) is (2 y + 1, 2 x + 1), an area grown by one point ends on the
    # edges of its pixels, which contours then follow.
    grid = np.zeros((2 * height + 1, 2 * width + 1), np.uint8)
    grid[1::2, 1::2] = areas
    grid = cv2.dilate(grid, np.ones((3, 3), np.uint8))
    rings, hierarchy = cv2.findContours(grid, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    scale = np.array([mask.frame_hw[1] / width, mask.frame_hw[0] / height])
    sized = [(cv2.contourArea(ring) / 4, i) for i, ring in enumerate(rings)]
    sized = sorted((pair for pair in sized if pair[0] >= MIN_PIXELS), reverse=True)
    holes: dict[int, list[int]] = {}
    for size, i in sized:
        if size < MIN_HOLE_PIXELS:
            break
        holes.setdefault(int(hierarchy[0, i, 3]), []).append(i)
    found = []
    for _, i in [pair for pair in sized if hierarchy[0, pair[1], 3] < 0][:MAX_AREAS]:
        outline = _simplified(rings[i])
        for hole in holes.get(i, [])[:MAX_HOLES]:
            outline = _with_hole(outline, _simplified(rings[hole]))
        found.append((outline / 2 * scale).round(1))
    return found


def _simplified(ring: np.ndarray) -> np.ndarray:
    """float (N, 2), N >= 3."""
    fewer = cv2.approxPolyDP(ring, 2 * TOLERANCE, True)
    return (fewer if len(fewer) > 2 else ring).reshape(-1, 2).astype(float)


def _with_hole(outline: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """One polygon: the outline, cut open to the hole at the nearest pair of their vertices."""
    distances = np.linalg.norm(outline[:, None] - hole[None], axis=2)
    i, j = np.unravel_index(distances.argmin(), distances.shape)
    around = np.concatenate([hole[j:], hole[: j + 1]])
    return np.concatenate([outline[: i + 1], around, outline[i:]])
