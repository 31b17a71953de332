"""Puts what stands still beside, over and across a road."""

import numpy as np

from training.data.roads import buildings, plants, street
from training.data.roads.atmosphere import Atmosphere
from training.data.roads.layout import CURB_HEIGHT, Crossing, Road
from training.data.roads.mesh import Colour, Thing
from training.data.roads.traffic import DET

WALLS: tuple[Colour, ...] = (
    (0.5, 0.55, 0.62), (0.35, 0.42, 0.58), (0.62, 0.66, 0.7), (0.42, 0.44, 0.46), (0.3, 0.32, 0.45),
    (0.55, 0.62, 0.68), (0.28, 0.33, 0.4), (0.66, 0.64, 0.6),
)  # fmt: skip
LIGHT, SIGN = (DET["traffic light"],), (DET["traffic sign"],)
Rng = np.random.Generator


def _free(road: Road, s: float, half: float) -> bool:
    return not any(
        c.width and c.s - half - 3 < s < c.s + c.width + half + 3 for c in road.crossings
    )


def _near(rng: Rng, colour: Colour, spread: float = 0.06) -> Colour:
    b, g, r = np.clip(np.array(colour) * rng.uniform(1 - spread, 1 + spread, 3), 0, 1)
    return (float(b), float(g), float(r))


def _blocks(rng: Rng, road: Road, length: float) -> list[Thing]:
    """Street fronts, wall to wall with some gaps."""
    out = []
    tall = float(rng.choice([10, 18, 34]))
    for sign, side in ((-1, road.left), (1, road.right)):
        s, front = -10.0, abs(side) + road.walk + float(rng.choice([0.2, 1.5, 6.0]))
        gap = float(rng.choice([0.05, 0.2, 0.5]))
        while s < length + 60:
            span = 3.0 * float(rng.integers(3, 9))
            middle = s + span / 2
            if rng.random() > gap and _free(road, middle, span / 2):
                high = 3.0 * max(2, round(tall / 3 * float(rng.lognormal(0, 0.4))))
                facade = buildings.FACADES[rng.integers(4)]
                mesh = buildings.building(facade, bool(rng.random() < 0.55 and high < 22))
                deep = float(rng.uniform(9, 18))
                out.append(Thing(
                    mesh, middle, sign * (front + deep / 2), 0.0, (deep, high, span),
                    _near(rng, WALLS[rng.integers(len(WALLS))]), CURB_HEIGHT, reach=span / 2,
                    shadow=(span, deep, high),
                ))  # fmt: skip
            s += span + (float(rng.uniform(2, 12)) if rng.random() < gap else 0.0)
    return out


def _far_blocks(rng: Rng, length: float, inner: float, count: int, tall: float) -> list[Thing]:
    """Towers and sheds some way off the road."""
    out = []
    for _ in range(count):
        s, sign = float(rng.uniform(40, length + 120)), int(rng.choice([-1, 1]))
        high, wide = tall * float(rng.lognormal(0, 0.5)), float(rng.uniform(12, 30))
        mesh = buildings.building(buildings.FACADES[rng.integers(3)], False)
        t = sign * (inner + wide + float(rng.exponential(25)))
        out.append(
            Thing(
                mesh,
                s,
                t,
                0.0,
                (wide, high, wide),
                _near(rng, WALLS[rng.integers(len(WALLS))]),
                reach=wide / 2,
            )
        )
    return out


def _houses(rng: Rng, road: Road, length: float) -> list[Thing]:
    out = []
    back = float(rng.uniform(4, 9))
    for sign, side in ((-1, road.left), (1, road.right)):
        s = float(rng.uniform(-8, 4))
        while s < length + 40:
            if _free(road, s, 6) and rng.random() < 0.88:
                t = sign * (abs(side) + road.walk + back + 5)
                out.append(
                    Thing(
                        buildings.house(int(rng.integers(9))),
                        s,
                        t,
                        0.0,
                        (1, 1, float(rng.uniform(0.9, 1.25))),
                        _near(rng, WALLS[rng.integers(len(WALLS))], 0.2),
                        CURB_HEIGHT,
                        reach=5.0,
                        shadow=(9, 10, 6),
                    )
                )
            s += float(rng.uniform(13, 19))
    return out


