"""Street lamps, signs and traffic lights along a road."""

import numpy as np

from training.data.roads import street
from training.data.roads.atmosphere import Atmosphere
from training.data.roads.layout import CURB_HEIGHT, Crossing, Road
from training.data.roads.mesh import Thing
from training.data.roads.plots import free
from training.data.roads.traffic import DET

LIGHT, SIGN = (DET["traffic light"],), (DET["traffic sign"],)
Rng = np.random.Generator


def posts(rng: Rng, road: Road, length: float, air: Atmosphere) -> list[Thing]:
    """Street lamps on one or both sides, utility poles on some."""
    out = []
    spacing, both = float(rng.uniform(24, 45)), bool(rng.random() < 0.5)
    above = CURB_HEIGHT if road.walk else 0.0
    for sign, side in ((-1, road.left), (1, road.right)):
        if sign < 0 and not both:
            continue
        for s in np.arange(float(rng.uniform(2, spacing)), length + 40, spacing):
            if free(road, float(s), 0):
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


def signed(
    rng: Rng, kind: str, s: float, t: float, above: float, height: float, scale: float = 1.0
) -> list[Thing]:
    """A sign on its post."""
    size = scale * float(rng.uniform(0.85, 1.15))
    plate = Thing(
        street.sign(kind, int(rng.integers(2))), s - 0.06, t, float(rng.normal(0, 0.08)),
        (size, size, size), above=above + height, kinds=SIGN, tracks=(-1,),
    )  # fmt: skip
    return [Thing(street.post(), s, t, 0.0, (1, height + 0.2, 1), above=above), plate]


def signs(rng: Rng, road: Road, length: float) -> list[Thing]:
    """Signs along the right edge."""
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
            out += signed(
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
    """The traffic lights of one junction: on arms at the far side, on a post at the near side."""
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


def junctions(rng: Rng, road: Road) -> list[Thing]:
    """Traffic lights or priority signs, and street names, at every crossing."""
    out: list[Thing] = []
    above = CURB_HEIGHT if road.walk else 0.0
    for crossing in road.crossings:
        lights = 0.88 if road.scene == "city street" else 0.15
        if crossing.width and rng.random() < lights:
            out += _signals(rng, road, crossing)
        elif crossing.width:
            out += signed(
                rng,
                "stop" if crossing.stop else "yield",
                crossing.s - 1.5,
                road.right + 0.7,
                above,
                2.2,
            )
        else:
            out += signed(rng, "warning", crossing.s - 4, road.right + 0.7, above, 2.3)
        if crossing.width:
            out += signed(
                rng, "street", crossing.s + crossing.width + 1.2, road.right + 1.2, above, 2.8
            )
    return out
