"""Cars, trucks, buses, trams and two-wheelers; sizes in metres as on the road."""

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


def _wheels(b: Builder, half: float, axles: tuple[float, ...], radius: float) -> None:
    for z in axles:
        for sign in (-1, 1):
            b.disc(sign * (half + 0.01), radius, z, radius, RUBBER, (sign, 0, 0))
            b.disc(
                sign * (half + 0.02), radius, z, radius * 0.6, (0.45, 0.45, 0.45), (sign, 0, 0), 8
            )


def _tyres(b: Builder, half: float, ends: tuple[float, float], top: float) -> None:
    """What is seen of the tyres and the underside from behind and from the front."""
    for z, out in zip(ends, (-1, 1), strict=True):
        points = [(-half, 0.16, z), (half, 0.16, z), (half, top, z), (-half, top, z)]
        b.face(points, (0.03, 0.03, 0.03), (0, 0, out), tile="flat")
        for x0, x1 in ((-half, -half + 0.22), (half - 0.22, half)):
            points = [(x0, 0, z), (x1, 0, z), (x1, top, z), (x0, top, z)]
            b.face(points, RUBBER, (0, 0, out), tile="flat")


def _lights(
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


def _cabin(
    b: Builder,
    half: float,
    belt: float,
    top: float,
    zs: tuple[float, float, float, float],
    roof: Colour = BODY,
) -> None:
    """The glass house: (rear base, rear top, front top, front base) along z."""
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
    _tyres(b, half - 0.06, (rear + 0.35, front - 0.35), 0.5)
    profile = [
        (rear + 0.08, 0.3), (rear, 0.55), (rear + 0.06, belt * 0.97), (r0 + 0.05, belt),
        (f0, belt), (front - 0.25, hood), (front, hood - 0.18), (front - 0.08, 0.27),
    ]  # fmt: skip
    b.prism(
        profile,
        [half, half, half * 0.97, half * 0.97, half * 0.97, half * 0.94, half * 0.94, half],
        BODY,
    )
    _wheels(b, half, (rear + 0.85, front - 0.9), 0.33)
    _ends(b, half * 0.9, (rear - 0.012, front + 0.012), 0.68)
    _lights(b, half, (rear - 0.014, front + 0.014), belt * 0.73, lit, brake)
    _cabin(b, half, belt - 0.01, top, (r0, r1, f1, f0))
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


@lru_cache
def truck(kind: str, lit: bool, brake: bool, rear_first: bool) -> Mesh:
    """A pickup, a box truck or a semi-trailer; `rear_first` when it is seen from its front."""
    b = Builder(kind="truck", slot=0, tile="sheen")
    cab, load = (_pickup_cab, _pickup_bed) if kind == "pickup" else (_truck_cab, _truck_box)
    size = {"pickup": (5.6, 2.0, 1.2), "box": (7.0, 2.3, 3.3), "semi": (14.0, 2.5, 3.9)}[kind]
    for part in (load, cab) if rear_first else (cab, load):
        part(b, size, lit, brake)
    return b.build()


def _pickup_cab(b: Builder, size: tuple[float, float, float], lit: bool, brake: bool) -> None:
    half, front = size[1] / 2, size[0] / 2
    _tyres(b, half - 0.06, (-0.3, front - 0.4), 0.6)
    profile = [
        (-0.4, 0.4),
        (-0.4, 1.12),
        (1.1, 1.12),
        (front - 0.2, 1.0),
        (front, 0.85),
        (front - 0.05, 0.4),
    ]
    b.prism(profile, [half] * 6, BODY)
    _cabin(b, half, 1.11, 1.86, (-0.4, -0.25, 0.55, 1.15))
    _wheels(b, half, (front - 1.0,), 0.4)
    z = front + 0.012
    for sign in (-1, 1):
        x0, x1 = sign * half * 0.95, sign * half * 0.6
        points = [(x0, 0.72, z), (x1, 0.72, z), (x1, 0.92, z), (x0, 0.92, z)]
        b.face(points, LAMP, (0, 0, 1), glow=(2.4, 2.6, 2.6) if lit else (0, 0, 0), tile="flat")
    b.face(
        [(-0.6, 0.5, z), (0.6, 0.5, z), (0.6, 0.9, z), (-0.6, 0.9, z)], DARK, (0, 0, 1), tile="flat"
    )


def _pickup_bed(b: Builder, size: tuple[float, float, float], lit: bool, brake: bool) -> None:
    half, rear = size[1] / 2, -size[0] / 2
    _tyres(b, half - 0.06, (rear + 0.4, -0.4), 0.6)
    b.box((-half, half), (0.45, 1.12), (rear, -0.4), BODY, top=(0.08, 0.08, 0.08))
    _wheels(b, half, (rear + 1.1,), 0.4)
    z = rear - 0.012
    b.face(
        [(-half, 0.42, z), (half, 0.42, z), (half, 0.58, z), (-half, 0.58, z)],
        (0.55, 0.55, 0.55),
        (0, 0, -1),
    )
    b.face([(-0.27, 0.6, z), (0.27, 0.6, z), (0.27, 0.74, z), (-0.27, 0.74, z)], PLATE, (0, 0, -1))
    _tail(b, half, z, 0.75, 0.3, lit, brake)


def _tail(b: Builder, half: float, z: float, y: float, h: float, lit: bool, brake: bool) -> None:
    glow: Colour = (0.25, 0.2, 2.2) if brake else (0.06, 0.05, 0.9) if lit else (0, 0, 0)
    for sign in (-1, 1):
        x0, x1 = sign * half * 0.98, sign * (half * 0.98 - 0.16)
        points = [(x0, y, z), (x1, y, z), (x1, y + h, z), (x0, y + h, z)]
        b.face(points, RED, (0, 0, -1), glow=glow, tile="flat")


def _truck_cab(b: Builder, size: tuple[float, float, float], lit: bool, brake: bool) -> None:
    half, front, top = size[1] / 2 * 0.96, size[0] / 2, size[2] * 0.8
    _tyres(b, half - 0.05, (front - 2.0, front - 0.5), 0.8)
    b.box((-half, half), (0.55, top), (front - 2.1, front), BODY)
    _wheels(b, half, (front - 1.0,), 0.5)
    z = front + 0.012
    ya, yb = top * 0.55, top * 0.88
    b.face(
        [(-half * 0.9, ya, z), (half * 0.9, ya, z), (half * 0.85, yb, z), (-half * 0.85, yb, z)],
        GLASS,
        (0, 0, 1),
    )
    b.face(
        [
            (-half * 0.6, 0.8, z),
            (half * 0.6, 0.8, z),
            (half * 0.6, ya - 0.15, z),
            (-half * 0.6, ya - 0.15, z),
        ],
        DARK,
        (0, 0, 1),
    )
    for sign in (-1, 1):
        x = sign * (half + 0.012)
        b.face(
            [
                (x, ya, front - 1.5),
                (x, ya, front - 0.3),
                (x, yb, front - 0.4),
                (x, yb, front - 1.5),
            ],
            GLASS,
            (sign, 0, 0),
        )
        x0, x1 = sign * half * 0.95, sign * half * 0.65
        points = [(x0, 0.75, z), (x1, 0.75, z), (x1, 0.95, z), (x0, 0.95, z)]
        b.face(points, LAMP, (0, 0, 1), glow=(2.4, 2.6, 2.6) if lit else (0, 0, 0), tile="flat")


def _truck_box(b: Builder, size: tuple[float, float, float], lit: bool, brake: bool) -> None:
    half, rear, front, top = size[1] / 2, -size[0] / 2, size[0] / 2, size[2]
    white: Colour = (0.72, 0.73, 0.72)
    _tyres(b, half - 0.05, (rear + 0.6, front - 2.4), 1.0)
    b.box((-half, half), (0.95, top), (rear, front - 2.3), white, tile="metal")
    _wheels(b, half - 0.05, (rear + 1.2, rear + 2.3) if size[0] > 10 else (rear + 1.4,), 0.5)
    z = rear - 0.012
    b.face(
        [
            (-half * 0.94, 1.05, z),
            (half * 0.94, 1.05, z),
            (half * 0.94, top - 0.1, z),
            (-half * 0.94, top - 0.1, z),
        ],
        (0.6, 0.6, 0.6),
        (0, 0, -1),
        tile="metal",
    )
    b.face([(-half, 0.5, z), (half, 0.5, z), (half, 0.95, z), (-half, 0.95, z)], DARK, (0, 0, -1))
    b.face(
        [
            (-0.02, 1.05, z - 0.01),
            (0.02, 1.05, z - 0.01),
            (0.02, top - 0.1, z - 0.01),
            (-0.02, top - 0.1, z - 0.01),
        ],
        DARK,
        (0, 0, -1),
    )
    for sign in (-1, 1):
        x, m = sign * (half + 0.012), (top + 0.95) / 2
        points = [
            (x, m - 0.5, rear + 0.8),
            (x, m - 0.5, front - 3.2),
            (x, m + 0.6, front - 3.2),
            (x, m + 0.6, rear + 0.8),
        ]
        b.face(points, BODY, (sign, 0, 0), tile="text")
    _tail(b, half, z - 0.01, 0.6, 0.2, lit, brake)


@lru_cache
def bus(lit: bool, brake: bool, tram: bool = False) -> Mesh:
    """A city bus, or a tram (class train) of the same make but longer."""
    length, width, top = (26.0, 2.5, 3.5) if tram else (11.5, 2.55, 3.1)
    half, rear, front = width / 2, -length / 2, length / 2
    b = Builder(kind="train" if tram else "bus", slot=0, tile="sheen")
    _tyres(b, half - 0.05, (rear + 0.5, front - 0.5), 0.6)
    b.box((-half, half), (0.35, top), (rear, front), BODY)
    if not tram:
        _wheels(b, half, (rear + 2.6, front - 2.6), 0.48)
    for sign in (-1, 1):
        x = sign * (half + 0.012)
        count = int(length / 1.5)
        for i in range(count):
            z0, z1 = (
                rear + 0.2 + i * (length - 0.4) / count,
                rear + 0.1 + (i + 1) * (length - 0.4) / count,
            )
            b.face(
                [(x, 1.35, z0), (x, 1.35, z1), (x, top - 0.55, z1), (x, top - 0.55, z0)],
                GLASS,
                (sign, 0, 0),
                glow=(0.16, 0.2, 0.2) if lit else (0, 0, 0),
            )
    for z, out in ((rear - 0.012, -1), (front + 0.012, 1)):
        low = 1.7 if out < 0 else 1.1
        b.face(
            [
                (-half * 0.88, low, z),
                (half * 0.88, low, z),
                (half * 0.88, top - 0.6, z),
                (-half * 0.88, top - 0.6, z),
            ],
            GLASS,
            (0, 0, out),
            glow=(0.12, 0.15, 0.15) if lit else (0, 0, 0),
        )
        b.face(
            [(-0.7, top - 0.5, z), (0.7, top - 0.5, z), (0.7, top - 0.2, z), (-0.7, top - 0.2, z)],
            DARK,
            (0, 0, out),
            glow=(0.05, 0.45, 0.9),
            tile="text",
        )
        b.face(
            [(-half, 0.35, z), (half, 0.35, z), (half, 0.62, z), (-half, 0.62, z)],
            DARK,
            (0, 0, out),
        )
    _lights(b, half, (rear - 0.02, front + 0.02), 0.85, lit, brake, (0.3, 0.22))
    return b.build()


@lru_cache
def two_wheeler(motor: bool, rider: bool, lit: bool, paint_seed: int) -> Mesh:
    """A bicycle or motorcycle, with its rider in slot 1; thin, seen from every side."""
    kind = "motorcycle" if motor else "bicycle"
    b = Builder(kind=kind, slot=0)
    r = 0.31 if motor else 0.34
    base = 0.7 if motor else 0.53
    for z in (-base, base):
        for sign in (-1, 1):
            b.disc(sign * 0.03, r, z, r, RUBBER, (sign, 0, 0))
            b.disc(
                sign * 0.035,
                r,
                z,
                r * 0.72,
                (0.3, 0.3, 0.32) if motor else (0.42, 0.42, 0.42),
                (sign, 0, 0),
                10,
            )
        for out in (-1, 1):
            w = 0.07 if motor else 0.03
            b.face(
                [
                    (-w, 0, z + out * r),
                    (w, 0, z + out * r),
                    (w, 2 * r, z + out * r),
                    (-w, 2 * r, z + out * r),
                ],
                RUBBER,
                (0, 0, out),
            )
    if motor:
        b.box((-0.17, 0.17), (0.35, 0.82), (-0.75, 0.45), BODY)
        b.box((-0.2, 0.2), (0.75, 1.05), (0.35, 0.6), DARK)
        b.face(
            [(-0.09, 0.68, -0.76), (0.09, 0.68, -0.76), (0.09, 0.78, -0.76), (-0.09, 0.78, -0.76)],
            RED,
            (0, 0, -1),
            glow=(0.1, 0.1, 1.2) if lit else (0, 0, 0),
        )
        b.face(
            [(-0.1, 0.75, 0.61), (0.1, 0.75, 0.61), (0.1, 0.95, 0.61), (-0.1, 0.95, 0.61)],
            LAMP,
            (0, 0, 1),
            glow=(2, 2.2, 2.2) if lit else (0, 0, 0),
        )
    else:
        b.box((-0.03, 0.03), (0.42, 0.5), (-0.5, 0.5), BODY)
        b.box((-0.03, 0.03), (0.45, 0.95), (-0.25, -0.18), BODY)
        b.box((-0.26, 0.26), (0.95, 1.0), (0.38, 0.44), DARK)
        b.box((-0.03, 0.03), (0.4, 0.98), (0.4, 0.46), BODY)
    if rider:
        b.kind, b.slot = "rider", 1
        _rider(b, 0.82 if motor else 0.95, motor, paint_seed)
    return b.build()


def _rider(b: Builder, seat: float, motor: bool, seed: int) -> None:
    shirts: tuple[Colour, ...] = (
        (0.5, 0.2, 0.15),
        (0.12, 0.12, 0.12),
        (0.2, 0.25, 0.6),
        (0.2, 0.6, 0.7),
    )
    shirt, trousers = shirts[seed % 4], ((0.3, 0.22, 0.18), (0.1, 0.1, 0.1))[seed % 2]
    for sign in (-1, 1):
        x = sorted((sign * 0.08, sign * 0.22))
        b.box(x, (0.28, seat + 0.08), (-0.1, 0.22), trousers)
        b.box(sorted((sign * 0.2, sign * 0.3)), (seat + 0.22, seat + 0.5), (-0.05, 0.42), shirt)
    b.box((-0.2, 0.2), (seat, seat + 0.58), (-0.28, 0.05), shirt)
    head: Colour = (0.12, 0.12, 0.14) if motor else (0.45, 0.55, 0.72)
    for out in (-1, 1):
        z = -0.02 + out * 0.11
        b.disc(0, seat + 0.72, z, 0.13, head, (0, 0, out), 8)
        b.disc(out * 0.11, seat + 0.72, 0, 0.13, head, (out, 0, 0), 8)
