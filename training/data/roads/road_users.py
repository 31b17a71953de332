"""Meshes of road users: motor vehicles, bicycles and motorcycles, and pedestrians; in metres."""

from functools import lru_cache

import numpy as np

from training.data.roads.mesh import BLACK, BODY, Builder, Colour, Mesh, Paint

GLASS: Colour = (0.27, 0.24, 0.21)
RUBBER: Colour = (0.05, 0.05, 0.05)
DARK: Colour = (0.1, 0.1, 0.1)
RED: Colour = (0.08, 0.06, 0.55)
LAMP: Colour = (0.8, 0.85, 0.85)
PLATE: Colour = (0.75, 0.75, 0.75)
SKINS: tuple[Colour, ...] = ((0.52, 0.62, 0.8), (0.35, 0.45, 0.62), (0.18, 0.26, 0.38))
SHIRTS: tuple[Colour, ...] = (
    (0.12, 0.12, 0.13), (0.45, 0.25, 0.15), (0.75, 0.75, 0.75), (0.15, 0.15, 0.5),
    (0.2, 0.35, 0.2), (0.15, 0.5, 0.7), (0.3, 0.3, 0.32), (0.5, 0.45, 0.4),
)  # fmt: skip
TROUSERS: tuple[Colour, ...] = (
    (0.3, 0.2, 0.14), (0.1, 0.1, 0.1), (0.35, 0.4, 0.45), (0.2, 0.2, 0.22),
)  # fmt: skip
SHOE: Colour = (0.08, 0.08, 0.08)
VARIANTS = 24
# length, width, height, belt height, hood end, windscreen base, roof front, roof rear, rear base
CARS = {
    "sedan": (4.7, 1.82, 1.45, 0.93, 0.70, 0.95, 0.25, -1.05, -1.70),
    "hatch": (4.1, 1.76, 1.50, 0.95, 0.72, 0.95, 0.35, -1.45, -1.90),
    "suv": (4.7, 1.92, 1.75, 1.08, 0.88, 0.98, 0.40, -1.85, -2.20),
    "van": (5.0, 1.98, 1.98, 1.15, 0.95, 1.60, 0.95, -2.35, -2.45),
    "coupe": (4.5, 1.82, 1.34, 0.88, 0.66, 0.75, 0.05, -0.85, -1.85),
    "pickup": (5.6, 2.0, 1.86, 1.12, 1.0, 1.15, 0.55, -0.25, -0.4),
}
# length, width, height
SIZES = {kind: shape[:3] for kind, shape in CARS.items()} | {
    "box": (7.0, 2.3, 3.3),
    "semi": (14.0, 2.5, 3.9),
    "bus": (11.5, 2.55, 3.1),
    "tram": (26.0, 2.5, 3.5),
}
# Kinds that are not of the class car.
CLASSES = {"pickup": "truck", "box": "truck", "semi": "truck", "bus": "bus", "tram": "train"}


@lru_cache
def vehicle(kind: str, lit: bool, brake: bool) -> Mesh:
    """A motor vehicle of one of SIZES."""
    length, width, top = SIZES[kind]
    b = Builder(kind=CLASSES.get(kind, "car"), tile="sheen")
    if kind in CARS:
        _car(b, kind, lit, brake)
    elif kind in ("bus", "tram"):
        _bus(b, width / 2, length / 2, top, lit, brake)
    else:
        _truck(b, width / 2, length / 2, top, lit, brake)
    return b.build()


def wheels(b: Builder, half: float, axles: tuple[float, ...], radius: float) -> None:
    for z in axles:
        for sign in (-1, 1):
            out = (sign, 0, 0)
            b.disc(sign * (half + 0.01), radius, z, radius, RUBBER, out)
            b.disc(sign * (half + 0.02), radius, z, radius * 0.6, (0.45, 0.45, 0.45), out, 8)


def tyres(b: Builder, half: float, ends: tuple[float, float], top: float) -> None:
    """The tyres and the underside as seen from behind and from the front."""
    for z, out in zip(ends, (-1, 1), strict=True):
        b.rect((-half, half), (0.16, top), z, (0.03, 0.03, 0.03), out, tile="flat")
        for x in ((-half, -half + 0.22), (half - 0.22, half)):
            b.rect(x, (0, top), z, RUBBER, out, tile="flat")


