"""Shadows on the ground: contact shadows always, cast shadows when the sun shines."""

from functools import lru_cache

import cv2
import numpy as np

from training.data.roads.ground import SHIFT, Viewpoint, fixed
from training.data.roads.mesh import Thing

SQUARE = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]], np.float32) / 2  # along, across
DARK = 235
REACH = 90.0  # metres ahead


def _circle(turn: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(turn), np.sin(turn)], axis=-1)


@lru_cache
def _dapple() -> np.ndarray:
    """(B, 8, 2) the spots (along, across) that make up the shadow of a tree crown of radius 1."""
    rng = np.random.default_rng(8)
    turn, away = rng.uniform(0, 6.28, 14), np.sqrt(rng.uniform(0, 0.8, 14))
    ring = rng.uniform(0.18, 0.42, (14, 1, 1)) * _circle(np.arange(8) * np.pi / 4)
    return ((away[:, None] * _circle(turn))[:, None] + ring).astype(np.float32)


def _outlines(thing: Thing, cast: np.ndarray) -> np.ndarray:
    """(N, 8, 2) outlines (along, across): the footprint and the roof's shadow, or a tree's spots.

    `cast` is the shadow (along, across) of a pole 1 m high.
    """
    length, width, height = thing.size
    middle, shift = (thing.s, thing.t), height * (thing.shadow or 0) * cast
    if thing.yaw is None and not thing.mesh.kinds:  # a tree, of which the crown casts a shadow
        crown = middle + shift + 0.3 * width * _dapple()
        return crown if cast.any() else np.empty((0, 8, 2))
    (cos, sin), corners = _circle(np.array(thing.yaw or 0.0)), SQUARE * (length, width)
    footprint = middle + corners @ np.array([[cos, sin], [-sin, cos]])
    return np.concatenate([footprint, footprint + shift])[None]


def shadows(view: Viewpoint, things: list[Thing], sun: np.ndarray | None) -> np.ndarray:
    """(H, W) uint8 shadow strength; `sun` points towards the sun, None without one."""
    h, w = view.camera.size_hw
    out = np.zeros((h // 2, w // 2), np.uint8)
    cast = np.zeros(2) if sun is None else -sun[[2, 0]] / max(float(sun[1]), 0.25)
    near = [
        _outlines(t, cast) for t in things
        if t.shadow is not None and t.s - view.s < REACH and t.s + t.size[0] - view.s > 1.5
    ]  # fmt: skip
    along, across = np.moveaxis(np.concatenate([np.empty((0, 8, 2)), *near]), -1, 0)
    for outline in view.project(along, across):
        cv2.fillConvexPoly(out, fixed(cv2.convexHull(outline) / 2), DARK, cv2.LINE_8, SHIFT)
    return cv2.resize(cv2.blur(out, (5, 3)), (w, h))