def _trees(
    rng: Rng, road: Road, length: float, spacing: float, inner: float, spread: float
) -> list[Thing]:
    out = []
    above = CURB_HEIGHT if road.walk else 0.0
    for sign, side in ((-1, road.left), (1, road.right)):
        s = float(rng.uniform(2, spacing))
        while s < length + 60:
            if _free(road, s, 2):
                high = float(rng.lognormal(0, 0.28))
                t = side + sign * (inner + float(rng.uniform(0, 1)) * spread)
                out.append(Thing(
                    plants.tree(int(rng.integers(plants.TREES))), s, t, None, (high, high, high),
                    above=above, shadow=(3.5 * high, 3.5 * high, 5 * high) if spread < 8 else None,
                ))  # fmt: skip
            s += float(rng.uniform(0.6, 1.5)) * spacing
    return out


def _posts(rng: Rng, road: Road, length: float, air: Atmosphere) -> list[Thing]:
    """Street lamps on one or both sides, utility poles on some."""
    out = []
    spacing, both = float(rng.uniform(24, 45)), bool(rng.random() < 0.5)
    above = CURB_HEIGHT if road.walk else 0.0
    for sign, side in ((-1, road.left), (1, road.right)):
        if sign < 0 and not both:
            continue
        for s in np.arange(float(rng.uniform(2, spacing)), length + 40, spacing):
            if _free(road, float(s), 0):
                mesh = street.lamp_post(air.lamps, -sign)
                out.append(
                    Thing(
                        mesh,
                        float(s),
                        side + sign * 0.7,
                        0.0,
                        above=above,
                        lamp=5.5 if air.lamps else 0.0,
                    )
                )
    if road.scene in ("residential", "gas stations") or rng.random() < 0.2:
        sign = int(rng.choice([-1, 1]))
        side = road.right if sign > 0 else road.left
        for s in np.arange(float(rng.uniform(2, 30)), length + 40, 34.0):
            out.append(Thing(street.utility_pole(), float(s), side + sign * 1.1, 0.0, above=above))
    return out


def _signed(
    rng: Rng, kind: str, s: float, t: float, above: float, height: float, scale: float = 1.0
) -> list[Thing]:
    size = scale * float(rng.uniform(0.85, 1.15))
    plate = Thing(
        street.sign(kind, int(rng.integers(2))), s - 0.06, t, float(rng.normal(0, 0.08)),
        (size, size, size), above=above + height, kinds=SIGN, tracks=(-1,),
    )  # fmt: skip
    return [Thing(street.post(), s, t, 0.0, (1, height + 0.2, 1), above=above), plate]


def _signs(rng: Rng, road: Road, length: float) -> list[Thing]:
    out = []
    above = CURB_HEIGHT if road.walk else 0.0
    town = road.scene not in ("highway", "tunnel")
    spacing = float(rng.uniform(14, 40)) if town else 70.0
    kinds = (
        ("parking", "parking", "no entry", "speed", "arrow", "back", "warning")
        if town
        else ("speed", "warning", "back")
    )
    for sign, side in ((-1, road.left), (1, road.right)):
        s = float(rng.uniform(4, spacing))
        while s < length:
            kind = str(rng.choice(kinds))
            out += _signed(
                rng,
                kind,
                s,
                side + sign * float(rng.uniform(0.4, 1.2)),
                above,
                float(rng.uniform(2.1, 2.7)),
                1.0 if town else 1.5,
            )
            s += float(rng.exponential(spacing)) + 4
    return out


