"""Street lamps, signs and traffic lights along a road."""

import numpy as np

from perception.classes import DETECTION
from training.data.roads import street
from training.data.roads.atmosphere import Atmosphere
from training.data.roads.layout import Crossing, Road
from training.data.roads.mesh import Thing

LIGHT, SIGN = (DETECTION.index("traffic light"),), (DETECTION.index("traffic sign"),)
# The second looks of signs that have two.
OTHER = {"parking": "no parking", "street": "green street"}
TOWN_SIGNS = ("parking", "parking", "no entry", "speed", "arrow", "back", "warning")
HIGHWAY_SIGNS = ("speed", "warning", "back")
Rng = np.random.Generator


def posts(rng: Rng, road: Road, length: float, air: Atmosphere) -> list[Thing]:
    """Street lamps on one or both sides, utility poles on some."""
    out = []
    spacing, both = float(rng.uniform(24, 45)), bool(rng.random() < 0.5)
    lamp = 5.5 if air.lamps else 0.0
    for sign, side in road.sides if both else road.sides[1:]:
        mesh = street.lamp_post(air.lamps, -sign)
        for s in np.arange(float(rng.uniform(2, spacing)), length + 40, spacing).tolist():
            if road.free(s, 0):
                out.append(Thing(mesh, s, side + sign * 0.7, above=road.kerb, lamp=lamp))
    if road.scene in ("residential", "gas stations") or rng.random() < 0.2:
        sign, side = road.sides[int(rng.choice([0, 1]))]
        for s in np.arange(float(rng.uniform(2, 30)), length + 40, 34.0).tolist():
            out.append(Thing(street.utility_pole(), s, side + sign * 1.1, above=road.kerb))
    return out


def plate(kind: str, s: float, t: float, above: float, size: float, yaw: float = 0.0) -> Thing:
    """A sign without a post."""
    return Thing(street.sign(kind), s, t, yaw, (size, size, size), above=above, kinds=SIGN)


def _look(rng: Rng, kind: str) -> str:
    return (kind, OTHER.get(kind, kind))[rng.integers(2)]


def signed(
    rng: Rng, kind: str, s: float, t: float, above: float, height: float, scale: float = 1.0
) -> list[Thing]:
    """A sign on its post."""
    size = scale * float(rng.uniform(0.85, 1.15))
    look, yaw = _look(rng, kind), float(rng.normal(0, 0.08))
    post = Thing(street.post(), s, t, 0.0, (1, height + 0.2, 1), above=above)
    return [post, plate(look, s - 0.06, t, above + height, size, yaw)]


def signs(rng: Rng, road: Road, length: float) -> list[Thing]:
    """Signs along both edges."""
    out = []
    town = road.scene not in ("highway", "tunnel")
    spacing = float(rng.uniform(14, 40)) if town else 70.0
    kinds, scale = (TOWN_SIGNS, 1.0) if town else (HIGHWAY_SIGNS, 1.5)
    for sign, side in road.sides:
        s = float(rng.uniform(4, spacing))
        while s < length:
            kind = str(rng.choice(kinds))
            t, height = side + sign * float(rng.uniform(0.4, 1.2)), float(rng.uniform(2.1, 2.7))
            out += signed(rng, kind, s, t, road.kerb, height, scale)
            s += float(rng.exponential(spacing)) + 4
    return out


def _signals(rng: Rng, road: Road, crossing: Crossing) -> list[Thing]:
    """The traffic lights of one junction: on arms at the far side, on a post at the near side."""
    out: list[Thing] = []
    state = str(rng.choice(["red", "green", "amber"], p=[0.45, 0.45, 0.1]))

    def pole(s: float, t: float, arm: float = 0.0) -> None:
        out.append(Thing(street.signal_pole(arm), s, t, above=road.kerb))

    def head(s: float, t: float, y: float, back: bool = False) -> None:
        mesh, yaw = street.signal(state, back), float(rng.normal(0, 0.06))
        out.append(Thing(mesh, s, t, yaw, above=road.kerb + y, kinds=LIGHT))

    far, near = crossing.s + crossing.width + 1.0, crossing.s - 1.0
    right, left = road.right + 0.8, road.left - 0.8
    arm = float(rng.choice([0.0, 4.0, 6.5], p=[0.25, 0.35, 0.4]))
    pole(far, right, -arm)
    head(far - 0.2, right - 0.3, 3.0)
    if arm:
        head(far - 0.2, right - arm + 0.3, 5.4)
        if rng.random() < 0.85:
            head(far - 0.2, right - arm * 0.5, 5.4)
        out.append(plate(_look(rng, "street"), far - 0.2, right - 1.4, road.kerb + 5.6, 1.0))
    pole(far, left, arm)
    head(far - 0.2, left + 0.3, 3.0)
    if arm and rng.random() < 0.8:
        head(far - 0.2, left + arm - 0.3, 5.4)
    if rng.random() < 0.8:
        pole(near, right)
        head(near - 0.2, right, 3.1)
    head(near, left, 3.1, back=True)
    pole(near, left)
    return out


def junctions(rng: Rng, road: Road) -> list[Thing]:
    """Traffic lights or priority signs, and street names, at every crossing."""
    out: list[Thing] = []
    lights = 0.88 if road.scene == "city street" else 0.15
    for crossing in road.crossings:
        s, t = crossing.s, road.right + 0.7
        if not crossing.width:
            out += signed(rng, "warning", s - 4, t, road.kerb, 2.3)
            continue
        if rng.random() < lights:
            out += _signals(rng, road, crossing)
        else:
            out += signed(rng, "stop" if crossing.stop else "yield", s - 1.5, t, road.kerb, 2.2)
        out += signed(rng, "street", s + crossing.width + 1.2, road.right + 1.2, road.kerb, 2.8)
    return out
