"""Static objects along, over and across a road."""

import numpy as np

from training.data.roads import street, structures
from training.data.roads.atmosphere import Atmosphere
from training.data.roads.chance import Rng, spots
from training.data.roads.layout import Road
from training.data.roads.mesh import Colour, Thing

WALLS: tuple[Colour, ...] = (
    (0.5, 0.55, 0.62), (0.35, 0.42, 0.58), (0.62, 0.66, 0.7), (0.42, 0.44, 0.46), (0.3, 0.32, 0.45),
    (0.55, 0.62, 0.68), (0.28, 0.33, 0.4), (0.66, 0.64, 0.6),
)  # fmt: skip
BRANDS: tuple[Colour, ...] = (
    (0.15, 0.12, 0.6), (0.5, 0.25, 0.08), (0.1, 0.55, 0.75), (0.2, 0.45, 0.15),
)  # fmt: skip


def _wall(rng: Rng, spread: float = 0.06) -> Colour:
    """A random colour close to one of WALLS."""
    b, g, r = np.array(WALLS[rng.integers(len(WALLS))]) * rng.uniform(1 - spread, 1 + spread, 3)
    return b, g, r


def _blocks(rng: Rng, road: Road, length: float) -> list[Thing]:
    """Rows of buildings with some gaps."""
    out = []
    tall = float(rng.choice([10, 18, 34]))
    for sign, side in road.sides:
        s, front = -10.0, road.walk + float(rng.choice([0.2, 1.5, 6.0]))
        gap = float(rng.choice([0.05, 0.2, 0.5]))
        while s < length + 60:
            span = 3.0 * float(rng.integers(3, 9))
            middle = s + span / 2
            if rng.random() > gap and road.free(middle, span / 2):
                high = 3.0 * max(2, round(tall / 3 * rng.lognormal(0, 0.4)))
                facade = structures.FACADES[rng.integers(4)]
                mesh = structures.building(facade, bool(rng.random() < 0.55 and high < 22))
                deep = rng.uniform(9, 18)
                t, size = side + sign * (front + deep / 2), (deep, high, span)
                out.append(Thing(mesh, middle, t, 0.0, size, _wall(rng), road.kerb, shadow=1.0))
            s += span + (rng.uniform(2, 12) if rng.random() < gap else 0.0)
    return out


def _far_blocks(rng: Rng, length: float, inner: float, count: int, tall: float) -> list[Thing]:
    """Large buildings at a distance from the road."""
    out = []
    for _ in range(count):
        s, sign = rng.uniform(40, length + 120), int(rng.choice([-1, 1]))
        high, wide = tall * rng.lognormal(0, 0.5), rng.uniform(12, 30)
        mesh = structures.building(structures.FACADES[rng.integers(3)], False)
        t = sign * (inner + wide + rng.exponential(25))
        out.append(Thing(mesh, s, t, 0.0, (wide, high, wide), _wall(rng)))
    return out


def _houses(rng: Rng, road: Road, length: float) -> list[Thing]:
    """Detached houses with gardens."""
    out = []
    back = road.walk + rng.uniform(9, 14)
    for sign, side in road.sides:
        for s in np.arange(rng.uniform(-8, 4), length + 40, rng.uniform(14, 18)).tolist():
            if road.free(s, 6) and rng.random() < 0.88:
                mesh, scale = structures.house(int(rng.integers(9))), (1, 1, rng.uniform(0.9, 1.25))
                t, paint = side + sign * back, _wall(rng, 0.2)
                out.append(Thing(mesh, s, t, 0.0, scale, paint, road.kerb, shadow=0.7))
    return out


def _trees(
    rng: Rng, road: Road, length: float, spacing: float, inner: float, spread: float
) -> list[Thing]:
    """A row of trees along both sides, `spread` metres deep from `inner` on."""
    out = []
    shadow = 0.65 if spread < 8 else None
    for sign, side in road.sides:
        for s in spots(rng, 2, length + 60, spacing):
            if road.free(s, 2):
                mesh, high = (
                    structures.tree(int(rng.integers(structures.TREES))),
                    rng.lognormal(0, 0.28),
                )
                t, size = side + sign * (inner + rng.random() * spread), (high, high, high)
                out.append(Thing(mesh, s, t, None, size, above=road.kerb, shadow=shadow))
    return out


