"""Places road users on a road: driving, waiting, parked, crossing, walking."""

from itertools import count

import numpy as np

from training.data.roads import road_users
from training.data.roads.atmosphere import Atmosphere
from training.data.roads.chance import Rng, pick, spots
from training.data.roads.layout import DRIVEN, Crossing, LaneStrip, Road
from training.data.roads.mesh import Colour, Thing

PAINTS: dict[Colour, float] = {
    (0.78, 0.78, 0.78): 16, (0.08, 0.08, 0.08): 20, (0.42, 0.42, 0.41): 12, (0.6, 0.6, 0.6): 12,
    (0.2, 0.2, 0.2): 10, (0.1, 0.08, 0.45): 7, (0.4, 0.18, 0.08): 7, (0.25, 0.3, 0.33): 4,
    (0.85, 0.86, 0.86): 8, (0.12, 0.5, 0.8): 2, (0.22, 0.3, 0.16): 1, (0.5, 0.55, 0.6): 3,
}  # fmt: skip
CAR_ODDS = {"sedan": 0.38, "hatch": 0.14, "suv": 0.32, "van": 0.1, "coupe": 0.06}
HEAVY_ODDS = {"pickup": 0.42, "box": 0.26, "semi": 0.1, "bus": 0.17, "tram": 0.05}
SPEEDS = {
    "city street": 8.0,
    "residential": 6.0,
    "highway": 24.0,
    "tunnel": 17.0,
    "parking lot": 2.5,
    "gas stations": 6.0,
}


def _paint(rng: Rng) -> Colour:
    b, g, r = pick(rng, PAINTS)
    light = rng.uniform(0.85, 1.15)
    return b * light, g * light, r * light


def vehicle(
    rng: Rng, s: float, t: float, yaw: float, lit: bool, loaded: float, brake: bool = False
) -> Thing:
    """A random motor vehicle with heading `yaw` relative to the road.

    `loaded` is the share of trucks, buses and trams.
    """
    odds = HEAVY_ODDS if rng.random() < loaded else CAR_ODDS
    size = rng.uniform(0.95, 1.05)
    kind = pick(rng, odds)
    mesh = road_users.vehicle(kind, lit, brake)
    return Thing(mesh, s, t, yaw, (size, size, size), _paint(rng), shadow=1.0, blocks=True)


def two_wheeler(rng: Rng, s: float, t: float, yaw: float, lit: bool, ridden: bool) -> Thing:
    motor = rng.random() < 0.4
    mesh = road_users.two_wheeler(motor, ridden, lit, int(rng.integers(8)))
    return Thing(mesh, s, t, yaw, paint=_paint(rng), shadow=1.0, blocks=ridden)


def pedestrian(
    rng: Rng, s: float, t: float, above: float = 0.0, speed: float = 0.0, drift: float = 0.0
) -> Thing:
    tall = rng.uniform(0.88, 1.08) * (0.68 if rng.random() < 0.07 else 1.0)
    size = (tall * float(rng.choice([-1.0, 1.0])), tall, tall)
    mesh = road_users.pedestrian(int(rng.integers(road_users.VARIANTS)))
    thing = Thing(mesh, s, t, None, size, above=above, shadow=1.0, blocks=drift != 0)
    thing.speed, thing.drift = speed, drift
    return thing


def _lane_traffic(
    rng: Rng, lane: LaneStrip, road: Road, length: float, lit: bool, jam: float
) -> list[Thing]:
    out = []
    speed = SPEEDS[road.scene] * rng.uniform(0.75, 1.15) * (0.25 if jam < 12 else 1.0)
    loaded = {"highway": 0.16, "residential": 0.06}.get(road.scene, 0.13)
    sign, back = (-1, np.pi) if lane.kind == "opposite" else (1, 0.0)
    s = rng.uniform(9, 14 + jam) if lane.kind == "direct" else rng.uniform(-8, 2 * jam)
    while s < length:
        yaw = back + rng.normal(0, 0.015)
        if rng.random() < 0.04 and road.scene != "tunnel":
            t = lane.centre + sign * rng.uniform(0.5, 1.2)
            thing = two_wheeler(rng, s, t, yaw, lit, True)
        else:
            t, brake = lane.centre + rng.normal(0, 0.18), rng.random() < (0.6 if jam < 12 else 0.25)
            thing = vehicle(rng, s, t, yaw, lit, loaded, brake)
        thing.speed = sign * speed
        out.append(thing)
        s += thing.size[0] + 3.0 + rng.exponential(jam)
    return out


