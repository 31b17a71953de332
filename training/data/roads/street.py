"""Street furniture: lamps, poles, signs, traffic lights, gantries, and where they stand."""

from functools import lru_cache

import numpy as np

from training.data.roads.atmosphere import Atmosphere
from training.data.roads.chance import Rng, pick
from training.data.roads.layout import Crossing, Road
from training.data.roads.mesh import BLACK, Builder, Colour, Mesh, Thing

# The second looks of signs that have two.
OTHER = {"parking": "no parking", "street": "green street"}
TOWN_SIGNS = ("parking", "parking", "no entry", "speed", "arrow", "back", "warning")
HIGHWAY_SIGNS = ("speed", "warning", "back")
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


def posts(rng: Rng, road: Road, length: float, air: Atmosphere) -> list[Thing]:
    """Street lamps on one or both sides, utility poles on some."""
    out = []
    spacing, both = rng.uniform(24, 45), (rng.random() < 0.5)
    lamp = 5.5 if air.lamps else 0.0
    for sign, side in road.sides if both else road.sides[1:]:
        mesh = lamp_post(air.lamps, -sign)
        for s in np.arange(rng.uniform(2, spacing), length + 40, spacing).tolist():
            if road.free(s, 0):
                out.append(Thing(mesh, s, side + sign * 0.7, above=road.kerb, lamp=lamp))
    if road.scene in ("residential", "gas stations") or rng.random() < 0.2:
        sign, side = road.sides[int(rng.choice([0, 1]))]
        for s in np.arange(rng.uniform(2, 30), length + 40, 34.0).tolist():
            out.append(Thing(utility_pole(), s, side + sign * 1.1, above=road.kerb))
    return out


def plate(kind: str, s: float, t: float, above: float, size: float, yaw: float = 0.0) -> Thing:
    """A sign without a post."""
    return Thing(sign(kind), s, t, yaw, (size, size, size), above=above)


def _look(rng: Rng, kind: str) -> str:
    return (kind, OTHER.get(kind, kind))[rng.integers(2)]


def signed(
    rng: Rng, kind: str, s: float, t: float, above: float, height: float, scale: float = 1.0
) -> list[Thing]:
    """A sign on its post."""
    size = scale * rng.uniform(0.85, 1.15)
    look, yaw = _look(rng, kind), rng.normal(0, 0.08)
    pole = Thing(post(), s, t, 0.0, (1, height + 0.2, 1), above=above)
    return [pole, plate(look, s - 0.06, t, above + height, size, yaw)]


def signs(rng: Rng, road: Road, length: float) -> list[Thing]:
    """Signs along both edges."""
    out = []
    town = road.scene not in ("highway", "tunnel")
    spacing = rng.uniform(14, 40) if town else 70.0
    kinds, scale = (TOWN_SIGNS, 1.0) if town else (HIGHWAY_SIGNS, 1.5)
    for sign, side in road.sides:
        s = rng.uniform(4, spacing)
        while s < length:
            kind = str(rng.choice(kinds))
            t, height = side + sign * rng.uniform(0.4, 1.2), rng.uniform(2.1, 2.7)
            out += signed(rng, kind, s, t, road.kerb, height, scale)
            s += rng.exponential(spacing) + 4
    return out


def _signals(rng: Rng, road: Road, crossing: Crossing) -> list[Thing]:
    """The traffic lights of one junction: on arms at the far side, on a post at the near side."""
    out: list[Thing] = []
    state = pick(rng, {"red": 0.45, "green": 0.45, "amber": 0.1})

    def pole(s: float, t: float, arm: float = 0.0) -> None:
        out.append(Thing(signal_pole(arm), s, t, above=road.kerb))

    def head(s: float, t: float, y: float, back: bool = False) -> None:
        mesh, yaw = signal(state, back), rng.normal(0, 0.06)
        out.append(Thing(mesh, s, t, yaw, above=road.kerb + y))

    far, near = crossing.s + crossing.width + 1.0, crossing.s - 1.0
    right, left = road.right + 0.8, road.left - 0.8
    arm = pick(rng, {0.0: 0.25, 4.0: 0.35, 6.5: 0.4})
    pole(far, right, -arm)
    head(far - 0.2, right - 0.3, 3.0)
    if arm:
        head(far - 0.2, right - arm + 0.3, 5.4)
        if rng.random() < 0.85:
            head(far - 0.2, right - arm * 0.5, 5.4)
        out.append(plate(_look(rng, "street"), far - 0.2, right - 1.4, road.kerb + 5.6, 1.0))
    pole(far, left, arm)
    head(far - 0.2, left + 0.3, 3.0)
    if arm and rng.random() < 0.8:
        head(far - 0.2, left + arm - 0.3, 5.4)
    if rng.random() < 0.8:
        pole(near, right)
        head(near - 0.2, right, 3.1)
    head(near, left, 3.1, back=True)
    pole(near, left)
    return out


def junctions(rng: Rng, road: Road) -> list[Thing]:
    """Traffic lights or priority signs, and street names, at every crossing."""
    out: list[Thing] = []
    lights = 0.88 if road.scene == "city street" else 0.15
    for crossing in road.crossings:
        s, t = crossing.s, road.right + 0.7
        if not crossing.width:
            out += signed(rng, "warning", s - 4, t, road.kerb, 2.3)
            continue
        if rng.random() < lights:
            out += _signals(rng, road, crossing)
        else:
            out += signed(rng, "stop" if crossing.stop else "yield", s - 1.5, t, road.kerb, 2.2)
        out += signed(rng, "street", s + crossing.width + 1.2, road.right + 1.2, road.kerb, 2.8)
    return out
