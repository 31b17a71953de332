"""Shadows on the ground: contact shadows always, cast shadows when the sun shines."""

from functools import lru_cache

import cv2
import numpy as np

from training.data.roads.ground import SHIFT, Viewpoint, fixed
from training.data.roads.mesh import Thing

SQUARE = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]], np.float32) / 2  # across, along
DARK = 235
REACH = 90.0  # metres ahead


def _footprints(things: list[Thing]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corners along and across (N, 4), and heights (N, 1)."""
    size = np.array([t.shadow for t in things], np.float32).reshape(-1, 3)
    turn = np.array([t.yaw or 0.0 for t in things], np.float32)[:, None]
    middle = np.array([(t.s, t.t) for t in things], np.float32).reshape(-1, 2)
    x, z = SQUARE[:, 0] * size[:, 1:2], SQUARE[:, 1] * size[:, :1]
    across = middle[:, 1:] + x * np.cos(turn) + z * np.sin(turn)
    along = middle[:, :1] + z * np.cos(turn) - x * np.sin(turn)
    return along, across, size[:, 2:]


def _circle(turn: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(turn), np.sin(turn)], axis=-1)


@lru_cache
def _dapple() -> np.ndarray:
    """(B, 8, 2) the spots (along, across) that make up the shadow of a tree crown of radius 1."""
    rng = np.random.default_rng(8)
    turn, away = rng.uniform(0, 6.28, 14), np.sqrt(rng.uniform(0, 0.8, 14))
    ring = rng.uniform(0.18, 0.42, (14, 1, 1)) * _circle(np.arange(8) * np.pi / 4)
    return ((away[:, None] * _circle(turn))[:, None] + ring).astype(np.float32)


def _crowns(trees: list[Thing], sun: np.ndarray) -> np.ndarray:
    """(N, 8, 2) the shadow spots of all trees."""
    size = np.array([t.shadow for t in trees], np.float32)
    middle = np.array([(t.s, t.t) for t in trees], np.float32)
    middle += size[:, 2:] * sun[[2, 0]]
    spots = size[:, :1, None, None] * 0.55 * _dapple()
    return (middle[:, None, None] + spots).reshape(-1, 8, 2)


def shadows(view: Viewpoint, things: list[Thing], sun: np.ndarray | None) -> np.ndarray:
    """(H, W) uint8 shadow strength; `sun` points towards the sun, None without one."""
    h, w = view.camera.size_hw
    out = np.zeros((h // 2, w // 2), np.uint8)
    near = [
        t for t in things
        if t.shadow and t.s - view.s < REACH and t.s + t.shadow[0] - view.s > 1.5
    ]  # fmt: skip
    trees = [t for t in near if t.yaw is None and not t.kinds]
    along, across, height = _footprints([t for t in near if t.yaw is not None or t.kinds])
    outlines = []
    if sun is not None:
        cast = -sun / max(float(sun[1]), 0.25)
        along = np.concatenate([along, along + cast[2] * height], axis=1)
        across = np.concatenate([across, across + cast[0] * height], axis=1)
        if trees:
            outlines += list(view.project(*np.moveaxis(_crowns(trees, cast), -1, 0)))
    outlines += [cv2.convexHull(o) for o in view.project(along, across)]
    for outline in outlines:
        cv2.fillConvexPoly(out, fixed(outline / 2), DARK, cv2.LINE_8, SHIFT)
    return cv2.resize(cv2.blur(out, (5, 3)), (w, h))
