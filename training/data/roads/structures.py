"""Meshes of buildings, walls, bridges, tunnels and filling stations, and of trees, which are
irregular leaf-textured outlines that face the camera."""

from functools import lru_cache

import numpy as np

from training.data.roads.mesh import BLACK, BODY, Builder, Colour, Mesh
from training.data.roads.street import STEEL
from training.data.roads.textures import noise

FACADES = ("flats", "offices", "glass", "brick")
ROOFS: tuple[Colour, ...] = ((0.2, 0.22, 0.3), (0.22, 0.22, 0.22), (0.16, 0.2, 0.38))
GREY: Colour = (0.55, 0.57, 0.57)
CONCRETE: Colour = (0.48, 0.5, 0.5)
TREES = 12  # variants
GREENS = np.array([(0.12, 0.3, 0.2), (0.14, 0.36, 0.26), (0.1, 0.24, 0.18), (0.14, 0.3, 0.34)])


@lru_cache
def building(facade: str, shops: bool) -> Mesh:
    """A block of 1×1×1 m, to be scaled; with `shops` its lowest quarter is a shop front."""
    b = Builder(kind="building", tile=facade)
    low = 0.25 if shops else 0.0
    if shops:
        b.box((-0.5, 0.5), (0, low), (-0.5, 0.5), (0.55, 0.55, 0.55), tile="shops")
    b.box((-0.5, 0.5), (low, 1), (-0.5, 0.5), BODY, top=(0.3, 0.3, 0.3))
    return b.build()


@lru_cache
def house(variant: int) -> Mesh:
    """A gabled house, 10 m wide and 9 m deep."""
    rng = np.random.default_rng((5, variant))
    b = Builder(kind="building", tile="flats")
    wall = rng.uniform(3.0, 5.6)
    ridge = wall + rng.uniform(1.6, 3.0)
    b.box((-5, 5), (0, wall), (-4.5, 4.5), BODY)
    for sign in (-1, 1):
        x, y, z = sign * 5.4, wall - 0.2, sign * 4.5
        slope = [(x, y, -4.8), (x, y, 4.8), (0, ridge, 4.8), (0, ridge, -4.8)]
        b.face(slope, ROOFS[variant % 3], (sign, 1, 0), tile="metal")
        b.face([(-5, wall, z), (5, wall, z), (0, ridge, z)], BODY, (0, 0, sign), tile="flat")
        b.rect(sign * 5.02, (0, 2.1), (-0.6, 0.5), ROOFS[0], sign, tile="flat")  # the door
    return b.build()


@lru_cache
def overpass() -> Mesh:
    """A bridge across the road, 60 m wide, its deck 5.2 m up."""
    b = Builder(kind="building", tile="metal")
    b.box((-60, 60), (5.4, 7.2), (-5, 5), CONCRETE)
    b.rect((-60, 60), 5.4, (-5, 5), (0.2, 0.2, 0.2), -1)
    for x in (-17.0, 17.0):
        b.box((x - 0.8, x + 0.8), (0, 5.4), (-4.5, 4.5), CONCRETE)
    return b.build()


@lru_cache
def wall(kind: str) -> Mesh:
    """A barrier of 1×1×1 m, to be scaled; kind is concrete, noise wall, fence or guardrail."""
    if kind == "guardrail":
        b = Builder(kind="fence")
        b.box((-0.5, 0.5), (0.45, 1.0), (-0.5, 0.5), (0.55, 0.55, 0.55), tile="metal")
        for z in (-0.4, 0.0, 0.4):
            b.box((-0.4, 0.4), (0, 0.5), (z - 0.015, z + 0.015), STEEL)
    else:
        look = {"fence": ("fence", "metal"), "concrete": ("wall", "paving")}
        name, tile = look.get(kind, ("wall", "brick"))
        b = Builder(kind=name, tile=tile)
        b.box((-0.5, 0.5), (0, 1), (-0.5, 0.5), GREY if kind == "concrete" else BODY)
    return b.build()


@lru_cache
def tunnel_ring(left: float, right: float) -> Mesh:
    """10 m of tunnel: two walls at these x and a ceiling with lamps."""
    b = Builder(kind="wall", tile="paving")
    for x, out in ((left, 1), (right, -1)):
        b.rect(x, (0, 1.0), (-5, 5.3), (0.35, 0.35, 0.36), out)
        b.rect(x, (1.0, 3.6), (-5, 5.3), (0.6, 0.66, 0.66), out)
        b.rect(x, (3.6, 5.6), (-5, 5.3), (0.3, 0.32, 0.33), out)
    b.kind = "building"
    b.rect((left, right), 5.6, (-5, 5.3), (0.22, 0.23, 0.23), -1)
    for x in (0.75 * left + 0.25 * right, 0.25 * left + 0.75 * right):
        lamp = (x - 0.2, x + 0.2)
        b.rect(lamp, 5.55, (-3, 3), (0.8, 0.8, 0.8), -1, (1.2, 1.8, 2.2), "flat")
    return b.build()


@lru_cache
def canopy(lit: bool) -> Mesh:
    """A filling station's roof, 16 × 12 m, on four posts, with pumps under it."""
    corners = [(x, z) for x in (-4.0, 4.0) for z in (-4.0, 4.0)]
    b = Builder(kind="pole")
    for x, z in corners:
        b.box((x - 0.2, x + 0.2), (0, 4.8), (z - 0.2, z + 0.2), (0.7, 0.7, 0.7))
    b.kind, b.tile = "building", "text"
    for x, z in corners:
        b.box((x - 0.4, x + 0.4), (0.1, 1.9), (z / 2 - 0.3, z / 2 + 0.3), (0.25, 0.25, 0.6))
    glow = (0.8, 0.85, 0.85) if lit else BLACK
    b.rect((-8, 8), 4.8, (-6, 6), (0.75, 0.75, 0.75), -1, glow, "flat")
    b.box((-8, 8), (4.8, 5.8), (-6, 6), BODY)
    return b.build()


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