def _signals(rng: Rng, road: Road, crossing: Crossing) -> list[Thing]:
    """The lights of one junction: arms on the far side, a post on the near one."""
    out: list[Thing] = []
    state = str(rng.choice(["red", "green", "amber"], p=[0.45, 0.45, 0.1]))
    above = CURB_HEIGHT if road.walk else 0.0

    def head(s: float, t: float, y: float, back: bool = False) -> Thing:
        return Thing(
            street.signal(state, back),
            s,
            t,
            float(rng.normal(0, 0.06)),
            above=y,
            kinds=LIGHT,
            tracks=(-1,),
        )

    far, near = crossing.s + crossing.width + 1.0, crossing.s - 1.0
    right, left = road.right + 0.8, road.left - 0.8
    arm = float(rng.choice([0.0, 4.0, 6.5], p=[0.25, 0.35, 0.4]))
    out.append(Thing(street.signal_pole(-arm), far, right, 0.0, above=above))
    out.append(head(far - 0.2, right - 0.3, above + 3.0))
    if arm:
        out.append(head(far - 0.2, right - arm + 0.3, above + 5.4))
        if rng.random() < 0.85:
            out.append(head(far - 0.2, right - arm * 0.5, above + 5.4))
        out.append(
            Thing(
                street.sign("street", int(rng.integers(2))),
                far - 0.2,
                right - 1.4,
                0.0,
                above=above + 5.6,
                kinds=SIGN,
                tracks=(-1,),
            )
        )
    out.append(Thing(street.signal_pole(arm), far, left, 0.0, above=above))
    out.append(head(far - 0.2, left + 0.3, above + 3.0))
    if arm and rng.random() < 0.8:
        out.append(head(far - 0.2, left + arm - 0.3, above + 5.4))
    if rng.random() < 0.8:
        out.append(Thing(street.signal_pole(0.0), near, right, 0.0, above=above))
        out.append(head(near - 0.2, right, above + 3.1))
    out.append(head(near, left, above + 3.1, back=True))
    out.append(Thing(street.signal_pole(0.0), near, left, 0.0, above=above))
    return out


def _junctions(rng: Rng, road: Road) -> list[Thing]:
    out: list[Thing] = []
    above = CURB_HEIGHT if road.walk else 0.0
    for crossing in road.crossings:
        lights = 0.88 if road.scene == "city street" else 0.15
        if crossing.width and rng.random() < lights:
            out += _signals(rng, road, crossing)
        elif crossing.width:
            out += _signed(
                rng,
                "stop" if crossing.stop else "yield",
                crossing.s - 1.5,
                road.right + 0.7,
                above,
                2.2,
            )
        else:
            out += _signed(rng, "warning", crossing.s - 4, road.right + 0.7, above, 2.3)
        if crossing.width:
            out += _signed(
                rng, "street", crossing.s + crossing.width + 1.2, road.right + 1.2, above, 2.8
            )
    return out


def _barriers(rng: Rng, road: Road, length: float) -> list[Thing]:
    """Along a highway: the median, and something at the right edge."""
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
    paint = _near(rng, WALLS[rng.integers(len(WALLS))])
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
    out += _trees(rng, road, length, float(rng.choice([4, 9, 25])), 4, 22)
    out += _far_blocks(rng, length, abs(road.left) + 25, int(rng.integers(0, 9)), 14)
    if rng.random() < 0.6:
        out += _posts(rng, road, length, air)
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
                _near(rng, WALLS[2]),
                reach=9.0,
            )
        )
        out += _signed(rng, "guide", float(s) - 10, side + sign * 2.5, 0.0, 5.0, 0.6)
    return out


def furnish(rng: Rng, road: Road, length: float, air: Atmosphere) -> list[Thing]:
    """All that stands still along a road."""
    if road.scene == "tunnel":
        return _tunnel(road, length)
    if road.scene == "highway":
        return _highway(rng, road, length, air) + _signs(rng, road, length)
    out: list[Thing] = []
    if road.scene == "city street":
        out += _blocks(rng, road, length) + _far_blocks(
            rng, length, 40, int(rng.integers(2, 10)), 40
        )
        if rng.random() < 0.75:
            out += _trees(rng, road, length, float(rng.choice([9, 16, 30])), 0.9, 0.6)
    elif road.scene == "residential":
        out += _houses(rng, road, length)
        out += _trees(rng, road, length, float(rng.choice([8, 14])), road.walk + 0.8, 4)
        out += _trees(rng, road, length, 12, 18, 20)
    elif road.scene == "parking lot":
        out += _far_blocks(rng, length, 26, 9, 9) + _trees(rng, road, length, 14, 9, 14)
    else:
        out += _station(rng, road, length, air) + _trees(rng, road, length, 18, 22, 20)
        out += _far_blocks(rng, length, 35, 6, 10)
    out += _posts(rng, road, length, air)
    if road.scene != "parking lot":
        out += _signs(rng, road, length) + _junctions(rng, road)
    return out
