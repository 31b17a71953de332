"""Meshes of planar faces, built once from polygons, boxes and prisms and placed many times.

A mesh stands on y = 0 with z to its front and x to its right; faces share no vertices.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from perception.classes import DETECTION, SEMANTIC
from training.data.roads.textures import TILES

Point = tuple[float, float, float]
Colour = tuple[float, float, float]
Paint = Colour | np.ndarray
Range = float | tuple[float, float]
Outline = np.ndarray | Sequence[tuple[float, float]]

BLACK: Colour = (0, 0, 0)
BODY: Colour = (-1.0, -1.0, -1.0)  # takes the colour of the placed thing
CLASS = {name: index for index, name in enumerate(SEMANTIC)}
# The class of the detectable object that faces of a semantic class belong to.
DETECTED = {CLASS[name.replace("pedestrian", "person")]: i for i, name in enumerate(DETECTION)}
# A face of a mesh; the last three are known once its thing is placed.
FACE = np.dtype([
    ("count", np.int32),  # its vertices
    ("normal", np.float32, 3),  # outward
    ("colour", np.float32, 3),  # BGR 0..1, negative = the colour of the placed thing
    ("glow", np.float32, 3),  # BGR emitted light
    ("kind", np.int32),  # semantic class
    ("tile", np.int32),  # texture tile
    ("owner", np.int32),  # index of the thing, -1 = none
    ("origin", np.float32, 3),  # origin of its texture, world
    ("distance", np.float32),  # normal · (vertex - camera)
])  # fmt: skip


@dataclass(frozen=True, eq=False)
class Mesh:
    """F faces in drawing order and their N vertices."""

    vertices: np.ndarray  # (N, 3) float32
    faces: np.ndarray  # (F,) FACE

    @cached_property
    def kinds(self) -> set[int]:
        """The classes of its detectable objects."""
        return {DETECTED[kind] for kind in self.faces["kind"].tolist() if kind in DETECTED}

    @cached_property
    def size(self) -> tuple[float, float, float]:
        """Its extent along x, y and z, if x and z are symmetric."""
        x, y, z = np.abs(self.vertices).max(0).tolist()
        return 2 * x, y, 2 * z


@dataclass
class Builder:
    """Collects faces; `kind` and `tile` apply to all following faces."""

    kind: str = "building"
    tile: str = "flat"
    vertices: list[np.ndarray] = field(default_factory=list)
    faces: list[tuple] = field(default_factory=list)

    def face(
        self,
        points: np.ndarray | Sequence[Point],
        colour: Paint,
        outward: Sequence[float],
        glow: Colour = BLACK,
        tile: str | None = None,
    ) -> None:
        """One planar polygon; `outward` is any vector on its visible side."""
        vertices = np.asarray(points, np.float32)
        x, y, z = vertices.T  # Newell's formula
        x1, y1, z1 = np.concatenate([vertices[1:], vertices[:1]]).T
        normal = np.array([y @ z1 - z @ y1, z @ x1 - x @ z1, x @ y1 - y @ x1])
        normal = normal / (np.linalg.norm(normal) + 1e-9)
        if normal @ np.asarray(outward) < 0:
            normal = -normal
        self.vertices.append(vertices)
        kind, index = CLASS[self.kind], TILES[tile or self.tile]
        self.faces.append((len(vertices), normal, colour, glow, kind, index, -1, 0, 0))

    def flat(self, points: Outline, colour: Paint, z: float = 0.0, tile: str | None = None) -> None:
        """A polygon of (x, y) points that faces the camera."""
        self.face(np.column_stack([points, [z] * len(points)]), colour, (0, 0, -1), tile=tile)

    def rect(
        self,
        x: Range,
        y: Range,
        z: Range,
        colour: Colour,
        out: float,
        glow: Colour = BLACK,
        tile: str | None = None,
    ) -> None:
        """A rectangle normal to the axis given by one number; visible from its `out` (±1) side."""
        fixed = [not isinstance(v, tuple) for v in (x, y, z)]
        (x0, x1), (y0, y1), (z0, z1) = (v if isinstance(v, tuple) else (v, v) for v in (x, y, z))
        za, zb = (z1, z0) if fixed[0] else (z0, z1)
        points = [(x0, y0, z0), (x1, y0, za), (x1, y1, z1), (x0, y1, zb)]
        self.face(points, colour, [out * f for f in fixed], glow, tile)

    def box(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        z: tuple[float, float],
        colour: Colour,
        tile: str | None = None,
        top: Colour | None = None,
    ) -> None:
        """An axis-aligned box without its floor."""
        x = (min(x), max(x))
        for side, out in zip(x, (-1, 1), strict=True):
            self.rect(side, y, z, colour, out, tile=tile)
        for side, out in zip(z, (-1, 1), strict=True):
            self.rect(x, y, side, colour, out, tile=tile)
        self.rect(x, y[1], z, top or colour, 1, tile="flat" if top else tile)

    def prism(
        self, profile: Sequence[tuple[float, float]], half: Sequence[float], colour: Colour
    ) -> None:
        """Extrudes a (z, y) outline along x; `half` is half the width at each of its points.

        The strip that closes the outline is left out.
        """
        outline = np.asarray(profile, np.float32)
        middle = outline.mean(0)
        left, right = (np.column_stack([np.multiply(half, i), outline[:, ::-1]]) for i in (-1, 1))
        for side, out in ((left, -1), (right, 1)):
            self.face(side, colour, (out, 0, 0))
        for i in range(len(profile) - 1):
            z, y = (outline[i] + outline[i + 1] - 2 * middle).tolist()
            self.face([left[i], right[i], right[i + 1], left[i + 1]], colour, (0, y, z))

    def disc(
        self,
        x: float,
        y: float,
        z: float,
        radius: float,
        colour: Colour,
        outward: Sequence[float],
        sides: int = 12,
        glow: Colour = BLACK,
    ) -> None:
        """A disc normal to x (wheels) or z (lamps), by its outward vector."""
        turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
        c, s = radius * np.cos(turn), radius * np.sin(turn)
        flat = np.zeros(sides)
        offset = (flat, c, s) if outward[0] else (c, s, flat)
        self.face(np.add(np.stack(offset, 1), (x, y, z)), colour, outward, glow, "flat")

    def build(self) -> Mesh:
        return Mesh(np.concatenate(self.vertices), np.array(self.faces, FACE))


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
    tracks: dict[int, int] = field(default_factory=dict)  # track id of the object of each class
    speed: float = 0.0  # along s, m/s
    drift: float = 0.0  # along t, m/s
    shadow: float | None = None  # share of its height that casts one
    blocks: bool = False  # a lane
    lamp: float = 0.0  # radius of its light on the ground, metres

    @property
    def size(self) -> tuple[float, float, float]:
        """Length, width and height; figures that face the camera are 0.3 m long."""
        (x, y, z), (wide, tall, long) = self.mesh.size, self.scale
        return max(z * long, 0.3), x * abs(wide), y * tall

    @property
    def half(self) -> tuple[float, float]:
        """Half its extent along and across the road."""
        length, width, _ = self.size
        cos, sin = abs(math.cos(self.yaw or 0)) / 2, abs(math.sin(self.yaw or 0)) / 2
        return cos * length + sin * width, sin * length + cos * width
