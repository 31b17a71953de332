"""Buildings, houses, walls, bridges, tunnels and filling stations."""

from functools import lru_cache

import numpy as np

from training.data.roads.mesh import BLACK, BODY, Builder, Colour, Mesh
from training.data.roads.street import STEEL

FACADES = ("flats", "offices", "glass", "brick")
ROOFS: tuple[Colour, ...] = ((0.2, 0.22, 0.3), (0.22, 0.22, 0.22), (0.16, 0.2, 0.38))
GREY: Colour = (0.55, 0.57, 0.57)
CONCRETE: Colour = (0.48, 0.5, 0.5)


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
