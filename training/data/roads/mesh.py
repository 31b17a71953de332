"""Meshes of planar faces, built once from polygons, boxes and prisms and placed many times.

A mesh stands on y = 0 with z to its front and x to its right; faces share no vertices.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from perception.classes import SEMANTIC
from training.data.roads.textures import TILES

Point = tuple[float, float, float]
Colour = tuple[float, float, float]


def dimmed(colour: Colour, share: float) -> Colour:
    """The colour times `share`."""
    return colour[0] * share, colour[1] * share, colour[2] * share


BODY: Colour = (-1.0, -1.0, -1.0)  # takes the colour of the placed thing
CLASS = {name: index for index, name in enumerate(SEMANTIC)}


@dataclass(frozen=True, eq=False)
class Mesh:
    """F faces in drawing order over N vertices."""

    vertices: np.ndarray  # (N, 3) float32
    counts: np.ndarray  # (F,) vertices of each face
    normals: np.ndarray  # (F, 3) outward
    colours: np.ndarray  # (F, 3) BGR 0..1, negative = the colour of the placed thing
    glow: np.ndarray  # (F, 3) BGR emitted light
    classes: np.ndarray  # (F,) semantic class
    slots: np.ndarray  # (F,) which object of the thing, -1 = none
    tiles: np.ndarray  # (F,) texture tile


@dataclass
class Builder:
    """Collects faces; `kind`, `slot` and `tile` apply to all following faces."""

    kind: str = "building"
    slot: int = -1
    tile: str = "flat"
    faces: list[tuple[np.ndarray, np.ndarray, Colour, Colour, int, int, int]] = field(
        default_factory=list
    )

    def face(
        self,
        points: Sequence[Point],
        colour: Colour,
        outward: Point,
        glow: Colour = (0, 0, 0),
        tile: str | None = None,
        kind: str | None = None,
    ) -> None:
        """One planar polygon; `outward` is any vector on its visible side."""
        vertices = np.asarray(points, np.float32)
        x, y, z = vertices.T  # Newell's formula
        x1, y1, z1 = np.concatenate([vertices[1:], vertices[:1]]).T
        normal = np.array([y @ z1 - z @ y1, z @ x1 - x @ z1, x @ y1 - y @ x1])
        normal = normal / (np.linalg.norm(normal) + 1e-9)
        if normal @ np.asarray(outward) < 0:
            normal = -normal
        class_index, tile_index = CLASS[kind or self.kind], TILES[tile or self.tile]
        self.faces.append((vertices, normal, colour, glow, class_index, self.slot, tile_index))

    def box(
        self,
        x: Sequence[float],
        y: Sequence[float],
        z: Sequence[float],
        colour: Colour,
        tile: str | None = None,
        top: Colour | None = None,
    ) -> None:
        """An axis-aligned box without its floor."""
        (x0, x1), (y0, y1), (z0, z1) = x, y, z
        for side, out in ((x0, -1), (x1, 1)):
            points = [(side, y0, z0), (side, y0, z1), (side, y1, z1), (side, y1, z0)]
            self.face(points, colour, (out, 0, 0), tile=tile)
        for side, out in ((z0, -1), (z1, 1)):
            points = [(x0, y0, side), (x1, y0, side), (x1, y1, side), (x0, y1, side)]
            self.face(points, colour, (0, 0, out), tile=tile)
        points = [(x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)]
        self.face(points, top or colour, (0, 1, 0), tile=tile if top is None else "flat")

    def prism(
        self,
        profile: Sequence[tuple[float, float]],
        half: Sequence[float],
        colour: Colour,
        skip: Sequence[int] = (),
    ) -> None:
        """Extrudes a (z, y) outline along x; `half` is half the width at each of its points.

        Strips listed in `skip` (by their first point) are left out, as is the closing one: the
        floor.
        """
        outline = np.asarray(profile, np.float32)
        middle = outline.mean(0)
        for sign in (-1, 1):
            points = [(sign * w, y, z) for (z, y), w in zip(profile, half, strict=True)]
            self.face(points, colour, (sign, 0, 0))
        for i in range(len(profile) - 1):
            if i in skip:
                continue
            (z0, y0), (z1, y1) = profile[i], profile[i + 1]
            a, b = half[i], half[i + 1]
            out = np.array([(y1 - y0), -(z1 - z0)])
            if out @ (outline[i] + outline[i + 1] - 2 * middle) < 0:
                out = -out
            points = [(-a, y0, z0), (a, y0, z0), (b, y1, z1), (-b, y1, z1)]
            self.face(points, colour, (0, float(out[1]), float(out[0])))

    def disc(
        self,
        x: float,
        y: float,
        z: float,
        radius: float,
        colour: Colour,
        outward: Point,
        sides: int = 12,
        glow: Colour = (0, 0, 0),
    ) -> None:
        """A disc normal to x (wheels) or z (lamps), by its outward vector."""
        turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
        c, s = radius * np.cos(turn), radius * np.sin(turn)
        if abs(outward[0]) > abs(outward[2]):
            points = [(x, y + a, z + b) for a, b in zip(c, s, strict=True)]
        else:
            points = [(x + a, y + b, z) for a, b in zip(c, s, strict=True)]
        self.face(points, colour, outward, glow=glow, tile="flat")

    def build(self) -> Mesh:
        vertices, normals, colours, glow, classes, slots, tiles = zip(*self.faces, strict=True)
        return Mesh(
            np.concatenate(vertices),
            np.array([len(v) for v in vertices]),
            np.array(normals, np.float32),
            np.array(colours, np.float32),
            np.array(glow, np.float32),
            np.array(classes, np.uint8),
            np.array(slots, np.int32),
            np.array(tiles, np.int32),
        )


@dataclass
class Thing:
    """A placed mesh: s metres ahead of the drive's start, t to the right of the ego lane."""

    mesh: Mesh
    s: float
    t: float
    yaw: float | None = 0.0  # relative to the road's heading; None faces the camera
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    paint: Colour = (0.5, 0.5, 0.5)
    above: float = 0.0
    # Classes of the detectable objects in it, by slot, and their track ids.
    kinds: tuple[int, ...] = ()
    tracks: tuple[int, ...] = ()
    speed: float = 0.0  # along s, m/s
    drift: float = 0.0  # along t, m/s
    reach: float = 0.0  # half its extent along the road
    # Footprint (length, width) and height: for its shadow and for blocking lanes.
    shadow: tuple[float, float, float] | None = None
    blocks: bool = False
    lamp: float = 0.0  # radius of its light on the ground, metres
