"""Buildings, houses, walls, bridges, tunnels and filling stations."""

from functools import lru_cache

import numpy as np

from training.data.roads.mesh import BODY, Builder, Colour, Mesh, Point

STEEL: Colour = (0.36, 0.36, 0.35)
FACADES = ("flats", "offices", "glass", "brick")


@lru_cache
def building(facade: str, shops: bool) -> Mesh:
    """A block of 1×1×1 m, to be scaled; with `shops` its lowest quarter is a shop front."""
    b = Builder(kind="building", tile=facade)
    low = 0.0
    if shops:
        low = 0.25
        b.box((-0.5, 0.5), (0, low), (-0.5, 0.5), (0.55, 0.55, 0.55), tile="shops")
    b.box((-0.5, 0.5), (low, 1), (-0.5, 0.5), BODY, top=(0.3, 0.3, 0.3))
    return b.build()


@lru_cache
def house(variant: int) -> Mesh:
    """A gabled house, 10 m wide and 9 m deep."""
    rng = np.random.default_rng((5, variant))
    b = Builder(kind="building", tile="flats")
    wall = float(rng.uniform(3.0, 5.6))
    ridge = wall + float(rng.uniform(1.6, 3.0))
    roofs: tuple[Colour, ...] = ((0.2, 0.22, 0.3), (0.22, 0.22, 0.22), (0.16, 0.2, 0.38))
    roof = roofs[variant % 3]
    b.box((-5, 5), (0, wall), (-4.5, 4.5), BODY)
    for sign in (-1, 1):
        eaves: list[Point] = [
            (sign * 5.4, wall - 0.2, -4.8),
            (sign * 5.4, wall - 0.2, 4.8),
            (0, ridge, 4.8),
            (0, ridge, -4.8),
        ]
        b.face(eaves, roof, (sign, 1, 0), tile="metal")
        gable: list[Point] = [(-5, wall, sign * 4.5), (5, wall, sign * 4.5), (0, ridge, sign * 4.5)]
        b.face(gable, BODY, (0, 0, sign), tile="flat")
        door: list[Point] = [
            (sign * 5.02, 0, -0.6),
            (sign * 5.02, 0, 0.5),
            (sign * 5.02, 2.1, 0.5),
            (sign * 5.02, 2.1, -0.6),
        ]
        b.face(door, (0.2, 0.22, 0.3), (sign, 0, 0), tile="flat")
    return b.build()


@lru_cache
def overpass() -> Mesh:
    """A bridge across the road, 60 m wide, its deck 5.2 m up."""
    b = Builder(kind="building", tile="metal")
    concrete: Colour = (0.48, 0.5, 0.5)
    b.box((-60, 60), (5.4, 7.2), (-5, 5), concrete)
    b.face(
        [(-60, 5.4, -5), (60, 5.4, -5), (60, 5.4, 5), (-60, 5.4, 5)], (0.2, 0.2, 0.2), (0, -1, 0)
    )
    for x in (-17.0, 17.0):
        b.box((x - 0.8, x + 0.8), (0, 5.4), (-4.5, 4.5), concrete)
    return b.build()


@lru_cache
def wall(kind: str) -> Mesh:
    """A barrier of 1×1×1 m, to be scaled; kind is concrete, noise wall, fence or guardrail."""
    grey: Colour = (0.55, 0.57, 0.57)
    if kind == "guardrail":
        b = Builder(kind="fence", tile="flat")
        b.box((-0.5, 0.5), (0.45, 1.0), (-0.5, 0.5), (0.55, 0.55, 0.55), tile="metal")
        for z in (-0.4, 0.0, 0.4):
            b.box((-0.4, 0.4), (0, 0.5), (z - 0.015, z + 0.015), STEEL)
    elif kind == "fence":
        b = Builder(kind="fence", tile="metal")
        b.box((-0.5, 0.5), (0, 1), (-0.5, 0.5), BODY)
    else:
        b = Builder(kind="wall", tile="paving" if kind == "concrete" else "brick")
        b.box((-0.5, 0.5), (0, 1), (-0.5, 0.5), grey if kind == "concrete" else BODY)
    return b.build()


@lru_cache
def tunnel_ring(width: float, right: float) -> Mesh:
    """10 m of tunnel: two walls and a ceiling with lamps; x runs from right - width to right."""
    b = Builder(kind="wall", tile="paving")
    left = right - width
    for x, out in ((left, 1), (right, -1)):
        for y0, y1, colour in (
            (0, 1.0, (0.35, 0.35, 0.36)),
            (1.0, 3.6, (0.6, 0.66, 0.66)),
            (3.6, 5.6, (0.3, 0.32, 0.33)),
        ):
            b.face([(x, y0, -5), (x, y0, 5.3), (x, y1, 5.3), (x, y1, -5)], colour, (out, 0, 0))
    b.face(
        [(left, 5.6, -5), (right, 5.6, -5), (right, 5.6, 5.3), (left, 5.6, 5.3)],
        (0.22, 0.23, 0.23),
        (0, -1, 0),
        kind="building",
    )
    for x in (left + 0.25 * width, left + 0.75 * width):
        b.face(
            [(x - 0.2, 5.55, -3), (x + 0.2, 5.55, -3), (x + 0.2, 5.55, 3), (x - 0.2, 5.55, 3)],
            (0.8, 0.8, 0.8),
            (0, -1, 0),
            glow=(1.2, 1.8, 2.2),
            kind="building",
            tile="flat",
        )
    return b.build()


@lru_cache
def canopy(lit: bool) -> Mesh:
    """A filling station's roof, 16 × 12 m, on four posts, with pumps under it."""
    b = Builder(kind="building")
    for x in (-4.0, 4.0):
        for z in (-4.0, 4.0):
            b.kind = "pole"
            b.box((x - 0.2, x + 0.2), (0, 4.8), (z - 0.2, z + 0.2), (0.7, 0.7, 0.7))
    b.kind = "building"
    for x in (-4.0, 4.0):
        for z in (-2.0, 2.0):
            b.box(
                (x - 0.4, x + 0.4), (0.1, 1.9), (z - 0.3, z + 0.3), (0.25, 0.25, 0.6), tile="text"
            )
    b.face(
        [(-8, 4.8, -6), (8, 4.8, -6), (8, 4.8, 6), (-8, 4.8, 6)],
        (0.75, 0.75, 0.75),
        (0, -1, 0),
        glow=(0.8, 0.85, 0.85) if lit else (0, 0, 0),
    )
    b.box((-8, 8), (4.8, 5.8), (-6, 6), BODY, tile="text")
    return b.build()
