"""Buildings and trees along a road."""

import numpy as np

from training.data.roads import buildings, plants
from training.data.roads.layout import CURB_HEIGHT, Road
from training.data.roads.mesh import Colour, Thing

WALLS: tuple[Colour, ...] = (
    (0.5, 0.55, 0.62), (0.35, 0.42, 0.58), (0.62, 0.66, 0.7), (0.42, 0.44, 0.46), (0.3, 0.32, 0.45),
    (0.55, 0.62, 0.68), (0.28, 0.33, 0.4), (0.66, 0.64, 0.6),
)  # fmt: skip
Rng = np.random.Generator


def free(road: Road, s: float, half: float) -> bool:
    """Whether no crossing street is within `half` metres of `s`."""
    return not any(
        c.width and c.s - half - 3 < s < c.s + c.width + half + 3 for c in road.crossings
    )


def near(rng: Rng, colour: Colour, spread: float = 0.06) -> Colour:
    """A random colour close to the given one."""
    b, g, r = np.clip(np.array(colour) * rng.uniform(1 - spread, 1 + spread, 3), 0, 1)
    return (float(b), float(g), float(r))


def blocks(rng: Rng, road: Road, length: float) -> list[Thing]:
    """Rows of buildings with some gaps."""
    out = []
    tall = float(rng.choice([10, 18, 34]))
    for sign, side in ((-1, road.left), (1, road.right)):
        s, front = -10.0, abs(side) + road.walk + float(rng.choice([0.2, 1.5, 6.0]))
        gap = float(rng.choice([0.05, 0.2, 0.5]))
        while s < length + 60:
            span = 3.0 * float(rng.integers(3, 9))
            middle = s + span / 2
            if rng.random() > gap and free(road, middle, span / 2):
                high = 3.0 * max(2, round(tall / 3 * float(rng.lognormal(0, 0.4))))
                facade = buildings.FACADES[rng.integers(4)]
                mesh = buildings.building(facade, bool(rng.random() < 0.55 and high < 22))
                deep = float(rng.uniform(9, 18))
                out.append(Thing(
                    mesh, middle, sign * (front + deep / 2), 0.0, (deep, high, span),
                    near(rng, WALLS[rng.integers(len(WALLS))]), CURB_HEIGHT, reach=span / 2,
                    shadow=(span, deep, high),
                ))  # fmt: skip
            s += span + (float(rng.uniform(2, 12)) if rng.random() < gap else 0.0)
    return out


def far_blocks(rng: Rng, length: float, inner: float, count: int, tall: float) -> list[Thing]:
    """Large buildings at a distance from the road."""
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
                near(rng, WALLS[rng.integers(len(WALLS))]),
                reach=wide / 2,
            )
        )
    return out


def houses(rng: Rng, road: Road, length: float) -> list[Thing]:
    """Detached houses with gardens."""
    out = []
    back = float(rng.uniform(4, 9))
    for sign, side in ((-1, road.left), (1, road.right)):
        s = float(rng.uniform(-8, 4))
        while s < length + 40:
            if free(road, s, 6) and rng.random() < 0.88:
                t = sign * (abs(side) + road.walk + back + 5)
                out.append(
                    Thing(
                        buildings.house(int(rng.integers(9))),
                        s,
                        t,
                        0.0,
                        (1, 1, float(rng.uniform(0.9, 1.25))),
                        near(rng, WALLS[rng.integers(len(WALLS))], 0.2),
                        CURB_HEIGHT,
                        reach=5.0,
                        shadow=(9, 10, 6),
                    )
                )
            s += float(rng.uniform(13, 19))
    return out


def trees(
    rng: Rng, road: Road, length: float, spacing: float, inner: float, spread: float
) -> list[Thing]:
    """A row of trees along both sides, `spread` metres deep from `inner` on."""
    out = []
    above = CURB_HEIGHT if road.walk else 0.0
    for sign, side in ((-1, road.left), (1, road.right)):
        s = float(rng.uniform(2, spacing))
        while s < length + 60:
            if free(road, s, 2):
                high = float(rng.lognormal(0, 0.28))
                t = side + sign * (inner + float(rng.uniform(0, 1)) * spread)
                out.append(Thing(
                    plants.tree(int(rng.integers(plants.TREES))), s, t, None, (high, high, high),
                    above=above, shadow=(3.5 * high, 3.5 * high, 5 * high) if spread < 8 else None,
                ))  # fmt: skip
            s += float(rng.uniform(0.6, 1.5)) * spacing
    return out
