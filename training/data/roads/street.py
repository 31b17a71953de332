"""Street furniture: lamps, poles, signs, traffic lights, gantries."""

from functools import lru_cache

import numpy as np

from training.data.roads.mesh import BLACK, Builder, Colour, Mesh

STEEL: Colour = (0.36, 0.36, 0.35)
WOOD: Colour = (0.2, 0.26, 0.32)
WHITE: Colour = (0.85, 0.85, 0.85)
RED: Colour = (0.12, 0.1, 0.62)
GREEN: Colour = (0.22, 0.36, 0.05)
YELLOW: Colour = (0.05, 0.62, 0.85)
DARK: Colour = (0.07, 0.07, 0.07)
# Colours of a signal's lamps when they are off, and what they emit when they are on.
LAMPS: dict[str, tuple[Colour, Colour]] = {
    "red": ((0.1, 0.08, 0.3), (0.25, 0.25, 3.0)),
    "amber": ((0.06, 0.2, 0.25), (0.2, 1.7, 2.8)),
    "green": ((0.12, 0.18, 0.06), (1.9, 2.4, 0.4)),
}


@lru_cache
def lamp_post(lit: bool, side: int) -> Mesh:
    """A street lamp 8 m tall whose arm reaches over the road (side -1 left, 1 right)."""
    b = Builder(kind="pole")
    b.box((-0.08, 0.08), (0, 8), (-0.08, 0.08), STEEL)
    b.box((0, side * 2.2), (7.9, 8.0), (-0.05, 0.05), STEEL)
    glow: Colour = (1.3, 2.2, 2.9) if lit else BLACK
    x = (1.6, 2.3) if side > 0 else (-2.3, -1.6)
    for z, out in ((-0.12, -1), (0.12, 1)):
        b.rect(x, (7.78, 7.95), z, (0.6, 0.62, 0.62), out, glow)
    b.rect(x, 7.78, (-0.15, 0.15), (0.7, 0.7, 0.7), -1, glow)
    return b.build()


@lru_cache
def utility_pole() -> Mesh:
    b = Builder(kind="pole")
    b.box((-0.13, 0.13), (0, 9.5), (-0.13, 0.13), WOOD)
    b.box((-1.2, 1.2), (8.6, 8.75), (-0.06, 0.06), WOOD)
    b.box((-0.35, 0.1), (7.0, 7.8), (-0.3, -0.05), STEEL)
    return b.build()


@lru_cache
def signal(state: str, back: bool) -> Mesh:
    """A signal head around its own origin, without a pole: a box with three lamps in front."""
    b = Builder(kind="traffic light", slot=0)
    box: Colour = (0.1, 0.2, 0.22) if back else (0.06, 0.07, 0.07)
    b.box((-0.19, 0.19), (-0.55, 0.55), (-0.1, 0.12), box)
    for i, (name, (colour, glow)) in enumerate(LAMPS.items() if not back else ()):
        y = 0.34 - 0.34 * i
        b.disc(0, y, -0.115, 0.125, colour, (0, 0, -1), 8, glow if name == state else BLACK)
    return b.build()


@lru_cache
def signal_pole(arm: float) -> Mesh:
    """A post 6 m tall with an arm of this length (negative: to the left), or 3.4 m without arm."""
    b = Builder(kind="pole")
    b.box((-0.1, 0.1), (0, 6.0 if arm else 3.4), (-0.1, 0.1), STEEL)
    if arm:
        b.box((0, arm), (5.75, 5.9), (-0.07, 0.07), STEEL)
    return b.build()


@lru_cache
def post() -> Mesh:
    """A thin post 1 m tall, to be scaled."""
    b = Builder(kind="pole")
    b.box((-0.04, 0.04), (0, 1), (-0.04, 0.04), (0.45, 0.45, 0.45))
    return b.build()


def _ring(sides: int, radius: float, turn: float = 0.0) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, sides, endpoint=False) + turn
    return radius * np.column_stack([np.cos(angles), np.sin(angles)])


def _rect(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def _plate(w: float, h: float) -> np.ndarray:
    return _rect(-w / 2, -h / 2, w / 2, h / 2)


# Outline, colour of the border, colour inside it, its share of the outline, and its texture.
SIGNS: dict[str, tuple[np.ndarray, Colour, Colour, float, str]] = {
    "stop": (_ring(8, 0.4, np.pi / 8), WHITE, RED, 0.92, "text"),
    "yield": (_ring(3, 0.5, -np.pi / 2), RED, WHITE, 0.6, "flat"),
    "warning": (_ring(4, 0.52), DARK, YELLOW, 0.93, "flat"),
    "speed": (_plate(0.6, 0.75), DARK, WHITE, 0.94, "flat"),
    "parking": (_plate(0.32, 0.48), WHITE, (0.12, 0.15, 0.6), 0.85, "text"),
    "no parking": (_plate(0.32, 0.48), RED, WHITE, 0.85, "text"),
    "street": (_plate(1.2, 0.26), WHITE, (0.45, 0.22, 0.08), 0.96, "text"),
    "green street": (_plate(1.2, 0.26), WHITE, GREEN, 0.96, "text"),
    "guide": (_plate(4.2, 2.4), WHITE, GREEN, 0.97, "text"),
    "no entry": (_ring(14, 0.36), WHITE, RED, 0.94, "flat"),
    "arrow": (_plate(0.75, 0.28), DARK, WHITE, 0.9, "flat"),
    "back": (_plate(0.6, 0.7), (0.4, 0.4, 0.4), (0.48, 0.48, 0.48), 0.95, "flat"),
}
SYMBOLS: dict[str, list] = {
    "warning": [[(-0.06, -0.2), (0.06, -0.2), (0.06, 0.1), (0.0, 0.25), (-0.06, 0.1)]],
    "speed": [
        _rect(-0.2, -0.25, -0.04, 0.08), _rect(0.04, -0.25, 0.2, 0.08),
        _rect(-0.2, 0.18, 0.2, 0.26),
    ],
    "no entry": [_plate(0.44, 0.1)],
    "arrow": [[
        (-0.25, -0.03), (0.1, -0.03), (0.1, -0.1), (0.3, 0), (0.1, 0.1), (0.1, 0.03),
        (-0.25, 0.03),
    ]],
}  # fmt: skip


@lru_cache
def sign(kind: str) -> Mesh:
    """A sign plate around its own origin, one of SIGNS."""
    b = Builder(kind="traffic sign", slot=0)
    outline, border, front, inner, tile = SIGNS[kind]
    b.flat(outline, border)
    b.flat(outline * inner, front, -0.01, tile)
    for symbol in SYMBOLS.get(kind, ()):
        b.flat(symbol, border, -0.02)
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
        b.flat([(x, 6), (x + 0.1, 6), (x + 1.5, 7), (x + 1.4, 7)], STEEL)
    return b.build()