def lamps(
    b: Builder, x: float, w: float, y: float, h: float, z: float, lit: bool, brake: bool = False
) -> None:
    """Two lamps with outer edges at ±x: tail lamps at z < 0, otherwise head lamps."""
    if z > 0:
        colour, out, glow = LAMP, 1, (2.4, 2.6, 2.6) if lit else BLACK
    else:
        colour, out = RED, -1
        glow = (0.25, 0.2, 2.2) if brake else (0.06, 0.05, 0.9) if lit else BLACK
    for sign in (-1, 1):
        b.rect((sign * x, sign * (x - w)), (y, y + h), z, colour, out, glow, "flat")


def _ends(b: Builder, half: float, ends: tuple[float, float], y: float) -> None:
    """Bumpers, number plates and the grille."""
    for z, out in zip(ends, (-1, 1), strict=True):
        b.rect((-half, half), (0.2, y - 0.26), z, DARK, out, tile="flat")
        b.rect((-0.27, 0.27), (y - 0.24, y - 0.1), z, PLATE, out, tile="flat")
    b.rect((-0.5, 0.5), (y - 0.06, y + 0.08), ends[1], DARK, 1, tile="flat")


def cabin(
    b: Builder, half: float, belt: float, top: float, zs: tuple[float, float, float, float]
) -> None:
    """The cabin with its windows: (rear base, rear top, front top, front base) along z."""
    r0, r1, f1, f0 = zs
    low, high = half * 0.93, half * 0.76
    b.prism([(r0, belt), (r1, top), (f1, top), (f0, belt)], [low, high, high, low], BODY)
    inset = 0.1
    for z0, z1, out in ((r0, r1, -1), (f0, f1, 1)):
        dz, dy = z1 - z0, top - belt
        za, zb = z0 + dz * inset + out * 0.01, z0 + dz * (1 - inset) + out * 0.01
        ya, yb, xa, xb = belt + dy * inset, top - dy * inset, low * 0.9, high * 0.92
        pane = [(-xa, ya, za), (xa, ya, za), (xb, yb, zb), (-xb, yb, zb)]
        b.face(pane, GLASS, (0, 0.2, out))
    span, mid = f0 - r0, 0.45 * (f0 + r0) + 0.1
    ya, yb = belt + 0.05, top - 0.08
    for sign in (-1, 1):
        xa, xb = sign * (low * 0.985 + 0.012), sign * (high * 1.03 + 0.012)
        for a0, a1, c0, c1 in (
            (r0 + 0.06 * span, mid - 0.04, r1 + 0.05 * span, mid - 0.04),
            (mid + 0.04, f0 - 0.08 * span, mid + 0.04, f1 - 0.03 * span),
        ):
            pane = [(xa, ya, a0), (xa, ya, a1), (xb, yb, max(c1, c0 + 0.05)), (xb, yb, c0)]
            b.face(pane, GLASS, (sign, 0.2, 0))


def _car(b: Builder, kind: str, lit: bool, brake: bool) -> None:
    length, width, top, belt, hood, f0, f1, r1, r0 = CARS[kind]
    half, rear, front = width / 2, -length / 2, length / 2
    tyres(b, half - 0.06, (rear + 0.35, front - 0.35), 0.5)
    profile = [
        (rear + 0.08, 0.3), (rear, 0.55), (rear + 0.06, belt * 0.97), (r0 + 0.05, belt),
        (f0, belt), (front - 0.25, hood), (front, hood - 0.18), (front - 0.08, 0.27),
    ]  # fmt: skip
    b.prism(profile, [half * w for w in (1, 1, 0.97, 0.97, 0.97, 0.94, 0.94, 1)], BODY)
    wheels(b, half, (rear + 0.85, front - 0.9), 0.27 * belt + 0.08)
    _ends(b, half * 0.9, (rear - 0.012, front + 0.012), 0.68)
    lamps(b, half * 0.97, 0.34, belt * 0.73, 0.15, rear - 0.014, lit, brake)
    lamps(b, half * 0.97, 0.34, belt * 0.73 - 0.12, 0.15, front + 0.014, lit)
    cabin(b, half, belt - 0.01, top, (r0, r1, f1, f0))
    if brake:
        y = (belt + 0.03, belt + 0.08)
        b.rect((-0.2, 0.2), y, r0 + 0.1, RED, -1, (0.2, 0.2, 1.8), "flat")