def _barriers(rng: Rng, road: Road, length: float) -> list[Thing]:
    """Along a highway: the median, and a barrier or plants at the right edge."""
    middle = next(lane.centre for lane in road.lanes if lane.kind == "median")
    median = str(rng.choice(["concrete", "guardrail"]))
    edge = str(rng.choice(["concrete", "guardrail", "noise", "fence", "none"]))
    shape = {
        "concrete": (0.4, 0.95),
        "guardrail": (0.25, 0.8),
        "noise": (0.4, rng.uniform(3, 5)),
        "fence": (0.08, 1.9),
    }
    paint, step = _wall(rng), 6.0
    places = ((median, middle), (edge, road.right + 0.7))
    return [
        Thing(structures.wall(kind), float(s), t, 0.0, (*shape[kind], step), paint)
        for s in np.arange(-10.0, length + 120, step)
        for kind, t in places
        if kind in shape
    ]


def _overhead(rng: Rng, road: Road, length: float) -> list[Thing]:
    """Gantries with guide signs, bridges."""
    out = []
    left = next(lane.left for lane in road.lanes if lane.kind == "shoulder")
    for s in spots(rng, 20, length + 100, 150):
        if rng.random() < 0.7:
            mesh = street.gantry(round(road.right - left + 2))
            out.append(Thing(mesh, s, (left + road.right) / 2))
            for t in spots(rng, left + 2, road.right - 2, 6):
                out.append(street.plate("guide", s - 0.3, t, 6.6, rng.uniform(0.7, 1.2)))
        else:
            out.append(Thing(structures.overpass(), s, 0.0))
    return out


def _tunnel(road: Road, length: float) -> list[Thing]:
    left, right = round(road.left - 0.3, 2), round(road.right + 0.3, 2)
    mesh = structures.tunnel_ring(left, right)
    return [Thing(mesh, float(s), 0.0) for s in np.arange(-5, length + 260, 10.0)]


def _stations(rng: Rng, road: Road, length: float, air: Atmosphere) -> list[Thing]:
    """Filling stations, each with a shop and a sign."""
    out = []
    for s in np.arange(rng.uniform(14, 40), length + 30, 70.0).tolist():
        sign, side = road.sides[int(rng.random() < 0.7)]
        paint, lamp = BRANDS[rng.integers(4)], 9.0 if air.lamps else 0.0
        roof, shop = structures.canopy(air.lamps), structures.building("offices", True)
        out += [
            Thing(roof, s, side + sign * 11, paint=paint, shadow=0.0, lamp=lamp),
            Thing(shop, s + 4, side + sign * 27, 0.0, (10, 4.5, 18), WALLS[2]),
            *street.signed(rng, road, "guide", s - 10, side + sign * 2.5, 5.0, 0.6),
        ]
    return out


def furnish(rng: Rng, road: Road, length: float, air: Atmosphere) -> list[Thing]:
    """All static objects of a road."""
    if road.scene == "tunnel":
        return _tunnel(road, length)
    out: list[Thing] = []
    if road.scene == "highway":
        out += _barriers(rng, road, length) + _overhead(rng, road, length)
        out += _trees(rng, road, length, float(rng.choice([4, 9, 25])), 4, 22)
        out += _far_blocks(rng, length, abs(road.left) + 25, int(rng.integers(0, 9)), 14)
    elif road.scene == "city street":
        out += _blocks(rng, road, length)
        out += _far_blocks(rng, length, 40, int(rng.integers(2, 10)), 40)
        if rng.random() < 0.75:
            out += _trees(rng, road, length, float(rng.choice([9, 16, 30])), 0.9, 0.6)
    elif road.scene == "residential":
        out += _houses(rng, road, length)
        out += _trees(rng, road, length, float(rng.choice([8, 14])), road.walk + 0.8, 4)
        out += _trees(rng, road, length, 12, 18, 20)
    elif road.scene == "parking lot":
        out += _far_blocks(rng, length, 26, 9, 9) + _trees(rng, road, length, 14, 9, 14)
    else:
        out += _stations(rng, road, length, air) + _trees(rng, road, length, 18, 22, 20)
        out += _far_blocks(rng, length, 35, 6, 10)
    if road.scene != "highway" or rng.random() < 0.6:
        out += street.posts(rng, road, length, air)
    if road.scene != "parking lot":
        out += street.signs(rng, road, length) + street.junctions(rng, road)
    return out
