"""Pedestrians as flat figures that face the camera."""

from functools import lru_cache

import numpy as np

from training.data.roads.mesh import Builder, Colour, Mesh, Point, dimmed

SKINS: tuple[Colour, ...] = ((0.52, 0.62, 0.8), (0.35, 0.45, 0.62), (0.18, 0.26, 0.38))
SHIRTS: tuple[Colour, ...] = (
    (0.12, 0.12, 0.13), (0.45, 0.25, 0.15), (0.75, 0.75, 0.75), (0.15, 0.15, 0.5),
    (0.2, 0.35, 0.2), (0.15, 0.5, 0.7), (0.3, 0.3, 0.32), (0.5, 0.45, 0.4),
)  # fmt: skip
TROUSERS: tuple[Colour, ...] = (
    (0.3, 0.2, 0.14),
    (0.1, 0.1, 0.1),
    (0.35, 0.4, 0.45),
    (0.2, 0.2, 0.22),
)
VARIANTS = 24


def _limb(
    b: Builder,
    start: tuple[float, float],
    end: tuple[float, float],
    thick: float,
    colour: Colour,
    z: float = 0.0,
) -> None:
    a, c = np.array(start), np.array(end)
    along = (c - a) / (np.linalg.norm(c - a) + 1e-6)
    side = np.array([-along[1], along[0]]) * thick / 2
    points: list[Point] = [
        (float(p[0]), float(p[1]), z)
        for p in (a + side, c + side * 0.75, c - side * 0.75, a - side)
    ]
    b.face(points, colour, (0, 0, -1))


@lru_cache
def pedestrian(variant: int) -> Mesh:
    """A walking or standing person 1.75 m tall."""
    rng = np.random.default_rng((77, variant))
    skin = SKINS[rng.integers(len(SKINS))]
    shirt = SHIRTS[rng.integers(len(SHIRTS))]
    legs = TROUSERS[rng.integers(len(TROUSERS))]
    b = Builder(kind="person", slot=0)
    stride = rng.choice([0.06, 0.2, 0.32]) * rng.choice([-1, 1])
    wide = rng.uniform(0.36, 0.46)
    shoe: Colour = (0.08, 0.08, 0.08)
    for sign in (-1, 1):
        foot = (sign * stride, 0.06)
        shade = dimmed(legs, 0.75 if sign < 0 else 1.0)
        _limb(b, (sign * 0.08, 0.9), (sign * (0.08 + stride * 0.4), 0.48), 0.19, shade)
        _limb(b, (sign * (0.08 + stride * 0.4), 0.52), foot, 0.14, shade)
        b.face(
            [
                (foot[0] - 0.07, 0, 0),
                (foot[0] + 0.15 * np.sign(stride), 0, 0),
                (foot[0] + 0.12 * np.sign(stride), 0.08, 0),
                (foot[0] - 0.07, 0.1, 0),
            ],
            shoe,
            (0, 0, -1),
        )
    if rng.random() < 0.3:  # a bag on the back
        _limb(b, (-wide * 0.6, 1.4), (-wide * 0.6, 1.0), 0.2, (0.15, 0.12, 0.12))
    for sign in (-1, 1):
        arm = dimmed(shirt, 0.7 if sign < 0 else 0.92)
        _limb(
            b,
            (sign * wide * 0.48, 1.42),
            (sign * (wide * 0.55 + abs(stride) * 0.3), 0.86),
            0.12,
            arm,
        )
    waist, chest = wide * 0.38, wide * 0.5
    long_coat = 0.55 if rng.random() < 0.25 else 0.86
    b.face(
        [
            (-waist, long_coat, 0),
            (waist, long_coat, 0),
            (chest, 1.2, 0),
            (chest * 0.95, 1.43, 0),
            (0.06, 1.5, 0),
            (-0.06, 1.5, 0),
            (-chest * 0.95, 1.43, 0),
            (-chest, 1.2, 0),
        ],
        shirt,
        (0, 0, -1),
    )
    b.disc(0, 1.53, 0, 0.06, skin, (0, 0, -1), 6)
    b.disc(0, 1.63, 0, 0.115, skin, (0, 0, -1), 10)
    hair: Colour = (0.06, 0.07, 0.1) if rng.random() < 0.75 else (0.25, 0.4, 0.5)
    b.face(
        [
            (-0.12, 1.62, 0),
            (-0.1, 1.72, 0),
            (0, 1.76, 0),
            (0.1, 1.72, 0),
            (0.12, 1.62, 0),
            (0.06, 1.69, 0),
            (-0.05, 1.69, 0),
        ],
        hair,
        (0, 0, -1),
    )
    return b.build()
