"""Passenger cars, and parts shared with other vehicles; sizes in metres."""

from functools import lru_cache

from training.data.roads.mesh import BODY, Builder, Colour, Mesh

GLASS: Colour = (0.27, 0.24, 0.21)
RUBBER: Colour = (0.05, 0.05, 0.05)
DARK: Colour = (0.1, 0.1, 0.1)
RED: Colour = (0.08, 0.06, 0.55)
LAMP: Colour = (0.8, 0.85, 0.85)
PLATE: Colour = (0.75, 0.75, 0.75)
# length, width, height, belt height, hood end, windscreen base, roof front, roof rear, rear base
CARS = {
    "sedan": (4.7, 1.82, 1.45, 0.93, 0.70, 0.95, 0.25, -1.05, -1.70),
    "hatch": (4.1, 1.76, 1.50, 0.95, 0.72, 0.95, 0.35, -1.45, -1.90),
    "suv": (4.7, 1.92, 1.75, 1.08, 0.88, 0.98, 0.40, -1.85, -2.20),
    "van": (5.0, 1.98, 1.98, 1.15, 0.95, 1.60, 0.95, -2.35, -2.45),
    "coupe": (4.5, 1.82, 1.34, 0.88, 0.66, 0.75, 0.05, -0.85, -1.85),
}


def wheels(b: Builder, half: float, axles: tuple[float, ...], radius: float) -> None:
    for z in axles:
        for sign in (-1, 1):
            b.disc(sign * (half + 0.01), radius, z, radius, RUBBER, (sign, 0, 0))
            b.disc(
                sign * (half + 0.02), radius, z, radius * 0.6, (0.45, 0.45, 0.45), (sign, 0, 0), 8
            )


def tyres(b: Builder, half: float, ends: tuple[float, float], top: float) -> None:
    """The tyres and the underside as seen from behind and from the front."""
    for z, out in zip(ends, (-1, 1), strict=True):
        points = [(-half, 0.16, z), (half, 0.16, z), (half, top, z), (-half, top, z)]
        b.face(points, (0.03, 0.03, 0.03), (0, 0, out), tile="flat")
        for x0, x1 in ((-half, -half + 0.22), (half - 0.22, half)):
            points = [(x0, 0, z), (x1, 0, z), (x1, top, z), (x0, top, z)]
            b.face(points, RUBBER, (0, 0, out), tile="flat")


def lights(
    b: Builder,
    half: float,
    ends: tuple[float, float],
    y: float,
    lit: bool,
    brake: bool,
    size: tuple[float, float] = (0.34, 0.15),
) -> None:
    w, h = size
    rear, front = ends
    tail: Colour = (0.25, 0.2, 2.2) if brake else (0.06, 0.05, 0.9) if lit else (0, 0, 0)
    head: Colour = (2.4, 2.6, 2.6) if lit else (0, 0, 0)
    for sign in (-1, 1):
        x0, x1 = sign * half * 0.97, sign * (half * 0.97 - w)
        points = [(x0, y, rear), (x1, y, rear), (x1, y + h, rear), (x0, y + h, rear)]
        b.face(points, RED, (0, 0, -1), glow=tail, tile="flat")
        y0 = y - 0.12
        points = [(x0, y0, front), (x1, y0, front), (x1, y0 + h, front), (x0, y0 + h, front)]
        b.face(points, LAMP, (0, 0, 1), glow=head, tile="flat")


def _ends(b: Builder, half: float, ends: tuple[float, float], y: float) -> None:
    """Bumpers, number plates and the grille."""
    rear, front = ends
    for z, out in ((rear, -1), (front, 1)):
        points = [(-half, 0.2, z), (half, 0.2, z), (half, y - 0.26, z), (-half, y - 0.26, z)]
        b.face(points, DARK, (0, 0, out), tile="flat")
        points = [
            (-0.27, y - 0.24, z),
            (0.27, y - 0.24, z),
            (0.27, y - 0.1, z),
            (-0.27, y - 0.1, z),
        ]
        b.face(points, PLATE, (0, 0, out), tile="flat")
    points = [
        (-0.5, y - 0.06, front),
        (0.5, y - 0.06, front),
        (0.5, y + 0.08, front),
        (-0.5, y + 0.08, front),
    ]
    b.face(points, DARK, (0, 0, 1), tile="flat")


