"""Bicycles and motorcycles, with and without riders."""

from functools import lru_cache

from training.data.roads.mesh import BLACK, BODY, Builder, Colour, Mesh
from training.data.roads.vehicles import DARK, LAMP, RED, RUBBER

SHIRTS: tuple[Colour, ...] = (
    (0.5, 0.2, 0.15), (0.12, 0.12, 0.12), (0.2, 0.25, 0.6), (0.2, 0.6, 0.7),
)  # fmt: skip
TROUSERS: tuple[Colour, ...] = ((0.3, 0.22, 0.18), (0.1, 0.1, 0.1))


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
    shirt, trousers = SHIRTS[seed % 4], TROUSERS[seed % 2]
    for sign in (-1, 1):
        b.box((sign * 0.08, sign * 0.22), (0.28, seat + 0.08), (-0.1, 0.22), trousers)
        b.box((sign * 0.2, sign * 0.3), (seat + 0.22, seat + 0.5), (-0.05, 0.42), shirt)
    b.box((-0.2, 0.2), (seat, seat + 0.58), (-0.28, 0.05), shirt)
    head: Colour = (0.12, 0.12, 0.14) if motor else (0.45, 0.55, 0.72)
    for out in (-1, 1):
        b.disc(0, seat + 0.72, -0.02 + out * 0.11, 0.13, head, (0, 0, out), 8)
        b.disc(out * 0.11, seat + 0.72, 0, 0.13, head, (out, 0, 0), 8)
