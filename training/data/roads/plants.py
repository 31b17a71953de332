"""Trees as irregular leaf-textured outlines that face the camera."""

from functools import lru_cache

import numpy as np

from training.data.roads.mesh import Builder, Mesh
from training.data.roads.textures import noise

TREES = 12  # variants
GREENS = np.array([(0.12, 0.3, 0.2), (0.14, 0.36, 0.26), (0.1, 0.24, 0.18), (0.14, 0.3, 0.34)])


def _blob(rng: np.random.Generator, points: int, rough: float) -> np.ndarray:
    """(points, 2) an irregular round outline of radius about 1."""
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False)
    radius = 1 + sum(
        rough / k**0.6 * np.sin(k * turn + rng.uniform(0, 6.28)) for k in (2, 3, 5, 8, 13, 21, 29)
    )
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], 1)


@lru_cache
def tree(variant: int) -> Mesh:
    """A tree 8 m tall that faces the camera: round, tall, fir or palm."""
    rng = np.random.default_rng((31, variant))
    b = Builder(kind="vegetation", tile="leaves")
    shape = ("round", "round", "tall", "fir", "round", "palm")[variant % 6]
    w = 0.16 + 0.1 * rng.random()
    top = 6.6 if shape == "palm" else 4.0
    trunk = [(-w, 0), (w, 0), (w * 0.7, top), (-w * 0.7, top)]
    b.flat(trunk, (0.13, 0.17, 0.22), tile="metal")
    green = GREENS[rng.integers(4)]
    if shape == "fir":
        for i in range(4):
            y, w = 1.2 + 1.5 * i, 2.2 - 0.48 * i
            edge = [(x, y + 0.3 * rng.random()) for x in np.linspace(-w, w, 9)]
            b.flat([*edge, (0.1, y + 2.5)], green * (0.7 + 0.08 * i))
    elif shape == "palm":
        for angle in np.linspace(-0.5, np.pi + 0.5, 9):
            along = np.array([np.cos(angle), np.sin(angle)])
            side = np.array([-along[1], along[0]]) * 0.28
            tip, mid = along * (2.2, 1.5) + (0, 6.1), along * 1.1 + (0, 6.7)
            fan = np.array([(0, 6.5), mid + side, tip, mid - side])
            b.flat(fan, green * rng.uniform(0.7, 1.1))
    else:
        size, centre = ((1.5, 3.0), 4.8) if shape == "tall" else ((2.9, 2.3), 5.4)
        clumps = [(0.0, 0.0, 0.92, 0.5)]
        for height in np.linspace(-0.45, 0.62, 9):  # clumps of leaves, lighter towards the sky
            reach = 0.62 * np.sqrt(max(0.05, 1 - height * height))
            x = rng.uniform(-reach, reach)
            clumps.append((x, height, rng.uniform(0.26, 0.5), 0.75 + 0.45 * height))
        for x, y, r, light in clumps:
            b.flat((_blob(rng, 64, 0.11) * r + (x, y)) * size + (0, centre), green * light)
    return b.build()


@lru_cache
def hedge() -> Mesh:
    """An irregular row of trees, 600 m wide and up to 9 m high."""
    rng = np.random.default_rng(32)
    b = Builder(kind="vegetation", tile="leaves")
    for light, most in ((0.7, 9.0), (1.0, 5.0)):
        x = np.linspace(-300, 300, 301)
        edge = np.column_stack(
            [x, most * (0.3 + 0.7 * noise(15, 512, 1.4)[rng.integers(512), :301])]
        )
        b.flat([(300, 0), (-300, 0), *edge], np.array((0.13, 0.33, 0.22)) * light)
    return b.build()