def cabin(
    b: Builder,
    half: float,
    belt: float,
    top: float,
    zs: tuple[float, float, float, float],
    roof: Colour = BODY,
) -> None:
    """The cabin with its windows: (rear base, rear top, front top, front base) along z."""
    r0, r1, f1, f0 = zs
    low, high = half * 0.93, half * 0.76
    corners = [(r0, belt), (r1, top), (f1, top), (f0, belt)]
    b.prism(corners, [low, high, high, low], roof)
    inset = 0.1
    for z0, z1, out in ((r0, r1, -1), (f0, f1, 1)):
        dz, dy = (z1 - z0), top - belt
        za, zb = z0 + dz * inset + out * 0.01, z0 + dz * (1 - inset) + out * 0.01
        ya, yb = belt + dy * inset, top - dy * inset
        points = [
            (-low * 0.9, ya, za),
            (low * 0.9, ya, za),
            (high * 0.92, yb, zb),
            (-high * 0.92, yb, zb),
        ]
        b.face(points, GLASS, (0, 0.2, out))
    span, mid = f0 - r0, 0.45 * (f0 + r0) + 0.1
    for sign in (-1, 1):
        xa, xb = sign * (low * 0.985 + 0.012), sign * (high * 1.03 + 0.012)
        ya, yb = belt + 0.05, top - 0.08
        for a0, a1, c0, c1 in (
            (r0 + 0.06 * span, mid - 0.04, r1 + 0.05 * span, mid - 0.04),
            (mid + 0.04, f0 - 0.08 * span, mid + 0.04, f1 - 0.03 * span),
        ):
            points = [(xa, ya, a0), (xa, ya, a1), (xb, yb, max(c1, c0 + 0.05)), (xb, yb, c0)]
            b.face(points, GLASS, (sign, 0.2, 0))


@lru_cache
def car(kind: str, lit: bool, brake: bool) -> Mesh:
    """A passenger car of one of CARS."""
    length, width, top, belt, hood, f0, f1, r1, r0 = CARS[kind]
    half, rear, front = width / 2, -length / 2, length / 2
    b = Builder(kind="car", slot=0, tile="sheen")
    tyres(b, half - 0.06, (rear + 0.35, front - 0.35), 0.5)
    profile = [
        (rear + 0.08, 0.3), (rear, 0.55), (rear + 0.06, belt * 0.97), (r0 + 0.05, belt),
        (f0, belt), (front - 0.25, hood), (front, hood - 0.18), (front - 0.08, 0.27),
    ]  # fmt: skip
    b.prism(
        profile,
        [half, half, half * 0.97, half * 0.97, half * 0.97, half * 0.94, half * 0.94, half],
        BODY,
    )
    wheels(b, half, (rear + 0.85, front - 0.9), 0.33)
    _ends(b, half * 0.9, (rear - 0.012, front + 0.012), 0.68)
    lights(b, half, (rear - 0.014, front + 0.014), belt * 0.73, lit, brake)
    cabin(b, half, belt - 0.01, top, (r0, r1, f1, f0))
    if brake:
        z = r0 + 0.1
        points = [
            (-0.2, belt + 0.03, z),
            (0.2, belt + 0.03, z),
            (0.2, belt + 0.08, z),
            (-0.2, belt + 0.08, z),
        ]
        b.face(points, RED, (0, 0, -1), glow=(0.2, 0.2, 1.8), tile="flat")
    return b.build()
