"""A drive: one road with everything on it, and the camera that travels along it."""

from dataclasses import dataclass, replace

import numpy as np

from training.data.roads import effects, plans, scenery, traffic
from training.data.roads.atmosphere import Atmosphere, atmosphere
from training.data.roads.camera import Camera, Curve, Viewpoint
from training.data.roads.chance import pick
from training.data.roads.effects import DashCam
from training.data.roads.layout import Road
from training.data.roads.mesh import Thing

# Odds of the frame attributes: those of BDD100K, with the rare ones increased.
# Of the weather by day and by night, when clouds are hardly visible.
WEATHER = {
    "clear": (0.38, 0.6),
    "partly cloudy": (0.14, 0.03),
    "overcast": (0.17, 0.12),
    "rainy": (0.13, 0.14),
    "snowy": (0.12, 0.08),
    "foggy": (0.06, 0.03),
}
TIMES = {"daytime": 0.55, "night": 0.31, "dawn/dusk": 0.14}
SCENES = {
    "city street": 0.52, "highway": 0.25, "residential": 0.13, "parking lot": 0.04, "tunnel": 0.03,
    "gas stations": 0.03,
}  # fmt: skip
SIGHT = 170.0


@dataclass
class Drive:
    """A road with its static objects and road users, the air, and the camera."""

    attributes: dict[str, str]
    road: Road
    things: list[Thing]
    air: Atmosphere
    device: DashCam
    camera: Camera
    bend: tuple[float, float] = (0.0, 0.0)  # strength, phase
    lift: tuple[float, float] = (0.0, 0.0)
    yaw: float = 0.0
    offset: float = 0.0
    tone: float = 1.0
    speed: float = 0.0

    def view(self, s: float) -> Viewpoint:
        """The camera s metres along the drive; the curvature of the road changes slowly."""
        bend = self.bend[0] * np.cos(s / 140 + self.bend[1])
        lift = self.lift[0] * np.cos(s / 120 + self.lift[1])
        sway = 0.12 * np.sin(s / 31 + self.bend[1])
        yaw = self.yaw + 0.006 * float(np.sin(s / 23))
        curve = Curve(yaw, float(bend), float(lift))
        return Viewpoint(self.camera, curve, s, float(self.offset + sway))

    def step(self, seconds: float, s: float) -> float:
        """Advances all moving things by `seconds`; returns the new s of the camera."""
        moving = [t for t in self.things if t.speed or t.drift]
        own = [t.s for t in moving if t.speed > 0 and abs(t.t) < 1.5 and t.s > s]
        speed = self.speed
        if own and min(own) - s < 9 + 0.6 * self.speed:
            speed = max(0.0, 0.7 * (min(own) - s - 9) / 0.6)
        ahead = sorted((t for t in moving if t.speed > 0 and t.blocks), key=lambda t: -t.s)
        front: dict[int, float] = {}
        for thing in ahead:
            lane = round(thing.t / 3)
            room = front.get(lane, np.inf) - thing.s - thing.size[0]
            thing.s += min(thing.speed, max(0.0, room)) * seconds
            front[lane] = thing.s
        for thing in moving:
            if not (thing.speed > 0 and thing.blocks):
                thing.s += thing.speed * seconds
            thing.t += thing.drift * seconds
        return s + min(speed, self.speed) * seconds


def _camera(rng: np.random.Generator, size_hw: tuple[int, int]) -> Camera:
    h, w = size_hw
    view = np.radians(np.clip(rng.normal(61, 8), 48, 88))
    return Camera(
        size_hw,
        focal=float(w / 2 / np.tan(view / 2)),
        centre_xy=(w / 2, h * float(np.clip(rng.normal(0.49, 0.04), 0.4, 0.58))),
        height=rng.uniform(1.2, 1.65),
        pitch=rng.normal(0.0, 0.015),
        roll=rng.normal(0, 0.007),
    )


def build(seed: int, index: int, size_hw: tuple[int, int], travel: float = 0.0) -> Drive:
    """The drive of (seed, index), long enough to travel `travel` metres."""
    rng = np.random.default_rng((seed, index))
    timeofday = pick(rng, TIMES)
    night = timeofday == "night"
    weather = pick(rng, {name: odds[night] for name, odds in WEATHER.items()})
    scene = pick(rng, SCENES)
    attributes = {"weather": weather, "scene": scene, "timeofday": timeofday}
    air = atmosphere(rng, weather, timeofday)
    length = SIGHT + travel
    if scene == "tunnel":
        air = replace(air, wet=0.0, snow=0.0)
    road = plans.plan(rng, scene, length)
    straight = scene in ("city street", "parking lot", "gas stations") and rng.random() < 0.75
    bend = rng.normal(0, 0.00015 if straight else 0.0012 if scene == "highway" else 0.0018)
    things = scenery.furnish(rng, road, length, air)
    return Drive(
        attributes, road, things + traffic.populate(rng, road, length, air), air,
        effects.sensor(rng, timeofday), _camera(rng, size_hw),
        bend=(bend, rng.uniform(0, 6.28)),
        lift=(rng.normal(0, 0.00012), rng.uniform(0, 6.28)),
        yaw=rng.normal(0, 0.025),
        offset=rng.normal(0, 0.3),
        tone=rng.uniform(0.7, 1.35),
        speed=traffic.SPEEDS[scene] * rng.uniform(0.7, 1.1),
    )  # fmt: skip
