"""Street furniture: lamps, poles, signs, traffic lights, gantries."""

from functools import lru_cache

import numpy as np

from training.data.roads.mesh import Builder, Colour, Mesh, Point

STEEL: Colour = (0.36, 0.36, 0.35)
WOOD: Colour = (0.2, 0.26, 0.32)
WHITE: Colour = (0.85, 0.85, 0.85)
LIT: dict[str, Colour] = {
    "red": (0.25, 0.25, 3.0), "amber": (0.2, 1.7, 2.8), "green": (1.9, 2.4, 0.4),
}  # fmt: skip
SIGNS = (
    "stop", "speed", "warning", "parking", "street", "guide", "yield", "no entry", "back", "arrow",
)  # fmt: skip


@lru_cache
def lamp_post(lit: bool, side: int) -> Mesh:
    """A street lamp 8 m tall whose arm reaches over the road (side -1 left, 1 right)."""
    b = Builder(kind="pole")
    b.box((-0.08, 0.08), (0, 8), (-0.08, 0.08), STEEL)
    b.box(sorted((0, side * 2.2)), (7.9, 8.0), (-0.05, 0.05), STEEL)
    glow: Colour = (1.3, 2.2, 2.9) if lit else (0, 0, 0)
    x0, x1 = sorted((side * 1.6, side * 2.3))
    for z, out in ((-0.12, -1), (0.12, 1)):
        b.face(
            [(x0, 7.78, z), (x1, 7.78, z), (x1, 7.95, z), (x0, 7.95, z)],
            (0.6, 0.62, 0.62),
            (0, 0, out),
            glow=glow,
        )
    b.face(
        [(x0, 7.78, -0.15), (x1, 7.78, -0.15), (x1, 7.78, 0.15), (x0, 7.78, 0.15)],
        (0.7, 0.7, 0.7),
        (0, -1, 0),
        glow=glow,
    )
    return b.build()


@lru_cache
def utility_pole() -> Mesh:
    b = Builder(kind="pole")
    b.box((-0.13, 0.13), (0, 9.5), (-0.13, 0.13), WOOD)
    b.box((-1.2, 1.2), (8.6, 8.75), (-0.06, 0.06), WOOD)
    b.box((-0.35, 0.1), (7.0, 7.8), (-0.3, -0.05), STEEL)
    return b.build()


def _head(b: Builder, x: float, y: float, state: str, z: float = 0.0) -> None:
    """Adds a signal head: a dark box with three lamps on its near side."""
    b.kind, b.slot = "traffic light", 0
    dark: Colour = (0.06, 0.07, 0.07)
    b.box((x - 0.19, x + 0.19), (y - 0.55, y + 0.55), (z - 0.1, z + 0.12), dark)
    for i, name in enumerate(("red", "amber", "green")):
        on = name == state
        colour = {"red": (0.1, 0.08, 0.3), "amber": (0.06, 0.2, 0.25), "green": (0.12, 0.18, 0.06)}[
            name
        ]
        b.disc(
            x,
            y + 0.34 - 0.34 * i,
            z - 0.115,
            0.125,
            colour,
            (0, 0, -1),
            8,
            glow=LIT[name] if on else (0, 0, 0),
        )


@lru_cache
def signal(state: str, back: bool) -> Mesh:
    """A signal head around its own origin, without a pole."""
    b = Builder()
    if back:
        b.kind, b.slot = "traffic light", 0
        b.box((-0.19, 0.19), (-0.55, 0.55), (-0.1, 0.12), (0.1, 0.2, 0.22))
    else:
        _head(b, 0, 0, state)
    return b.build()


@lru_cache
def signal_pole(arm: float) -> Mesh:
    """A post 6 m tall with an arm of this length (negative: to the left), or 3.4 m without arm."""
    b = Builder(kind="pole")
    b.box((-0.1, 0.1), (0, 6.0 if arm else 3.4), (-0.1, 0.1), STEEL)
    if arm:
        b.box(sorted((0, arm)), (5.75, 5.9), (-0.07, 0.07), STEEL)
    return b.build()


@lru_cache
def post() -> Mesh:
    """A thin post 1 m tall, to be scaled."""
    b = Builder(kind="pole")
    b.box((-0.04, 0.04), (0, 1), (-0.04, 0.04), (0.45, 0.45, 0.45))
    return b.build()


def _ring(sides: int, radius: float, turn: float = 0.0) -> list[Point]:
    angles = np.linspace(0, 2 * np.pi, sides, endpoint=False) + turn
    return [(float(radius * np.cos(a)), float(radius * np.sin(a)), 0.0) for a in angles]


