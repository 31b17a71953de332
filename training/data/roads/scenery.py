"""Static objects along, over and across a road."""

import numpy as np

from training.data.roads import buildings, street
from training.data.roads.atmosphere import Atmosphere
from training.data.roads.layout import Road
from training.data.roads.mesh import Thing
from training.data.roads.plots import WALLS, blocks, far_blocks, houses, near, trees
from training.data.roads.poles import SIGN, junctions, posts, signed, signs

Rng = np.random.Generator


def _barriers(rng: Rng, road: Road, length: float) -> list[Thing]:
    """Along a highway: the median, and a barrier or plants at the right edge."""
    out = []
    forward_left = next(lane.left for lane in road.lanes if lane.kind == "shoulder")
    backward_right = max(lane.right for lane in road.lanes if lane.kind == "opposite")
    kinds = ["concrete", "guardrail"]
    median, edge = str(rng.choice(kinds)), str(rng.choice([*kinds, "noise", "fence", "none"]))
    shape = {
        "concrete": (0.4, 0.95),
        "guardrail": (0.25, 0.8),
        "noise": (0.4, float(rng.uniform(3, 5))),
        "fence": (0.08, 1.9),
    }
    paint = near(rng, WALLS[rng.integers(len(WALLS))])
    step = 6.0
    for s in np.arange(-10.0, length + 120, step):
        if median != "none":
            wide, high = shape[median]
            middle = (forward_left + backward_right) / 2
            out.append(
                Thing(
                    buildings.wall(median),
                    float(s),
                    middle,
                    0.0,
                    (wide, high, step),
                    paint,
                    reach=step / 2,
                )
            )
        if edge != "none":
            wide, high = shape[edge]
            out.append(
                Thing(
                    buildings.wall(edge),
                    float(s),
                    road.right + 0.7,
                    0.0,
                    (wide, high, step),
                    paint,
                    reach=step / 2,
                )
            )
    return out


def _overhead(rng: Rng, road: Road, length: float) -> list[Thing]:
    """Gantries with guide signs, bridges."""
    out = []
    left = next(lane.left for lane in road.lanes if lane.kind == "shoulder")
    wide = road.right - left + 2
    s = float(rng.uniform(20, 160))
    while s < length + 100:
        if rng.random() < 0.7:
            middle = (left + road.right) / 2
            out.append(Thing(street.gantry(round(wide)), s, middle, 0.0))
            for _ in range(int(rng.integers(1, 4))):
                t = float(rng.uniform(left + 2, road.right - 2))
                size = float(rng.uniform(0.7, 1.2))
                out.append(
                    Thing(
                        street.sign("guide"),
                        s - 0.3,
                        t,
                        0.0,
                        (size, size, size),
                        above=6.6,
                        kinds=SIGN,
                        tracks=(-1,),
                    )
                )
        else:
            out.append(Thing(buildings.overpass(), s, 0.0, 0.0, paint=(0.5, 0.5, 0.5), reach=5.0))
        s += float(rng.uniform(90, 220))
    return out


def _highway(rng: Rng, road: Road, length: float, air: Atmosphere) -> list[Thing]:
    out = _barriers(rng, road, length) + _overhead(rng, road, length)
    out += trees(rng, road, length, float(rng.choice([4, 9, 25])), 4, 22)
    out += far_blocks(rng, length, abs(road.left) + 25, int(rng.integers(0, 9)), 14)
    if rng.random() < 0.6:
        out += posts(rng, road, length, air)
    return out


def _tunnel(road: Road, length: float) -> list[Thing]:
    wide = round(road.right - road.left + 0.6, 2)
    mesh = buildings.tunnel_ring(wide, round(road.right + 0.3, 2))
    return [Thing(mesh, float(s), 0.0, 0.0, reach=5.0) for s in np.arange(-5, length + 260, 10.0)]


def _station(rng: Rng, road: Road, length: float, air: Atmosphere) -> list[Thing]:
    out = []
    for s in np.arange(float(rng.uniform(14, 40)), length + 30, 70.0):
        sign = int(rng.choice([-1, 1], p=[0.3, 0.7]))
        side = road.right if sign > 0 else road.left
        paint = ((0.15, 0.12, 0.6), (0.5, 0.25, 0.08), (0.1, 0.55, 0.75), (0.2, 0.45, 0.15))[
            rng.integers(4)
        ]
        out.append(
            Thing(
                buildings.canopy(air.lamps),
                float(s),
                side + sign * 11,
                0.0,
                paint=paint,
                reach=0.0,
                shadow=(12, 16, 0.0),
                lamp=9.0 if air.lamps else 0.0,
            )
        )
        shop = buildings.building("offices", True)
        out.append(
            Thing(
                shop,
                float(s) + 4,
                side + sign * 27,
                0.0,
                (10, 4.5, 18),
                near(rng, WALLS[2]),
                reach=9.0,
            )
        )
        out += signed(rng, "guide", float(s) - 10, side + sign * 2.5, 0.0, 5.0, 0.6)
    return out


def furnish(rng: Rng, road: Road, length: float, air: Atmosphere) -> list[Thing]:
    """All static objects of a road."""
    if road.scene == "tunnel":
        return _tunnel(road, length)
    if road.scene == "highway":
        return _highway(rng, road, length, air) + signs(rng, road, length)
    out: list[Thing] = []
    if road.scene == "city street":
        out += blocks(rng, road, length) + far_blocks(rng, length, 40, int(rng.integers(2, 10)), 40)
        if rng.random() < 0.75:
            out += trees(rng, road, length, float(rng.choice([9, 16, 30])), 0.9, 0.6)
    elif road.scene == "residential":
        out += houses(rng, road, length)
        out += trees(rng, road, length, float(rng.choice([8, 14])), road.walk + 0.8, 4)
        out += trees(rng, road, length, 12, 18, 20)
    elif road.scene == "parking lot":
        out += far_blocks(rng, length, 26, 9, 9) + trees(rng, road, length, 14, 9, 14)
    else:
        out += _station(rng, road, length, air) + trees(rng, road, length, 18, 22, 20)
        out += far_blocks(rng, length, 35, 6, 10)
    out += posts(rng, road, length, air)
    if road.scene != "parking lot":
        out += signs(rng, road, length) + junctions(rng, road)
    return out