def _parked(rng: Rng, lane: LaneStrip, road: Road, length: float) -> list[Thing]:
    out, full = [], rng.uniform(0.35, 0.95)
    gaps = [crossing.gap for crossing in road.crossings]
    two_way = any(lane.kind == "opposite" for lane in road.lanes)
    back = np.pi if lane.left < 0 and two_way else 0.0
    for s in np.arange(-6, length, rng.uniform(6, 7)).tolist():
        if rng.random() < full and not any(a - 3 < s < b + 4 for a, b in gaps):
            t, yaw = lane.centre + rng.normal(0, 0.1), rng.normal(back, 0.02)
            out.append(vehicle(rng, s + rng.normal(0, 0.2), t, yaw, False, 0.08))
    return [thing for thing in out if thing.size[0] < 8]


def _walkers(rng: Rng, road: Road, length: float) -> list[Thing]:
    out = []
    town = float(rng.choice([14, 28, 60]))
    spacing = {"city street": town, "residential": 70.0}.get(road.scene, 90.0)
    for sign, side in road.sides:
        for s in spots(rng, 4, min(length, 400), spacing):
            for _ in range(rng.choice([1, 1, 2, 3])):
                t = side + sign * rng.uniform(0.4, road.walk or 1.5)
                at, speed = s + rng.normal(0, 0.8), float(rng.choice([-1.3, 0, 1.3]))
                out.append(pedestrian(rng, at, t, road.kerb, speed))
    for crossing in road.crossings:
        for _ in range(rng.integers(1, 5) if crossing.zebra and rng.random() < 0.45 else 0):
            s, t = crossing.s - rng.uniform(0.9, 3.3), rng.uniform(road.left, road.right)
            out.append(pedestrian(rng, s, t, drift=float(rng.choice([-1.3, 1.3]))))
    # Bicycles and motorcycles left at the kerb.
    for _ in range(rng.integers(0, 3) if road.scene == "city street" else 0):
        s, (sign, side) = rng.uniform(6, 60), road.sides[rng.integers(2)]
        thing = two_wheeler(rng, s, side + sign * 0.7, rng.normal(0, 0.5), False, False)
        thing.above = road.kerb
        out.append(thing)
    return out


def _cross_traffic(rng: Rng, crossing: Crossing, lit: bool) -> list[Thing]:
    out = []
    for share, sign in ((0.72, -1), (0.28, 1)):
        for _ in range(rng.integers(0, 3)):
            s, t = crossing.s + crossing.width * share, float(rng.choice([-1, 1]))
            thing = vehicle(rng, s, t * rng.uniform(5, 40), sign * np.pi / 2, lit, 0.1)
            thing.drift = sign * 7.0
            out.append(thing)
    return out


def _lot(rng: Rng, road: Road) -> list[Thing]:
    """Cars in the bays of a car park, and in a second row behind them."""
    out, full = [], rng.uniform(0.4, 0.9)
    for s, near, far in road.bays:
        for t in ((near + far) / 2, far + 2.6 if far > 0 else near - 2.6):
            if rng.random() < full:
                yaw = rng.normal(0, 0.03) + float(rng.choice([-1, 1])) * np.pi / 2
                out.append(vehicle(rng, s + 1.3, t, yaw, False, 0.04))  # half a bay further
    return [thing for thing in out if thing.size[0] < 6]


def populate(rng: Rng, road: Road, length: float, air: Atmosphere) -> list[Thing]:
    """All road users of a road, with their track ids."""
    jam = pick(rng, {6.0: 0.22, 14.0: 0.33, 26.0: 0.3, 60.0: 0.15})
    jam *= 1.6 if road.scene == "highway" else 1.0
    out = _lot(rng, road)
    for lane in road.lanes:
        if lane.kind == "parking":
            out += _parked(rng, lane, road, length)
        elif lane.kind in DRIVEN and not road.bays:
            out += _lane_traffic(rng, lane, road, length, air.lamps, jam)
    if road.scene not in ("highway", "tunnel"):
        out += _walkers(rng, road, length)
    for crossing in road.crossings:
        if crossing.width >= 6 and rng.random() < 0.6:
            out += _cross_traffic(rng, crossing, air.lamps)
    ids = count()
    for thing in out:
        thing.tracks = {kind: next(ids) for kind in thing.mesh.kinds}
    return out