def _plate(
    b: Builder, outline: list[Point], back: Colour, front: Colour, inner: float, tile: str
) -> None:
    b.face(outline, back, (0, 0, -1))
    small: list[Point] = [(x * inner, y * inner, -0.01) for x, y, _ in outline]
    b.face(small, front, (0, 0, -1), tile=tile)


def _rect(w: float, h: float) -> list[Point]:
    return [(-w / 2, -h / 2, 0), (w / 2, -h / 2, 0), (w / 2, h / 2, 0), (-w / 2, h / 2, 0)]


@lru_cache
def sign(kind: str, variant: int = 0) -> Mesh:
    """A sign plate around its own origin, one of SIGNS."""
    b = Builder(kind="traffic sign", slot=0)
    red: Colour = (0.12, 0.1, 0.62)
    green: Colour = (0.22, 0.36, 0.05)
    yellow: Colour = (0.05, 0.62, 0.85)
    dark: Colour = (0.07, 0.07, 0.07)
    match kind:
        case "stop":
            _plate(b, _ring(8, 0.4, np.pi / 8), WHITE, red, 0.92, "text")
        case "yield":
            _plate(b, _ring(3, 0.5, -np.pi / 2), red, WHITE, 0.6, "flat")
        case "warning":
            _plate(b, _ring(4, 0.52), dark, yellow, 0.93, "flat")
            b.face(
                [
                    (-0.06, -0.2, -0.02),
                    (0.06, -0.2, -0.02),
                    (0.06, 0.1, -0.02),
                    (0.0, 0.25, -0.02),
                    (-0.06, 0.1, -0.02),
                ],
                dark,
                (0, 0, -1),
            )
        case "speed":
            _plate(b, _rect(0.6, 0.75), dark, WHITE, 0.94, "flat")
            for x in (-0.12, 0.12):
                b.face(
                    [
                        (x - 0.08, -0.25, -0.02),
                        (x + 0.08, -0.25, -0.02),
                        (x + 0.08, 0.08, -0.02),
                        (x - 0.08, 0.08, -0.02),
                    ],
                    dark,
                    (0, 0, -1),
                )
            b.face(
                [(-0.2, 0.18, -0.02), (0.2, 0.18, -0.02), (0.2, 0.26, -0.02), (-0.2, 0.26, -0.02)],
                dark,
                (0, 0, -1),
            )
        case "parking":
            _plate(
                b,
                _rect(0.32, 0.48),
                (WHITE, red)[variant % 2],
                ((0.12, 0.15, 0.6), WHITE)[variant % 2],
                0.85,
                "text",
            )
        case "street":
            _plate(
                b,
                _rect(1.2, 0.26),
                WHITE,
                green if variant % 2 else (0.45, 0.22, 0.08),
                0.96,
                "text",
            )
        case "guide":
            _plate(b, _rect(4.2, 2.4), WHITE, green, 0.97, "text")
        case "no entry":
            _plate(b, _ring(14, 0.36), WHITE, red, 0.94, "flat")
            b.face(
                [
                    (-0.22, -0.05, -0.02),
                    (0.22, -0.05, -0.02),
                    (0.22, 0.05, -0.02),
                    (-0.22, 0.05, -0.02),
                ],
                WHITE,
                (0, 0, -1),
            )
        case "arrow":
            _plate(b, _rect(0.75, 0.28), dark, WHITE, 0.9, "flat")
            b.face(
                [
                    (-0.25, -0.03, -0.02),
                    (0.1, -0.03, -0.02),
                    (0.1, -0.1, -0.02),
                    (0.3, 0, -0.02),
                    (0.1, 0.1, -0.02),
                    (0.1, 0.03, -0.02),
                    (-0.25, 0.03, -0.02),
                ],
                dark,
                (0, 0, -1),
            )
        case _:
            _plate(b, _rect(0.6, 0.7), (0.4, 0.4, 0.4), (0.48, 0.48, 0.48), 0.95, "flat")
    return b.build()


@lru_cache
def gantry(width: float) -> Mesh:
    """A lattice over the carriageway on two legs, for guide signs."""
    b = Builder(kind="pole")
    for x in (-width / 2, width / 2):
        b.box((x - 0.2, x + 0.2), (0, 7.2), (-0.2, 0.2), STEEL)
    for y in (6.0, 7.0):
        b.box((-width / 2, width / 2), (y, y + 0.15), (-0.1, 0.1), STEEL)
    for x in np.arange(-width / 2, width / 2 - 0.5, 1.5):
        b.face([(x, 6, 0), (x + 0.1, 6, 0), (x + 1.5, 7, 0), (x + 1.4, 7, 0)], STEEL, (0, 0, -1))
    return b.build()