def _truck(b: Builder, half: float, front: float, top: float, lit: bool, brake: bool) -> None:
    """A box or a trailer, then the cab without a rear face, which would be painted over the box."""
    rear, z, gap, roof = -front, -front - 0.012, front - 2.3, 0.8 * top
    tyres(b, half - 0.05, (rear + 0.6, front - 0.5), 0.9)
    b.box((-half, half), (0.95, top), (rear, gap), (0.72, 0.73, 0.72), tile="metal")
    y = (1.05, top - 0.1)
    b.rect((-half * 0.94, half * 0.94), y, z, (0.6, 0.6, 0.6), -1, tile="metal")
    b.rect((-half, half), (0.5, 0.95), z, DARK, -1)
    b.rect((-0.02, 0.02), y, z - 0.01, DARK, -1)
    middle = (top + 0.95) / 2
    for sign in (-1, 1):
        advert = (middle - 0.5, middle + 0.6), (rear + 0.8, front - 3.2)
        b.rect(sign * (half + 0.012), *advert, BODY, sign, tile="text")
    lamps(b, half * 0.98, 0.16, 0.6, 0.2, z - 0.01, lit, brake)
    b.prism([(gap, roof), (front, roof), (front, 0.55), (gap, 0.55)], [half] * 4, BODY)
    axles = (rear + 1.2, rear + 2.3) if front > 5 else (rear + 1.4,)
    wheels(b, half, (*axles, front - 1.0), 0.5)
    low, high, z = roof * 0.55, roof * 0.88, front + 0.012
    b.rect((-half * 0.9, half * 0.9), (low, high), z, GLASS, 1)
    b.rect((-half * 0.6, half * 0.6), (0.8, low - 0.15), z, DARK, 1)
    for sign in (-1, 1):
        b.rect(sign * (half + 0.012), (low, high), (front - 1.5, front - 0.3), GLASS, sign)
    lamps(b, half * 0.95, half * 0.3, 0.75, 0.2, z, lit)


def _bus(b: Builder, half: float, front: float, top: float, lit: bool, brake: bool) -> None:
    """A city bus, or a tram of the same shape, but longer."""
    rear = -front
    tyres(b, half - 0.05, (rear + 0.5, front - 0.5), 0.6)
    b.box((-half, half), (0.35, top), (rear, front), BODY)
    wheels(b, half, (rear + 2.6, front - 2.6), 0.48)
    count = int(2 * front / 1.5)
    pitch = (2 * front - 0.4) / count
    inside = (0.16, 0.2, 0.2) if lit else BLACK
    for sign in (-1, 1):
        for i in range(count):
            pane = (rear + 0.2 + i * pitch, rear + 0.1 + (i + 1) * pitch)
            b.rect(sign * (half + 0.012), (1.35, top - 0.55), pane, GLASS, sign, inside)
    for z, out, low in ((rear - 0.012, -1, 1.7), (front + 0.012, 1, 1.1)):
        glow = (0.12, 0.15, 0.15) if lit else BLACK
        b.rect((-half * 0.88, half * 0.88), (low, top - 0.6), z, GLASS, out, glow)
        b.rect((-0.7, 0.7), (top - 0.5, top - 0.2), z, DARK, out, (0.05, 0.45, 0.9), "text")
        b.rect((-half, half), (0.35, 0.62), z, DARK, out)
    lamps(b, half * 0.97, 0.3, 0.85, 0.22, rear - 0.02, lit, brake)
    lamps(b, half * 0.97, 0.3, 0.73, 0.22, front + 0.02, lit)


def _limb(
    b: Builder, start: tuple[float, float], end: tuple[float, float], thick: float, colour: Paint
) -> None:
    a, c = np.array(start), np.array(end)
    along = (c - a) / (np.linalg.norm(c - a) + 1e-6)
    side = np.array([-along[1], along[0]]) * thick / 2
    b.flat(np.array([a + side, c + side * 0.75, c - side * 0.75, a - side]), colour)


