"""Pickups, trucks, buses and trams."""

from functools import lru_cache

import numpy as np

from training.data.roads.mesh import BLACK, BODY, Builder, Mesh
from training.data.roads.vehicles import DARK, GLASS, PLATE, cabin, lamps, tyres, wheels

# length, width, height
SIZES = {
    "pickup": (5.6, 2.0, 1.8),
    "box": (7.0, 2.3, 3.3),
    "semi": (14.0, 2.5, 3.9),
    "bus": (11.5, 2.55, 3.1),
    "tram": (26.0, 2.5, 3.5),
}


@lru_cache
def truck(kind: str, lit: bool, brake: bool, rear_first: bool) -> Mesh:
    """A pickup, a box truck or a semi-trailer; `rear_first`: seen from its front."""
    b = Builder(kind="truck", slot=0, tile="sheen")
    length, width, top = SIZES[kind]
    half, front = width / 2, length / 2
    for part in ("load", "cab") if rear_first else ("cab", "load"):
        if part == "cab" and kind == "pickup":
            _pickup_cab(b, half, front, lit)
        elif part == "cab":
            _truck_cab(b, half * 0.96, front, top * 0.8, lit)
        elif kind == "pickup":
            _pickup_bed(b, half, front, lit, brake)
        else:
            _truck_box(b, half, front, top, lit, brake)
    return b.build()


def _pickup_cab(b: Builder, half: float, front: float, lit: bool) -> None:
    tyres(b, half - 0.06, (-0.3, front - 0.4), 0.6)
    profile = [
        (-0.4, 0.4), (-0.4, 1.12), (1.1, 1.12), (front - 0.2, 1.0), (front, 0.85),
        (front - 0.05, 0.4),
    ]  # fmt: skip
    b.prism(profile, [half] * 6, BODY)
    cabin(b, half, 1.11, 1.86, (-0.4, -0.25, 0.55, 1.15))
    wheels(b, half, (front - 1.0,), 0.4)
    lamps(b, half * 0.95, half * 0.35, 0.72, 0.2, front + 0.012, lit)
    b.rect((-0.6, 0.6), (0.5, 0.9), front + 0.012, DARK, 1, tile="flat")


def _pickup_bed(b: Builder, half: float, front: float, lit: bool, brake: bool) -> None:
    rear, z = -front, -front - 0.012
    tyres(b, half - 0.06, (rear + 0.4, -0.4), 0.6)
    b.box((-half, half), (0.45, 1.12), (rear, -0.4), BODY, top=(0.08, 0.08, 0.08))
    wheels(b, half, (rear + 1.1,), 0.4)
    b.rect((-half, half), (0.42, 0.58), z, (0.55, 0.55, 0.55), -1)
    b.rect((-0.27, 0.27), (0.6, 0.74), z, PLATE, -1)
    lamps(b, half * 0.98, 0.16, 0.75, 0.3, z, lit, brake)


def _truck_cab(b: Builder, half: float, front: float, top: float, lit: bool) -> None:
    tyres(b, half - 0.05, (front - 2.0, front - 0.5), 0.8)
    b.box((-half, half), (0.55, top), (front - 2.1, front), BODY)
    wheels(b, half, (front - 1.0,), 0.5)
    z, ya, yb = front + 0.012, top * 0.55, top * 0.88
    xa, xb = half * 0.9, half * 0.85
    b.face([(-xa, ya, z), (xa, ya, z), (xb, yb, z), (-xb, yb, z)], GLASS, (0, 0, 1))
    b.rect((-half * 0.6, half * 0.6), (0.8, ya - 0.15), z, DARK, 1)
    side = np.array([(ya, front - 1.5), (ya, front - 0.3), (yb, front - 0.4), (yb, front - 1.5)])
    for sign in (-1, 1):
        b.face(np.insert(side, 0, sign * (half + 0.012), axis=1), GLASS, (sign, 0, 0))
    lamps(b, half * 0.95, half * 0.3, 0.75, 0.2, z, lit)


def _truck_box(b: Builder, half: float, front: float, top: float, lit: bool, brake: bool) -> None:
    rear, z = -front, -front - 0.012
    tyres(b, half - 0.05, (rear + 0.6, front - 2.4), 1.0)
    b.box((-half, half), (0.95, top), (rear, front - 2.3), (0.72, 0.73, 0.72), tile="metal")
    wheels(b, half - 0.05, (rear + 1.2, rear + 2.3) if front > 5 else (rear + 1.4,), 0.5)
    y = (1.05, top - 0.1)
    b.rect((-half * 0.94, half * 0.94), y, z, (0.6, 0.6, 0.6), -1, tile="metal")
    b.rect((-half, half), (0.5, 0.95), z, DARK, -1)
    b.rect((-0.02, 0.02), y, z - 0.01, DARK, -1)
    middle = (top + 0.95) / 2
    for sign in (-1, 1):
        y, length = (middle - 0.5, middle + 0.6), (rear + 0.8, front - 3.2)
        b.rect(sign * (half + 0.012), y, length, BODY, sign, tile="text")
    lamps(b, half * 0.98, 0.16, 0.6, 0.2, z - 0.01, lit, brake)


@lru_cache
def bus(lit: bool, brake: bool, tram: bool = False) -> Mesh:
    """A city bus, or a tram (class train) of the same shape, but longer."""
    length, width, top = SIZES["tram" if tram else "bus"]
    half, rear, front = width / 2, -length / 2, length / 2
    b = Builder(kind="train" if tram else "bus", slot=0, tile="sheen")
    tyres(b, half - 0.05, (rear + 0.5, front - 0.5), 0.6)
    b.box((-half, half), (0.35, top), (rear, front), BODY)
    if not tram:
        wheels(b, half, (rear + 2.6, front - 2.6), 0.48)
    count = int(length / 1.5)
    pitch = (length - 0.4) / count
    inside = (0.16, 0.2, 0.2) if lit else BLACK
    for sign in (-1, 1):
        for i in range(count):
            pane = (rear + 0.2 + i * pitch, rear + 0.1 + (i + 1) * pitch)
            b.rect(sign * (half + 0.012), (1.35, top - 0.55), pane, GLASS, sign, inside)
    for z, out, low in ((rear - 0.012, -1, 1.7), (front + 0.012, 1, 1.1)):
        glow = (0.12, 0.15, 0.15) if lit else BLACK
        b.rect((-half * 0.88, half * 0.88), (low, top - 0.6), z, GLASS, out, glow)
        b.rect((-0.7, 0.7), (top - 0.5, top - 0.2), z, DARK, out, (0.05, 0.45, 0.9), "text")
        b.rect((-half, half), (0.35, 0.62), z, DARK, out)
    lamps(b, half * 0.97, 0.3, 0.85, 0.22, rear - 0.02, lit, brake)
    lamps(b, half * 0.97, 0.3, 0.73, 0.22, front + 0.02, lit)
    return b.build()
