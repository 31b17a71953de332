"""Places road users on a road: driving, waiting, parked, crossing, walking."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from perception.classes import DETECTION
from training.data.roads import cycles, heavy, people, vehicles
from training.data.roads.atmosphere import Atmosphere
from training.data.roads.layout import CURB_HEIGHT, LaneStrip, Road
from training.data.roads.mesh import Colour, Thing

T = TypeVar("T")
DET = {name: index for index, name in enumerate(DETECTION)}
PAINTS: tuple[Colour, ...] = (
    (0.78, 0.78, 0.78), (0.08, 0.08, 0.08), (0.42, 0.42, 0.41), (0.6, 0.6, 0.6), (0.2, 0.2, 0.2),
    (0.1, 0.08, 0.45), (0.4, 0.18, 0.08), (0.25, 0.3, 0.33), (0.85, 0.86, 0.86), (0.12, 0.5, 0.8),
    (0.22, 0.3, 0.16), (0.5, 0.55, 0.6),
)  # fmt: skip
PAINT_ODDS = (16, 20, 12, 12, 10, 7, 7, 4, 8, 2, 1, 3)
CARS = ("sedan", "hatch", "suv", "van", "coupe")
SPEEDS = {
    "city street": 8.0,
    "residential": 6.0,
    "highway": 24.0,
    "tunnel": 17.0,
    "parking lot": 2.5,
    "gas stations": 6.0,
}


class TrackIds:
    """Consecutive track ids."""

    def __init__(self) -> None:
        self.last = -1

    def next(self) -> int:
        self.last += 1
        return self.last


def pick(rng: np.random.Generator, names: Sequence[T], odds: Sequence[float]) -> T:
    """One of `names` by their odds; about ten times as fast as Generator.choice."""
    at = rng.random() * sum(odds)
    for name, share in zip(names, odds, strict=True):
        at -= share
        if at < 0:
            return name
    return names[-1]


def _paint(rng: np.random.Generator) -> Colour:
    b, g, r = pick(rng, PAINTS, PAINT_ODDS)
    light = float(rng.uniform(0.85, 1.15))
    return b * light, g * light, r * light


def vehicle(
    rng: np.random.Generator,
    s: float,
    t: float,
    yaw: float,
    air: Atmosphere,
    tracks: TrackIds,
    parked: bool,
    loaded: float,
    brake: bool = False,
    cars_only: bool = False,
) -> Thing:
    """A random motor vehicle with heading `yaw` relative to the road."""
    lit = air.lamps and not parked
    brake = brake and not parked
    draw = 1.0 if cars_only else rng.random()
    size = float(rng.uniform(0.95, 1.05))
    rear_first = abs(np.cos(yaw / 2)) < 0.5
    if draw < loaded:
        kind = pick(rng, ("pickup", "box", "semi", "bus", "tram"), (0.42, 0.26, 0.1, 0.17, 0.05))
    else:
        kind = pick(rng, CARS, (0.38, 0.14, 0.32, 0.1, 0.06))
    if kind in CARS:
        mesh, name = vehicles.car(kind, lit, brake), "car"
        shape = vehicles.CARS[kind][:3]
    elif kind in ("bus", "tram"):
        mesh, name = heavy.bus(lit, brake, kind == "tram"), "bus" if kind == "bus" else "train"
        shape = (11.5, 2.55, 3.1) if kind == "bus" else (26.0, 2.5, 3.5)
    else:
        mesh, name = heavy.truck(kind, lit, brake, rear_first), "truck"
        shape = {"pickup": (5.6, 2.0, 1.8), "box": (7.0, 2.3, 3.3), "semi": (14.0, 2.5, 3.9)}[kind]
    return Thing(
        mesh, s, t, yaw, (size, size, size), _paint(rng), 0.0, (DET[name],), (tracks.next(),),
        shadow=(shape[0] * size, shape[1] * size, shape[2] * size), blocks=True,
        reach=(shape[0] if abs(np.cos(yaw)) > 0.7 else shape[1]) * size / 2,
    )  # fmt: skip


def two_wheeler(
    rng: np.random.Generator,
    s: float,
    t: float,
    yaw: float,
    lit: bool,
    tracks: TrackIds,
    ridden: bool,
) -> Thing:
    motor = bool(rng.random() < 0.4)
    mesh = cycles.two_wheeler(motor, ridden, lit, int(rng.integers(8)))
    kinds = (DET["motorcycle" if motor else "bicycle"], *((DET["rider"],) if ridden else ()))
    ids = tuple(tracks.next() for _ in kinds)
    return Thing(
        mesh,
        s,
        t,
        yaw,
        (1, 1, 1),
        _paint(rng),
        0.0,
        kinds,
        ids,
        shadow=(1.7, 0.5, 1.5),
        blocks=ridden,
    )


def pedestrian(
    rng: np.random.Generator,
    s: float,
    t: float,
    tracks: TrackIds,
    above: float,
    speed: float = 0.0,
    drift: float = 0.0,
) -> Thing:
    tall = float(rng.uniform(0.88, 1.08)) * (0.68 if rng.random() < 0.07 else 1.0)
    wide = tall * float(rng.choice([-1.0, 1.0]))
    mesh = people.pedestrian(int(rng.integers(people.VARIANTS)))
    return Thing(
        mesh, s, t, None, (wide, tall, tall), (0.5, 0.5, 0.5), above, (DET["pedestrian"],),
        (tracks.next(),), speed, drift, shadow=(0.35, 0.5, 1.7 * tall), blocks=drift != 0,
    )  # fmt: skip


def _lane_traffic(
    rng: np.random.Generator,
    lane: LaneStrip,
    road: Road,
    length: float,
    air: Atmosphere,
    tracks: TrackIds,
    jam: float,
) -> list[Thing]:
    out = []
    speed = SPEEDS[road.scene] * float(rng.uniform(0.75, 1.15)) * (0.25 if jam < 12 else 1.0)
    loaded = {"highway": 0.16, "residential": 0.06}.get(road.scene, 0.13)
    onward = lane.kind != "opposite"
    own = lane.kind == "direct"
    s = float(rng.uniform(9, 14 + jam)) if own else float(rng.uniform(-8, 2 * jam))
    while s < length:
        offset = float(rng.normal(0, 0.18))
        brake = bool(rng.random() < (0.6 if jam < 12 else 0.25))
        yaw = float(rng.normal(0, 0.015)) + (0.0 if onward else np.pi)
        if rng.random() < 0.04 and road.scene != "tunnel":
            side = float(rng.uniform(0.5, 1.2)) if onward else -float(rng.uniform(0.5, 1.2))
            thing = two_wheeler(rng, s, lane.centre + side, yaw, air.lamps, tracks, True)
        else:
            thing = vehicle(rng, s, lane.centre + offset, yaw, air, tracks, False, loaded, brake)
        thing.speed = speed if onward else -speed
        out.append(thing)
        room = thing.shadow[0] if thing.shadow else 5.0
        s += room + 3.0 + float(rng.exponential(jam))
    return out


def _parked(
    rng: np.random.Generator,
    lane: LaneStrip,
    road: Road,
    length: float,
    air: Atmosphere,
    tracks: TrackIds,
) -> list[Thing]:
    out, s, full = [], -6.0, float(rng.uniform(0.35, 0.95))
    while s < length:
        if rng.random() < full and not any(
            a - 3 < s < b + 4 for a, b in map(Road.gap, road.crossings)
        ):
            back = (
                np.pi
                if lane.left < 0 and any(lane.kind == "opposite" for lane in road.lanes)
                else 0.0
            )
            thing = vehicle(
                rng,
                s,
                lane.centre + float(rng.normal(0, 0.1)),
                float(rng.normal(back, 0.02)),
                air,
                tracks,
                True,
                0.08,
            )
            if thing.shadow and thing.shadow[1] < 2.3 and thing.shadow[0] < 8:
                out.append(thing)
        s += float(rng.uniform(5.6, 7.2))
    return out


def _walkers(rng: np.random.Generator, road: Road, length: float, tracks: TrackIds) -> list[Thing]:
    out = []
    spacing = {"city street": float(rng.choice([14, 28, 60])), "residential": 70.0}.get(
        road.scene, 90.0
    )
    edge = road.walk or 1.5
    for sign, side in ((-1, road.left), (1, road.right)):
        s = float(rng.uniform(4, spacing))
        while s < min(length, 400):
            for _ in range(int(rng.choice([1, 1, 2, 3]))):
                t = side + sign * float(rng.uniform(0.4, max(0.8, edge)))
                out.append(
                    pedestrian(
                        rng,
                        s + float(rng.normal(0, 0.8)),
                        t,
                        tracks,
                        CURB_HEIGHT if road.walk else 0.0,
                        float(rng.choice([-1.3, 0, 1.3])),
                    )
                )
            s += float(rng.exponential(spacing)) + 1
    for crossing in road.crossings:
        if crossing.zebra and rng.random() < 0.45:
            for _ in range(int(rng.integers(1, 5))):
                t = float(rng.uniform(road.left, road.right))
                drift = float(rng.choice([-1.3, 1.3]))
                out.append(
                    pedestrian(
                        rng, crossing.s - float(rng.uniform(0.9, 3.3)), t, tracks, 0.0, 0.0, drift
                    )
                )
    if road.scene == "city street" and rng.random() < 0.35:
        for _ in range(int(rng.integers(1, 4))):  # bicycles and motorcycles left at the kerb
            s, sign = float(rng.uniform(6, 60)), int(rng.choice([-1, 1]))
            side = road.right if sign > 0 else road.left
            thing = two_wheeler(
                rng, s, side + sign * 0.7, float(rng.normal(0, 0.5)), False, tracks, False
            )
            thing.above, thing.blocks = CURB_HEIGHT, False
            out.append(thing)
    return out


def _cross_traffic(
    rng: np.random.Generator, road: Road, air: Atmosphere, tracks: TrackIds
) -> list[Thing]:
    out = []
    for crossing in road.crossings:
        if crossing.width < 6 or rng.random() < 0.4:
            continue
        for share, yaw in ((0.72, -np.pi / 2), (0.28, np.pi / 2)):
            s = crossing.s + crossing.width * share
            for _ in range(int(rng.integers(0, 3))):
                t = float(rng.uniform(5, 40) * rng.choice([-1, 1]))
                thing = vehicle(rng, s, t, yaw, air, tracks, False, 0.1)
                thing.drift = 7.0 if yaw > 0 else -7.0
                out.append(thing)
    return out


def _lot(
    rng: np.random.Generator, road: Road, length: float, air: Atmosphere, tracks: TrackIds
) -> list[Thing]:
    out: list[Thing] = []
    if len(road.bays) < 4:
        return out
    pitch = road.bays[2][0] - road.bays[0][0]
    full = float(rng.uniform(0.4, 0.9))
    for s, near, far in road.bays:
        if rng.random() < full:
            yaw = float(rng.choice([np.pi / 2, -np.pi / 2]) + rng.normal(0, 0.03))
            out.append(vehicle(rng, s + pitch / 2, (near + far) / 2, yaw, air, tracks, True, 0.08))
        if rng.random() < 0.5:  # a second row behind
            beyond = far + 2.6 if far > 0 else near - 2.6
            out.append(
                vehicle(
                    rng,
                    s + pitch / 2,
                    beyond,
                    float(rng.choice([np.pi / 2, -np.pi / 2])),
                    air,
                    tracks,
                    True,
                    0.0,
                )
            )
    return [t for t in out if t.shadow and t.shadow[0] < 6]


def populate(rng: np.random.Generator, road: Road, length: float, air: Atmosphere) -> list[Thing]:
    """All road users of a road."""
    tracks = TrackIds()
    jam = float(rng.choice([6, 14, 26, 60], p=[0.22, 0.33, 0.3, 0.15])) * (
        1.6 if road.scene == "highway" else 1.0
    )
    out: list[Thing] = []
    for lane in road.lanes:
        if lane.kind == "parking":
            out += _parked(rng, lane, road, length, air, tracks)
        elif lane.kind != "shoulder" and road.scene != "parking lot":
            out += _lane_traffic(rng, lane, road, length, air, tracks, jam)
    if road.scene not in ("highway", "tunnel"):
        out += _walkers(rng, road, length, tracks)
        out += _cross_traffic(rng, road, air, tracks)
    out += _lot(rng, road, length, air, tracks)
    return out