@lru_cache
def pedestrian(variant: int) -> Mesh:
    """A walking or standing person 1.75 m tall."""
    rng = np.random.default_rng((77, variant))
    skin = SKINS[rng.integers(len(SKINS))]
    shirt = SHIRTS[rng.integers(len(SHIRTS))]
    legs = TROUSERS[rng.integers(len(TROUSERS))]
    b = Builder(kind="person")
    stride = rng.choice([0.06, 0.2, 0.32]) * rng.choice([-1, 1])
    toe = np.sign(stride)
    wide = rng.uniform(0.36, 0.46)
    for sign in (-1, 1):
        foot, knee = sign * stride, sign * (0.08 + stride * 0.4)
        shade = np.multiply(legs, 0.75 if sign < 0 else 1.0)
        _limb(b, (sign * 0.08, 0.9), (knee, 0.48), 0.19, shade)
        _limb(b, (knee, 0.52), (foot, 0.06), 0.14, shade)
        heel = foot - 0.07
        b.flat([(heel, 0), (foot + 0.15 * toe, 0), (foot + 0.12 * toe, 0.08), (heel, 0.1)], SHOE)
    if rng.random() < 0.3:  # a bag on the back
        _limb(b, (-wide * 0.6, 1.4), (-wide * 0.6, 1.0), 0.2, (0.15, 0.12, 0.12))
    for sign in (-1, 1):
        arm = np.multiply(shirt, 0.7 if sign < 0 else 0.92)
        hand = sign * (wide * 0.55 + abs(stride) * 0.3)
        _limb(b, (sign * wide * 0.48, 1.42), (hand, 0.86), 0.12, arm)
    waist, chest = wide * 0.38, wide * 0.5
    hem = 0.55 if rng.random() < 0.25 else 0.86
    half = [(waist, hem), (chest, 1.2), (chest * 0.95, 1.43), (0.06, 1.5)]
    b.flat([(-waist, hem), *half, *((-x, y) for x, y in half[:0:-1])], shirt)
    b.disc(0, 1.53, 0, 0.06, skin, (0, 0, -1), 6)
    b.disc(0, 1.63, 0, 0.115, skin, (0, 0, -1), 10)
    hair = (0.06, 0.07, 0.1) if rng.random() < 0.75 else (0.25, 0.4, 0.5)
    b.disc(0, 1.7, 0, 0.08, hair, (0, 0, -1), 10)
    return b.build()


@lru_cache
def two_wheeler(motor: bool, rider: bool, lit: bool, paint_seed: int) -> Mesh:
    """A bicycle or motorcycle, with its rider; visible from every side."""
    b = Builder(kind="motorcycle" if motor else "bicycle")
    r, base, w = (0.31, 0.7, 0.07) if motor else (0.34, 0.53, 0.03)
    wheels(b, 0.02, (-base, base), r)
    for z in (-base, base):
        for out in (-1, 1):
            b.rect((-w, w), (0, 2 * r), z + out * r, RUBBER, out)
    if motor:
        b.box((-0.17, 0.17), (0.35, 0.82), (-0.75, 0.45), BODY)
        b.box((-0.2, 0.2), (0.75, 1.05), (0.35, 0.6), DARK)
        b.rect((-0.09, 0.09), (0.68, 0.78), -0.76, RED, -1, (0.1, 0.1, 1.2) if lit else BLACK)
        b.rect((-0.1, 0.1), (0.75, 0.95), 0.61, LAMP, 1, (2, 2.2, 2.2) if lit else BLACK)
    else:
        b.box((-0.03, 0.03), (0.42, 0.5), (-0.5, 0.5), BODY)
        b.box((-0.03, 0.03), (0.45, 0.95), (-0.25, -0.18), BODY)
        b.box((-0.26, 0.26), (0.95, 1.0), (0.38, 0.44), DARK)
        b.box((-0.03, 0.03), (0.4, 0.98), (0.4, 0.46), BODY)
    if rider:
        b.kind = "rider"
        _rider(b, 0.82 if motor else 0.95, motor, paint_seed)
    return b.build()


def _rider(b: Builder, seat: float, motor: bool, seed: int) -> None:
    shirt, trousers = SHIRTS[seed], TROUSERS[seed % 2]
    for sign in (-1, 1):
        b.box((sign * 0.08, sign * 0.22), (0.28, seat + 0.08), (-0.1, 0.22), trousers)
        b.box((sign * 0.2, sign * 0.3), (seat + 0.22, seat + 0.5), (-0.05, 0.42), shirt)
    b.box((-0.2, 0.2), (seat, seat + 0.58), (-0.28, 0.05), shirt)
    head: Colour = (0.12, 0.12, 0.14) if motor else (0.45, 0.55, 0.72)
    for out in (-1, 1):
        b.disc(0, seat + 0.72, -0.02 + out * 0.11, 0.13, head, (0, 0, out), 8)
        b.disc(out * 0.11, seat + 0.72, 0, 0.13, head, (out, 0, 0), 8)
