"""Pickups, trucks, buses and trams."""

from functools import lru_cache

from training.data.roads.mesh import BODY, Builder, Colour, Mesh
from training.data.roads.vehicles import DARK, GLASS, LAMP, PLATE, RED, cabin, lights, tyres, wheels


@lru_cache
def truck(kind: str, lit: bool, brake: bool, rear_first: bool) -> Mesh:
    """A pickup, a box truck or a semi-trailer; `rear_first`: seen from its front."""
    b = Builder(kind="truck", slot=0, tile="sheen")
    cab, load = (_pickup_cab, _pickup_bed) if kind == "pickup" else (_truck_cab, _truck_box)
    size = {"pickup": (5.6, 2.0, 1.2), "box": (7.0, 2.3, 3.3), "semi": (14.0, 2.5, 3.9)}[kind]
    for part in (load, cab) if rear_first else (cab, load):
        part(b, size, lit, brake)
    return b.build()


def _pickup_cab(b: Builder, size: tuple[float, float, float], lit: bool, brake: bool) -> None:
    half, front = size[1] / 2, size[0] / 2
    tyres(b, half - 0.06, (-0.3, front - 0.4), 0.6)
    profile = [
        (-0.4, 0.4),
        (-0.4, 1.12),
        (1.1, 1.12),
        (front - 0.2, 1.0),
        (front, 0.85),
        (front - 0.05, 0.4),
    ]
    b.prism(profile, [half] * 6, BODY)
    cabin(b, half, 1.11, 1.86, (-0.4, -0.25, 0.55, 1.15))
    wheels(b, half, (front - 1.0,), 0.4)
    z = front + 0.012
    for sign in (-1, 1):
        x0, x1 = sign * half * 0.95, sign * half * 0.6
        points = [(x0, 0.72, z), (x1, 0.72, z), (x1, 0.92, z), (x0, 0.92, z)]
        b.face(points, LAMP, (0, 0, 1), glow=(2.4, 2.6, 2.6) if lit else (0, 0, 0), tile="flat")
    b.face(
        [(-0.6, 0.5, z), (0.6, 0.5, z), (0.6, 0.9, z), (-0.6, 0.9, z)], DARK, (0, 0, 1), tile="flat"
    )


def _pickup_bed(b: Builder, size: tuple[float, float, float], lit: bool, brake: bool) -> None:
    half, rear = size[1] / 2, -size[0] / 2
    tyres(b, half - 0.06, (rear + 0.4, -0.4), 0.6)
    b.box((-half, half), (0.45, 1.12), (rear, -0.4), BODY, top=(0.08, 0.08, 0.08))
    wheels(b, half, (rear + 1.1,), 0.4)
    z = rear - 0.012
    b.face(
        [(-half, 0.42, z), (half, 0.42, z), (half, 0.58, z), (-half, 0.58, z)],
        (0.55, 0.55, 0.55),
        (0, 0, -1),
    )
    b.face([(-0.27, 0.6, z), (0.27, 0.6, z), (0.27, 0.74, z), (-0.27, 0.74, z)], PLATE, (0, 0, -1))
    _tail(b, half, z, 0.75, 0.3, lit, brake)


def _tail(b: Builder, half: float, z: float, y: float, h: float, lit: bool, brake: bool) -> None:
    glow: Colour = (0.25, 0.2, 2.2) if brake else (0.06, 0.05, 0.9) if lit else (0, 0, 0)
    for sign in (-1, 1):
        x0, x1 = sign * half * 0.98, sign * (half * 0.98 - 0.16)
        points = [(x0, y, z), (x1, y, z), (x1, y + h, z), (x0, y + h, z)]
        b.face(points, RED, (0, 0, -1), glow=glow, tile="flat")


def _truck_cab(b: Builder, size: tuple[float, float, float], lit: bool, brake: bool) -> None:
    half, front, top = size[1] / 2 * 0.96, size[0] / 2, size[2] * 0.8
    tyres(b, half - 0.05, (front - 2.0, front - 0.5), 0.8)
    b.box((-half, half), (0.55, top), (front - 2.1, front), BODY)
    wheels(b, half, (front - 1.0,), 0.5)
    z = front + 0.012
    ya, yb = top * 0.55, top * 0.88
    b.face(
        [(-half * 0.9, ya, z), (half * 0.9, ya, z), (half * 0.85, yb, z), (-half * 0.85, yb, z)],
        GLASS,
        (0, 0, 1),
    )
    b.face(
        [
            (-half * 0.6, 0.8, z),
            (half * 0.6, 0.8, z),
            (half * 0.6, ya - 0.15, z),
            (-half * 0.6, ya - 0.15, z),
        ],
        DARK,
        (0, 0, 1),
    )
    for sign in (-1, 1):
        x = sign * (half + 0.012)
        b.face(
            [
                (x, ya, front - 1.5),
                (x, ya, front - 0.3),
                (x, yb, front - 0.4),
                (x, yb, front - 1.5),
            ],
            GLASS,
            (sign, 0, 0),
        )
        x0, x1 = sign * half * 0.95, sign * half * 0.65
        points = [(x0, 0.75, z), (x1, 0.75, z), (x1, 0.95, z), (x0, 0.95, z)]
        b.face(points, LAMP, (0, 0, 1), glow=(2.4, 2.6, 2.6) if lit else (0, 0, 0), tile="flat")


