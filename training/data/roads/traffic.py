"""Places road users on a road: driving, waiting, parked, crossing, walking."""

from itertools import count

import numpy as np

from training.data.roads import people, vehicles
from training.data.roads.atmosphere import Atmosphere
from training.data.roads.chance import Rng, pick
from training.data.roads.layout import DRIVEN, LaneStrip, Road
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
    mesh = vehicles.vehicle(kind, lit, brake)
    return Thing(mesh, s, t, yaw, (size, size, size), _paint(rng), shadow=1.0, blocks=True)


def two_wheeler(rng: Rng, s: float, t: float, yaw: float, lit: bool, ridden: bool) -> Thing:
    motor = rng.random() < 0.4
    mesh = people.two_wheeler(motor, ridden, lit, int(rng.integers(8)))
    return Thing(mesh, s, t, yaw, paint=_paint(rng), shadow=1.0, blocks=ridden)


def pedestrian(
    rng: Rng, s: float, t: float, above: float = 0.0, speed: float = 0.0, drift: float = 0.0
) -> Thing:
    tall = rng.uniform(0.88, 1.08) * (0.68 if rng.random() < 0.07 else 1.0)
    wide = tall * float(rng.choice([-1.0, 1.0]))
    return Thing(
        people.pedestrian(int(rng.integers(people.VARIANTS))), s, t, None, (wide, tall, tall),
        above=above, speed=speed, drift=drift, shadow=1.0, blocks=drift != 0,
    )  # fmt: skip


def _lane_traffic(
    rng: Rng, lane: LaneStrip, road: Road, length: float, lit: bool, jam: float
) -> list[Thing]:
    out = []
    speed = SPEEDS[road.scene] * rng.uniform(0.75, 1.15) * (0.25 if jam < 12 else 1.0)
    loaded = {"highway": 0.16, "residential": 0.06}.get(road.scene, 0.13)
    sign = -1 if lane.kind == "opposite" else 1
    first = (9, 14 + jam) if lane.kind == "direct" else (-8, 2 * jam)
    s = rng.uniform(*first)
    while s < length:
        offset = rng.normal(0, 0.18)
        brake = rng.random() < (0.6 if jam < 12 else 0.25)
        yaw = rng.normal(0, 0.015) + (0.0 if sign > 0 else np.pi)
        if rng.random() < 0.04 and road.scene != "tunnel":
            t = lane.centre + sign * rng.uniform(0.5, 1.2)
            thing = two_wheeler(rng, s, t, yaw, lit, True)
        else:
            thing = vehicle(rng, s, lane.centre + offset, yaw, lit, loaded, brake)
        thing.speed = sign * speed
        out.append(thing)
        s += thing.size[0] + 3.0 + rng.exponential(jam)
    return out


def _parked(rng: Rng, lane: LaneStrip, road: Road, length: float) -> list[Thing]:
    out, s, full = [], -6.0, rng.uniform(0.35, 0.95)
    gaps = [crossing.gap for crossing in road.crossings]
    two_way = any(lane.kind == "opposite" for lane in road.lanes)
    back = np.pi if lane.left < 0 and two_way else 0.0
    while s < length:
        if rng.random() < full and not any(a - 3 < s < b + 4 for a, b in gaps):
            t, yaw = lane.centre + rng.normal(0, 0.1), rng.normal(back, 0.02)
            thing = vehicle(rng, s, t, yaw, False, 0.08)
            if thing.size[1] < 2.3 and thing.size[0] < 8:
                out.append(thing)
        s += rng.uniform(5.6, 7.2)
    return out


def _walkers(rng: Rng, road: Road, length: float) -> list[Thing]:
    out = []
    town = float(rng.choice([14, 28, 60]))
    spacing = {"city street": town, "residential": 70.0}.get(road.scene, 90.0)
    reach = max(0.8, road.walk or 1.5)
    for sign, side in road.sides:
        s = rng.uniform(4, spacing)
        while s < min(length, 400):
            for _ in range(int(rng.choice([1, 1, 2, 3]))):
                t = side + sign * rng.uniform(0.4, reach)
                at, speed = s + rng.normal(0, 0.8), float(rng.choice([-1.3, 0, 1.3]))
                out.append(pedestrian(rng, at, t, road.kerb, speed))
            s += rng.exponential(spacing) + 1
    for crossing in road.crossings:
        if crossing.zebra and rng.random() < 0.45:
            for _ in range(int(rng.integers(1, 5))):
                t = rng.uniform(road.left, road.right)
                drift = float(rng.choice([-1.3, 1.3]))
                s = crossing.s - rng.uniform(0.9, 3.3)
                out.append(pedestrian(rng, s, t, drift=drift))
    if road.scene == "city street" and rng.random() < 0.35:
        for _ in range(int(rng.integers(1, 4))):  # bicycles and motorcycles left at the kerb
            s, (sign, side) = rng.uniform(6, 60), road.sides[int(rng.choice([0, 1]))]
            yaw = rng.normal(0, 0.5)
            thing = two_wheeler(rng, s, side + sign * 0.7, yaw, False, False)
            thing.above = road.kerb
            out.append(thing)
    return out


def _cross_traffic(rng: Rng, road: Road, lit: bool) -> list[Thing]:
    out = []
    for crossing in road.crossings:
        if crossing.width < 6 or rng.random() < 0.4:
            continue
        for share, sign in ((0.72, -1), (0.28, 1)):
            s = crossing.s + crossing.width * share
            for _ in range(int(rng.integers(0, 3))):
                t = float(rng.uniform(5, 40) * rng.choice([-1, 1]))
                thing = vehicle(rng, s, t, sign * np.pi / 2, lit, 0.1)
                thing.drift = sign * 7.0
                out.append(thing)
    return out


def _lot(rng: Rng, road: Road) -> list[Thing]:
    out: list[Thing] = []
    if len(road.bays) < 4:
        return out
    pitch = road.bays[2][0] - road.bays[0][0]
    full = rng.uniform(0.4, 0.9)
    sideways = [np.pi / 2, -np.pi / 2]
    for start, near, far in road.bays:
        s = start + pitch / 2
        if rng.random() < full:
            yaw = float(rng.choice(sideways) + rng.normal(0, 0.03))
            out.append(vehicle(rng, s, (near + far) / 2, yaw, False, 0.08))
        if rng.random() < 0.5:  # a second row behind
            beyond = far + 2.6 if far > 0 else near - 2.6
            out.append(vehicle(rng, s, beyond, float(rng.choice(sideways)), False, 0.0))
    return [t for t in out if t.size[0] < 6]


def populate(rng: Rng, road: Road, length: float, air: Atmosphere) -> list[Thing]:
    """All road users of a road, with their track ids."""
    jam = pick(rng, {6.0: 0.22, 14.0: 0.33, 26.0: 0.3, 60.0: 0.15})
    jam *= 1.6 if road.scene == "highway" else 1.0
    out: list[Thing] = []
    for lane in road.lanes:
        if lane.kind == "parking":
            out += _parked(rng, lane, road, length)
        elif lane.kind in DRIVEN and road.scene != "parking lot":
            out += _lane_traffic(rng, lane, road, length, air.lamps, jam)
    if road.scene not in ("highway", "tunnel"):
        out += _walkers(rng, road, length) + _cross_traffic(rng, road, air.lamps)
    out += _lot(rng, road)
    ids = count()
    for thing in out:
        thing.tracks = tuple(next(ids) for _ in thing.mesh.kinds)
    return out
