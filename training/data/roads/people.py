"""Bicycles and motorcycles with their riders, and pedestrians: flat figures facing the camera."""

from functools import lru_cache

import numpy as np

from training.data.roads.mesh import BLACK, BODY, Builder, Colour, Mesh, Paint
from training.data.roads.vehicles import DARK, LAMP, RED, RUBBER

SKINS: tuple[Colour, ...] = ((0.52, 0.62, 0.8), (0.35, 0.45, 0.62), (0.18, 0.26, 0.38))
SHIRTS: tuple[Colour, ...] = (
    (0.12, 0.12, 0.13), (0.45, 0.25, 0.15), (0.75, 0.75, 0.75), (0.15, 0.15, 0.5),
    (0.2, 0.35, 0.2), (0.15, 0.5, 0.7), (0.3, 0.3, 0.32), (0.5, 0.45, 0.4),
)  # fmt: skip
TROUSERS: tuple[Colour, ...] = (
    (0.3, 0.2, 0.14), (0.1, 0.1, 0.1), (0.35, 0.4, 0.45), (0.2, 0.2, 0.22),
)  # fmt: skip
SHOE: Colour = (0.08, 0.08, 0.08)
VARIANTS = 24


def _limb(
    b: Builder, start: tuple[float, float], end: tuple[float, float], thick: float, colour: Paint
) -> None:
    a, c = np.array(start), np.array(end)
    along = (c - a) / (np.linalg.norm(c - a) + 1e-6)
    side = np.array([-along[1], along[0]]) * thick / 2
    b.flat(np.array([a + side, c + side * 0.75, c - side * 0.75, a - side]), colour)


@lru_cache
def pedestrian(variant: int) -> Mesh:
    """A walking or standing person 1.75 m tall."""
    rng = np.random.default_rng((77, variant))
    skin = SKINS[rng.integers(len(SKINS))]
    shirt = SHIRTS[rng.integers(len(SHIRTS))]
    legs = TROUSERS[rng.integers(len(TROUSERS))]
    b = Builder(kind="person", slot=0)
    stride = rng.choice([0.06, 0.2, 0.32]) * rng.choice([-1, 1])
    toe = np.sign(stride)
    wide = rng.uniform(0.36, 0.46)
    for sign in (-1, 1):
        foot, knee = sign * stride, sign * (0.08 + stride * 0.4)
        shade = np.multiply(legs, 0.75 if sign < 0 else 1.0)
        _limb(b, (sign * 0.08, 0.9), (knee, 0.48), 0.19, shade)
        _limb(b, (knee, 0.52), (foot, 0.06), 0.14, shade)
        heel = foot - 0.07
        b.flat([(heel, 0), (foot + 0.15 * toe, 0), (foot + 0.12 * toe, 0.08), (heel, 0.1)], SHOE)
    if rng.random() < 0.3:  # a bag on the back
        _limb(b, (-wide * 0.6, 1.4), (-wide * 0.6, 1.0), 0.2, (0.15, 0.12, 0.12))
    for sign in (-1, 1):
        arm = np.multiply(shirt, 0.7 if sign < 0 else 0.92)
        hand = sign * (wide * 0.55 + abs(stride) * 0.3)
        _limb(b, (sign * wide * 0.48, 1.42), (hand, 0.86), 0.12, arm)
    waist, chest = wide * 0.38, wide * 0.5
    hem = 0.55 if rng.random() < 0.25 else 0.86
    half = [(waist, hem), (chest, 1.2), (chest * 0.95, 1.43), (0.06, 1.5)]
    b.flat([(-waist, hem), *half, *((-x, y) for x, y in half[:0:-1])], shirt)
    b.disc(0, 1.53, 0, 0.06, skin, (0, 0, -1), 6)
    b.disc(0, 1.63, 0, 0.115, skin, (0, 0, -1), 10)
    hair = (0.06, 0.07, 0.1) if rng.random() < 0.75 else (0.25, 0.4, 0.5)
    b.disc(0, 1.7, 0, 0.08, hair, (0, 0, -1), 10)
    return b.build()


@lru_cache
def two_wheeler(motor: bool, rider: bool, lit: bool, paint_seed: int) -> Mesh:
    """A bicycle or motorcycle, with its rider in slot 1; visible from every side."""
    b = Builder(kind="motorcycle" if motor else "bicycle", slot=0)
    r, base, w = (0.31, 0.7, 0.07) if motor else (0.34, 0.53, 0.03)
    hub = (0.3, 0.3, 0.32) if motor else (0.42, 0.42, 0.42)
    for z in (-base, base):
        for sign in (-1, 1):
            b.disc(sign * 0.03, r, z, r, RUBBER, (sign, 0, 0))
            b.disc(sign * 0.035, r, z, r * 0.72, hub, (sign, 0, 0), 10)
        for out in (-1, 1):
            b.rect((-w, w), (0, 2 * r), z + out * r, RUBBER, out)
    if motor:
        b.box((-0.17, 0.17), (0.35, 0.82), (-0.75, 0.45), BODY)
        b.box((-0.2, 0.2), (0.75, 1.05), (0.35, 0.6), DARK)
        b.rect((-0.09, 0.09), (0.68, 0.78), -0.76, RED, -1, (0.1, 0.1, 1.2) if lit else BLACK)
        b.rect((-0.1, 0.1), (0.75, 0.95), 0.61, LAMP, 1, (2, 2.2, 2.2) if lit else BLACK)
    else:
        b.box((-0.03, 0.03), (0.42, 0.5), (-0.5, 0.5), BODY)
        b.box((-0.03, 0.03), (0.45, 0.95), (-0.25, -0.18), BODY)
        b.box((-0.26, 0.26), (0.95, 1.0), (0.38, 0.44), DARK)
        b.box((-0.03, 0.03), (0.4, 0.98), (0.4, 0.46), BODY)
    if rider:
        b.kind, b.slot = "rider", 1
        _rider(b, 0.82 if motor else 0.95, motor, paint_seed)
    return b.build()


def _rider(b: Builder, seat: float, motor: bool, seed: int) -> None:
    shirt, trousers = SHIRTS[seed], TROUSERS[seed % 2]
    for sign in (-1, 1):
        b.box((sign * 0.08, sign * 0.22), (0.28, seat + 0.08), (-0.1, 0.22), trousers)
        b.box((sign * 0.2, sign * 0.3), (seat + 0.22, seat + 0.5), (-0.05, 0.42), shirt)
    b.box((-0.2, 0.2), (seat, seat + 0.58), (-0.28, 0.05), shirt)
    head: Colour = (0.12, 0.12, 0.14) if motor else (0.45, 0.55, 0.72)
    for out in (-1, 1):
        b.disc(0, seat + 0.72, -0.02 + out * 0.11, 0.13, head, (0, 0, out), 8)
        b.disc(out * 0.11, seat + 0.72, 0, 0.13, head, (out, 0, 0), 8)