def _truck_box(b: Builder, size: tuple[float, float, float], lit: bool, brake: bool) -> None:
    half, rear, front, top = size[1] / 2, -size[0] / 2, size[0] / 2, size[2]
    white: Colour = (0.72, 0.73, 0.72)
    tyres(b, half - 0.05, (rear + 0.6, front - 2.4), 1.0)
    b.box((-half, half), (0.95, top), (rear, front - 2.3), white, tile="metal")
    wheels(b, half - 0.05, (rear + 1.2, rear + 2.3) if size[0] > 10 else (rear + 1.4,), 0.5)
    z = rear - 0.012
    b.face(
        [
            (-half * 0.94, 1.05, z),
            (half * 0.94, 1.05, z),
            (half * 0.94, top - 0.1, z),
            (-half * 0.94, top - 0.1, z),
        ],
        (0.6, 0.6, 0.6),
        (0, 0, -1),
        tile="metal",
    )
    b.face([(-half, 0.5, z), (half, 0.5, z), (half, 0.95, z), (-half, 0.95, z)], DARK, (0, 0, -1))
    b.face(
        [
            (-0.02, 1.05, z - 0.01),
            (0.02, 1.05, z - 0.01),
            (0.02, top - 0.1, z - 0.01),
            (-0.02, top - 0.1, z - 0.01),
        ],
        DARK,
        (0, 0, -1),
    )
    for sign in (-1, 1):
        x, m = sign * (half + 0.012), (top + 0.95) / 2
        points = [
            (x, m - 0.5, rear + 0.8),
            (x, m - 0.5, front - 3.2),
            (x, m + 0.6, front - 3.2),
            (x, m + 0.6, rear + 0.8),
        ]
        b.face(points, BODY, (sign, 0, 0), tile="text")
    _tail(b, half, z - 0.01, 0.6, 0.2, lit, brake)


@lru_cache
def bus(lit: bool, brake: bool, tram: bool = False) -> Mesh:
    """A city bus, or a tram (class train) of the same shape, but longer."""
    length, width, top = (26.0, 2.5, 3.5) if tram else (11.5, 2.55, 3.1)
    half, rear, front = width / 2, -length / 2, length / 2
    b = Builder(kind="train" if tram else "bus", slot=0, tile="sheen")
    tyres(b, half - 0.05, (rear + 0.5, front - 0.5), 0.6)
    b.box((-half, half), (0.35, top), (rear, front), BODY)
    if not tram:
        wheels(b, half, (rear + 2.6, front - 2.6), 0.48)
    for sign in (-1, 1):
        x = sign * (half + 0.012)
        count = int(length / 1.5)
        for i in range(count):
            z0, z1 = (
                rear + 0.2 + i * (length - 0.4) / count,
                rear + 0.1 + (i + 1) * (length - 0.4) / count,
            )
            b.face(
                [(x, 1.35, z0), (x, 1.35, z1), (x, top - 0.55, z1), (x, top - 0.55, z0)],
                GLASS,
                (sign, 0, 0),
                glow=(0.16, 0.2, 0.2) if lit else (0, 0, 0),
            )
    for z, out in ((rear - 0.012, -1), (front + 0.012, 1)):
        low = 1.7 if out < 0 else 1.1
        b.face(
            [
                (-half * 0.88, low, z),
                (half * 0.88, low, z),
                (half * 0.88, top - 0.6, z),
                (-half * 0.88, top - 0.6, z),
            ],
            GLASS,
            (0, 0, out),
            glow=(0.12, 0.15, 0.15) if lit else (0, 0, 0),
        )
        b.face(
            [(-0.7, top - 0.5, z), (0.7, top - 0.5, z), (0.7, top - 0.2, z), (-0.7, top - 0.2, z)],
            DARK,
            (0, 0, out),
            glow=(0.05, 0.45, 0.9),
            tile="text",
        )
        b.face(
            [(-half, 0.35, z), (half, 0.35, z), (half, 0.62, z), (-half, 0.62, z)],
            DARK,
            (0, 0, out),
        )
    lights(b, half, (rear - 0.02, front + 0.02), 0.85, lit, brake, (0.3, 0.22))
    return b.build()
