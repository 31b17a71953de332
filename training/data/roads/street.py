"""What stands still: buildings, trees, poles, signs, traffic lights, gantries, fences, tunnels."""

from functools import lru_cache

import numpy as np

from training.data.roads.mesh import BODY, Builder, Colour, Mesh, Point

STEEL: Colour = (0.36, 0.36, 0.35)
WOOD: Colour = (0.2, 0.26, 0.32)
WHITE: Colour = (0.85, 0.85, 0.85)
FACADES = ("flats", "offices", "glass", "brick")
LIT: dict[str, Colour] = {
    "red": (0.25, 0.25, 3.0), "amber": (0.2, 1.7, 2.8), "green": (1.9, 2.4, 0.4),
}  # fmt: skip
SIGNS = (
    "stop", "speed", "warning", "parking", "street", "guide", "yield", "no entry", "back", "arrow",
)  # fmt: skip


@lru_cache
def building(facade: str, shops: bool) -> Mesh:
    """A block of 1×1×1 to be scaled; a floor of shops takes its lowest quarter."""
    b = Builder(kind="building", tile=facade)
    low = 0.0
    if shops:
        low = 0.25
        b.box((-0.5, 0.5), (0, low), (-0.5, 0.5), (0.55, 0.55, 0.55), tile="shops")
    b.box((-0.5, 0.5), (low, 1), (-0.5, 0.5), BODY, top=(0.3, 0.3, 0.3))
    return b.build()


@lru_cache
def house(variant: int) -> Mesh:
    """A small gabled house 10 m wide, 9 m deep; gable to the street or along it."""
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


def _blob(rng: np.random.Generator, points: int, rough: float) -> np.ndarray:
    """(points, 2) a ragged round outline of radius about 1."""
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False)
    radius = 1 + sum(
        rough / k**0.6 * np.sin(k * turn + rng.uniform(0, 6.28)) for k in (2, 3, 5, 8, 13, 21, 29)
    )
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], 1)


TREES = 12


@lru_cache
def tree(variant: int) -> Mesh:
    """A tree 8 m tall turned to the camera: round, tall, fir or palm."""
    rng = np.random.default_rng((31, variant))
    b = Builder(kind="vegetation", tile="leaves")
    shape = ("round", "round", "tall", "fir", "round", "palm")[variant % 6]
    trunk = 0.16 + 0.1 * rng.random()
    top = 6.6 if shape == "palm" else 4.0
    b.face(
        [(-trunk, 0, 0), (trunk, 0, 0), (trunk * 0.7, top, 0), (-trunk * 0.7, top, 0)],
        (0.13, 0.17, 0.22),
        (0, 0, -1),
        tile="bark",
    )
    greens: tuple[Colour, ...] = (
        (0.12, 0.3, 0.2),
        (0.14, 0.36, 0.26),
        (0.1, 0.24, 0.18),
        (0.14, 0.3, 0.34),
    )
    green = np.array(greens[rng.integers(4)])
    if shape == "fir":
        for i in range(4):
            y, w = 1.2 + 1.5 * i, 2.2 - 0.48 * i
            edge = np.linspace(-w, w, 9)
            points: list[Point] = [(float(x), y + 0.3 * float(rng.random()), 0) for x in edge]
            b.face([*points, (0.1, y + 2.5, 0)], tuple(green * (0.7 + 0.08 * i)), (0, 0, -1))
    elif shape == "palm":
        for angle in np.linspace(-0.5, np.pi + 0.5, 9):
            tip = np.array([2.2 * np.cos(angle), 6.6 + 1.5 * np.sin(angle) - 0.5])
            side = np.array([-np.sin(angle), np.cos(angle)]) * 0.28
            mid = np.array([1.1 * np.cos(angle), 6.7 + 1.1 * np.sin(angle)])
            fan = [np.array([0, 6.5]), mid + side, tip, mid - side]
            b.face(
                [(float(p[0]), float(p[1]), 0) for p in fan],
                tuple(green * rng.uniform(0.7, 1.1)),
                (0, 0, -1),
            )
    else:
        wide, high, centre = (1.5, 3.0, 4.8) if shape == "tall" else (2.9, 2.3, 5.4)
        clumps = [(0.0, 0.0, 0.92, 0.5)]
        for height in np.linspace(-0.45, 0.62, 9):  # clumps of leaves, lighter towards the sky
            reach = 0.62 * np.sqrt(max(0.05, 1 - height * height))
            x = float(rng.uniform(-reach, reach))
            clumps.append((x, float(height), float(rng.uniform(0.26, 0.5)), 0.75 + 0.45 * height))
        for x, y, r, light in clumps:
            outline = _blob(rng, 64, 0.11) * r
            cloud: list[Point] = [
                (float(wide * (x + p[0])), float(centre + high * (y + p[1])), 0) for p in outline
            ]
            b.face(cloud, tuple(green * light), (0, 0, -1))
    return b.build()


@lru_cache
def bush(variant: int) -> Mesh:
    """A hedge or shrub 2 m wide and 1 m high."""
    rng = np.random.default_rng((32, variant))
    b = Builder(kind="vegetation", tile="leaves")
    for light, r in ((0.7, 1.0), (1.0, 0.7)):
        points: list[Point] = [
            (float(p[0] * r), float(max(0, 0.45 + 0.5 * p[1] * r)), 0) for p in _blob(rng, 26, 0.08)
        ]
        b.face(points, (0.13 * light, 0.33 * light, 0.22 * light), (0, 0, -1))
    return b.build()


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
    """One signal head: a dark box with three lamps on its near side."""
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
    """One signal head around its own origin; its pole is another thing."""
    b = Builder()
    if back:
        b.kind, b.slot = "traffic light", 0
        b.box((-0.19, 0.19), (-0.55, 0.55), (-0.1, 0.12), (0.1, 0.2, 0.22))
    else:
        _head(b, 0, 0, state)
    return b.build()


@lru_cache
def signal_pole(arm: float) -> Mesh:
    """A post 6 m tall with an arm of that length (its sign says to which side), or 3.4 m alone."""
    b = Builder(kind="pole")
    b.box((-0.1, 0.1), (0, 6.0 if arm else 3.4), (-0.1, 0.1), STEEL)
    if arm:
        b.box(sorted((0, arm)), (5.75, 5.9), (-0.07, 0.07), STEEL)
    return b.build()


@lru_cache
def post(height: float) -> Mesh:
    b = Builder(kind="pole")
    b.box((-0.04, 0.04), (0, height), (-0.04, 0.04), (0.45, 0.45, 0.45))
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
    """A piece of barrier 1×1×1 to be scaled: concrete, noise wall, fence, guardrail."""
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
    """A filling station's roof 16 × 12 m on four posts, with pumps beneath."""
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


@lru_cache
def cone() -> Mesh:
    b = Builder(kind="traffic sign")
    b.kind = "pole"
    for y0, y1, w0, w1, c in (
        (0.0, 0.05, 0.22, 0.22, (0.1, 0.1, 0.1)),
        (0.05, 0.35, 0.15, 0.1, (0.08, 0.3, 0.9)),
        (0.35, 0.5, 0.1, 0.07, (0.85, 0.85, 0.85)),
        (0.5, 0.75, 0.07, 0.03, (0.08, 0.3, 0.9)),
    ):
        b.face([(-w0, y0, 0), (w0, y0, 0), (w1, y1, 0), (-w1, y1, 0)], c, (0, 0, -1))
    return b.build()
