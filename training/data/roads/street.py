"""Street furniture: lamps, poles, signs, traffic lights, gantries, and where they stand."""

from functools import lru_cache

import numpy as np

from training.data.roads.atmosphere import Atmosphere
from training.data.roads.chance import Rng, pick, spots
from training.data.roads.layout import Crossing, Road
from training.data.roads.mesh import BLACK, Builder, Colour, Mesh, Thing

TOWN_SIGNS = ("parking", "no parking", "no entry", "speed", "arrow", "back", "warning")
HIGHWAY_SIGNS = ("speed", "warning", "back")
STREET_SIGNS = ("street", "green street")
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
def pole(height: float, arm: float = 0.0, half: float = 0.1) -> Mesh:
    """A post, with an arm of this length near its top (negative: to the left)."""
    b = Builder(kind="pole")
    b.box((-half, half), (0, height), (-half, half), STEEL)
    if arm:
        b.box((0, arm), (height - 0.2, height - 0.1), (-0.06, 0.06), STEEL)
    return b.build()


@lru_cache
def lamp(lit: bool) -> Mesh:
    """The head of a street lamp around its own origin; it shines downwards."""
    b = Builder(kind="pole")
    glow: Colour = (1.3, 2.2, 2.9) if lit else BLACK
    for z, out in ((-0.12, -1), (0.12, 1)):
        b.rect((-0.35, 0.35), (0, 0.17), z, (0.6, 0.62, 0.62), out, glow)
    b.rect((-0.35, 0.35), 0.0, (-0.15, 0.15), (0.7, 0.7, 0.7), -1, glow)
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
    b = Builder(kind="traffic light")
    box: Colour = (0.1, 0.2, 0.22) if back else (0.06, 0.07, 0.07)
    b.box((-0.19, 0.19), (-0.55, 0.55), (-0.1, 0.12), box)
    for i, (name, (colour, glow)) in enumerate(LAMPS.items() if not back else ()):
        y = 0.34 - 0.34 * i
        b.disc(0, y, -0.115, 0.125, colour, (0, 0, -1), 8, glow if name == state else BLACK)
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
    b = Builder(kind="traffic sign")
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
    spacing, both = rng.uniform(24, 45), rng.random() < 0.5
    light = 5.5 if air.lamps else 0.0
    for sign, side in road.sides if both else road.sides[1:]:
        for s in np.arange(rng.uniform(2, spacing), length + 40, spacing).tolist():
            if road.free(s, 0):
                t = side + sign * 0.7
                out.append(Thing(pole(8.0, -sign * 2.2), s, t, above=road.kerb, lamp=light))
                out.append(Thing(lamp(air.lamps), s, t - sign * 1.95, above=road.kerb + 7.7))
    if road.scene in ("residential", "gas stations") or rng.random() < 0.2:
        sign, side = road.sides[int(rng.integers(2))]
        for s in np.arange(rng.uniform(2, 30), length + 40, 34.0).tolist():
            out.append(Thing(utility_pole(), s, side + sign * 1.1, above=road.kerb))
    return out


def plate(kind: str, s: float, t: float, above: float, size: float, yaw: float = 0.0) -> Thing:
    """A sign without a post."""
    return Thing(sign(kind), s, t, yaw, (size, size, size), above=above)


def signed(
    rng: Rng, road: Road, kind: str, s: float, t: float, height: float, scale: float = 1.0
) -> list[Thing]:
    """A sign on its post."""
    size = scale * rng.uniform(0.85, 1.15)
    post = Thing(pole(1.0, half=0.04), s, t, 0.0, (1, height + 0.2, 1), above=road.kerb)
    return [post, plate(kind, s - 0.06, t, road.kerb + height, size, rng.normal(0, 0.08))]


def signs(rng: Rng, road: Road, length: float) -> list[Thing]:
    """Signs along both edges."""
    out = []
    town = road.scene not in ("highway", "tunnel")
    spacing = rng.uniform(15, 40) if town else 60.0
    kinds, scale = (TOWN_SIGNS, 1.0) if town else (HIGHWAY_SIGNS, 1.5)
    for sign, side in road.sides:
        for s in spots(rng, 4, length, spacing):
            kind, height = str(rng.choice(kinds)), rng.uniform(2.1, 2.7)
            out += signed(rng, road, kind, s, side + sign * rng.uniform(0.4, 1.2), height, scale)
    return out


def _signals(rng: Rng, road: Road, crossing: Crossing) -> list[Thing]:
    """The traffic lights of one junction: on arms at the far side, on posts at the near side."""
    state = pick(rng, {"red": 0.45, "green": 0.45, "amber": 0.1})
    arm = pick(rng, {0.0: 0.25, 4.0: 0.35, 6.5: 0.4})
    far, near = crossing.s + crossing.width + 1.0, crossing.s - 1.0
    right, left = road.right + 0.8, road.left - 0.8
    poles = [(far, right, -arm), (far, left, arm), (near, right, 0.0), (near, left, 0.0)]
    # s, t, height, and whether the back is seen.
    heads = [
        (far, right - 0.3, 3.0, False),
        (far, left + 0.3, 3.0, False),
        (near, right, 3.1, False),
        (near, left, 3.1, True),
    ]
    if arm:
        over = (right - arm + 0.3, right - arm * 0.5, left + arm - 0.3)
        heads += [(far, t, 5.4, False) for t in over]
    name = str(rng.choice(STREET_SIGNS))
    return [
        plate(name, far - 0.2, right - 1.4, road.kerb + (5.6 if arm else 2.3), 1.0),
        *(Thing(pole(6.0 if a else 3.4, a), s, t, above=road.kerb) for s, t, a in poles),
        *(
            Thing(signal(state, back), s - 0.2, t, rng.normal(0, 0.06), above=road.kerb + y)
            for s, t, y, back in heads
            if rng.random() < 0.9
        ),
    ]


def junctions(rng: Rng, road: Road) -> list[Thing]:
    """Traffic lights or priority signs, and street names, at every crossing."""
    out: list[Thing] = []
    lights = 0.88 if road.scene == "city street" else 0.15
    for crossing in road.crossings:
        s, t = crossing.s, road.right + 0.7
        if not crossing.width:
            out += signed(rng, road, "warning", s - 4, t, 2.3)
            continue
        if rng.random() < lights:
            out += _signals(rng, road, crossing)
        else:
            out += signed(rng, road, "stop" if crossing.stop else "yield", s - 1.5, t, 2.2)
        name, beyond = str(rng.choice(STREET_SIGNS)), s + crossing.width + 1.2
        out += signed(rng, road, name, beyond, road.right + 1.2, 2.8)
    return out
