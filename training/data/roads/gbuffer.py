"""The G-buffer: face numbers per pixel, painted far to near over the ground.

Colours, depth, normals and labels are looked up by face. A face is a plane, so 1/depth is affine in
the pixel coordinates: three numbers per face give exact depth.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from training.data.roads.camera import NEAR, Camera
from training.data.roads.ground import FAR_PIXELS, GROUND_FACES, SHIFT, Viewpoint
from training.data.roads.mesh import CLASS, Thing
from training.data.roads.textures import TILES

CULL_BEHIND = -2.0
LEAST_PIXELS = 0.5
NOWHERE = np.full((3, 2), -1000, np.int32)


@dataclass
class Faces:
    """A table of F faces in world space; the first GROUND_FACES rows belong to the ground."""

    normals: np.ndarray  # (F, 3) world
    distance: np.ndarray  # (F,) normal · (vertex - camera)
    colours: np.ndarray  # (F, 3)
    glow: np.ndarray  # (F, 3)
    classes: np.ndarray  # (F,) semantic class
    tiles: np.ndarray  # (F,)
    origins: np.ndarray  # (F, 3) origin of its texture


@dataclass
class VisibleObject:
    """A detectable object in the frame: its faces and its projection."""

    kind: int
    track: int
    first_face: int
    last_face: int
    extent: np.ndarray  # x1 y1 x2 y2 of its whole projection, also outside the frame
    alone: int = 0  # its pixels without occluders in front


@dataclass
class GBuffer:
    """Face number per pixel, the table of faces, and the detectable objects."""

    face: np.ndarray  # (H, W) int32
    faces: Faces
    seen: list[VisibleObject]

    @cached_property
    def index(self) -> np.ndarray:
        """`face` as intp, which numpy.take needs; converted once for all lookups."""
        return self.face.astype(np.intp)


def _positions(things: list[Thing], view: Viewpoint) -> tuple[np.ndarray, np.ndarray]:
    s = np.array([t.s for t in things], np.float32) - view.s
    t = np.array([t.t for t in things], np.float32) - view.t
    above = np.array([t.above for t in things], np.float32)
    return view.curve.place(s, t, above), s


def _turns(things: list[Thing], positions: np.ndarray, view: Viewpoint) -> np.ndarray:
    heading = np.arctan(view.curve.yaw + view.curve.bend * positions[:, 2])
    facing = np.arctan2(positions[:, 0], positions[:, 2])
    free = np.array([t.yaw is None for t in things])
    own = np.array([t.yaw or 0.0 for t in things], np.float32)
    return np.where(free, facing, heading + own)


def visible(things: list[Thing], view: Viewpoint) -> list[Thing]:
    """Things in range in painting order: far to near by their far ends.

    A thing beyond a long one on the same side (a car behind a wall or next to a bus) is painted
    before it, although its own far end may be nearer.
    """
    near = [
        t for t in things
        if t.s - view.s + max(t.reach, 8.0) > CULL_BEHIND and t.s - view.s < view.sight
    ]  # fmt: skip
    s = np.array([t.s for t in near], np.float32)
    t = np.array([t.t for t in near], np.float32) - view.t
    half = np.array([max(t.reach, 0.2) for t in near], np.float32)
    key = s + half
    start = s - half
    long = np.flatnonzero(half > 1.5)
    overlap = (key[:, None] > start[long]) & (start[:, None] < key[long])
    beyond = (t[:, None] * t[long] > 0) & (np.abs(t)[:, None] > np.abs(t[long]) + 0.3)
    # Of a thing straight ahead only the near end is visible.
    behind = overlap & np.where(np.abs(t[long]) < 0.9, start[:, None] > start[long], beyond)
    rows, columns = np.nonzero(behind)
    for _ in range(3):  # chains of occlusion, up to three long
        np.maximum.at(key, rows, key[long[columns]] + 0.01)
    return [near[i] for i in np.argsort(-key, kind="stable").tolist()]


def _rotate(points: np.ndarray, turn: np.ndarray) -> np.ndarray:
    c, s = np.cos(turn), np.sin(turn)
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    return np.stack([x * c + z * s, y, z * c - x * s], axis=1).astype(np.float32)


@dataclass
class Polygons:
    """Faces with their vertices, before painting."""

    vertices: np.ndarray  # (N, 3) world
    counts: np.ndarray  # (F,)
    faces: Faces
    slots: np.ndarray  # (F,)
    owner: np.ndarray  # (F,) index of the thing, -1 = none


def polygons(things: list[Thing], kerbs: np.ndarray, view: Viewpoint) -> Polygons:
    """Everything except the ground as world polygons: kerbs first, then things in their order."""
    camera_at = np.array([0, view.camera.height, 0], np.float32)
    kerb_normal = np.cross(kerbs[:, 1] - kerbs[:, 0], kerbs[:, 2] - kerbs[:, 0])
    kerb_normal /= np.linalg.norm(kerb_normal, axis=1, keepdims=True) + 1e-9
    facing = ((kerbs[:, 0] - camera_at) * kerb_normal).sum(1)
    kerb_normal *= -np.sign(facing)[:, None]
    count = len(kerbs)
    meshes = [t.mesh for t in things]
    positions, _ = _positions(things, view)
    turns = _turns(things, positions, view)
    scales = np.array([t.scale for t in things], np.float32)
    per_vertex = np.repeat(np.arange(len(things)), [len(m.vertices) for m in meshes])
    per_face = np.repeat(np.arange(len(things)), [len(m.counts) for m in meshes])
    local = np.concatenate([m.vertices for m in meshes]) * scales[per_vertex]
    vertices = _rotate(local, turns[per_vertex]) + positions[per_vertex]
    normals = np.concatenate([m.normals for m in meshes]) / scales[per_face]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    normals = _rotate(normals, turns[per_face])
    colours = np.concatenate([m.colours for m in meshes])
    paints = np.array([t.paint for t in things], np.float32)
    colours = np.where(colours < 0, paints[per_face], colours)
    counts = np.concatenate([np.full(count, 4), *[m.counts for m in meshes]])
    firsts = np.cumsum(counts) - counts
    vertices = np.concatenate([kerbs.reshape(-1, 3), vertices])
    normals = np.concatenate([kerb_normal, normals])
    origins = np.concatenate([kerbs[:, 0], positions[per_face]])
    faces = Faces(
        normals,
        ((vertices[firsts] - camera_at) * normals).sum(1),
        np.concatenate([np.full((count, 3), (0.5, 0.51, 0.52), np.float32), colours]),
        np.concatenate([np.zeros((count, 3), np.float32), *[m.glow for m in meshes]]),
        np.concatenate([np.full(count, CLASS["sidewalk"], np.uint8), *[m.classes for m in meshes]]),
        np.concatenate([np.full(count, TILES["paving"]), *[m.tiles for m in meshes]]),
        origins,
    )
    slots = np.concatenate([np.full(count, -1), *[m.slots for m in meshes]])
    owner = np.concatenate([np.full(count, -1), per_face])
    return Polygons(vertices, counts, faces, slots, owner)


def _clip_near(points: np.ndarray) -> np.ndarray:
    """Camera-frame polygon clipped at the near plane."""
    out = []
    for a, b in zip(points, np.roll(points, -1, axis=0), strict=True):
        if a[2] >= NEAR:
            out.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            out.append(a + (b - a) * (NEAR - a[2]) / (b[2] - a[2]))
    return np.array(out, np.float32).reshape(-1, 3)


def _ground_rows(
    polys: Faces, ground_colours: np.ndarray, ground_tiles: np.ndarray, ground_classes: np.ndarray
) -> Faces:
    zeros = np.zeros((GROUND_FACES, 3), np.float32)
    up = zeros + np.array([0, 1, 0], np.float32)
    return Faces(
        np.concatenate([up, polys.normals]),
        np.concatenate([np.full(GROUND_FACES, -1.0, np.float32), polys.distance]),
        np.concatenate([ground_colours, polys.colours]).astype(np.float32),
        np.concatenate([zeros, polys.glow]),
        np.concatenate([ground_classes, polys.classes]),
        np.concatenate([ground_tiles, polys.tiles]),
        np.concatenate([zeros, polys.origins]),
    )


def _runs(owners: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Indices in drawing order at which the faces of another object begin."""
    change = (np.diff(owners) != 0) | (np.diff(slots) != 0)
    return np.concatenate([[0], np.flatnonzero(change) + 1]) if len(owners) else np.zeros(0, int)


def _seen(
    things: list[Thing], owner: int, slot: int, first: int, last: int, extent: list[float]
) -> VisibleObject:
    thing = things[owner]
    track = thing.tracks[slot] if thing.tracks else -1
    return VisibleObject(thing.kinds[slot], track, first, last, np.array(extent))


def paint(
    face: np.ndarray,
    things: list[Thing],
    polys: Polygons,
    camera: Camera,
    ground: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> GBuffer:
    """Paints the polygons over `face` in place; returns the G-buffer."""
    height, width = face.shape
    points = camera.to_camera(polys.vertices)
    firsts = np.cumsum(polys.counts) - polys.counts
    low = np.minimum.reduceat(points[:, 2], firsts)
    high = np.maximum.reduceat(points[:, 2], firsts)
    pixels = np.clip(camera.pixels(points), -FAR_PIXELS, FAR_PIXELS)
    corner = np.minimum.reduceat(pixels, firsts)
    opposite = np.maximum.reduceat(pixels, firsts)
    inside = (opposite > 0).all(1) & (corner < (width, height)).all(1)
    inside &= (opposite - corner).max(1) > LEAST_PIXELS
    cut = low < NEAR
    draw = (polys.faces.distance < 0) & (high > NEAR) & (inside | cut)
    order = np.flatnonzero(draw)
    owners, slots = polys.owner[order], polys.slots[order]
    starts = _runs(owners, slots)
    if len(order):
        corner = np.minimum.reduceat(corner[order], starts)
        opposite = np.maximum.reduceat(opposite[order], starts)
    outlines = _outlines(points, pixels, firsts, polys.counts, order, cut, camera)
    faces = _ground_rows(polys.faces, *ground)
    seen: list[VisibleObject] = []
    ends = [*starts[1:].tolist(), len(order)]
    numbers = (order + GROUND_FACES).tolist()
    for run, (start, end) in enumerate(zip(starts.tolist(), ends, strict=True)):
        for at in range(start, end):
            cv2.fillPoly(face, [outlines[at]], numbers[at], cv2.LINE_8, SHIFT)
        if slots[start] < 0:
            continue
        extent = [*corner[run].tolist(), *opposite[run].tolist()]
        item = _seen(
            things, int(owners[start]), int(slots[start]), numbers[start], numbers[end - 1], extent
        )
        item.alone = _count(face, item)
        seen.append(item)
    return GBuffer(face, faces, seen)


def _outlines(
    points: np.ndarray,
    pixels: np.ndarray,
    firsts: np.ndarray,
    counts: np.ndarray,
    order: np.ndarray,
    cut: np.ndarray,
    camera: Camera,
) -> list[np.ndarray]:
    """Fixed-point outlines of the faces of `order`, clipped at the near plane."""
    fixed = np.round(pixels * (1 << SHIFT)).astype(np.int32)
    begin, end = firsts[order].tolist(), (firsts + counts)[order].tolist()
    out = [fixed[a:b] for a, b in zip(begin, end, strict=True)]
    for at in np.flatnonzero(cut[order]).tolist():
        kept = camera.pixels(_clip_near(points[begin[at] : end[at]]))
        kept = np.clip(kept, -FAR_PIXELS, FAR_PIXELS) * (1 << SHIFT)
        out[at] = np.round(kept).astype(np.int32) if len(kept) > 2 else NOWHERE
    return out


def _count(face: np.ndarray, seen: VisibleObject) -> int:
    x1, y1, x2, y2 = box_of(seen.extent, face.shape)
    part = face[y1:y2, x1:x2]
    return int(np.count_nonzero((part >= seen.first_face) & (part <= seen.last_face)))


def box_of(extent: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Pixel range of an extent, clipped to the frame."""
    height, width = shape[:2]
    x1, y1 = max(int(extent[0]) - 1, 0), max(int(extent[1]) - 1, 0)
    x2, y2 = min(int(extent[2]) + 3, width), min(int(extent[3]) + 3, height)
    return x1, y1, max(x1, x2), max(y1, y2)


def inverse_depth(painted: GBuffer, camera: Camera) -> np.ndarray:
    """(H, W) 1/depth of each pixel's face; invalid on the ground, which is not a plane."""
    faces = painted.faces
    plane = (faces.normals @ camera.rotation) / np.where(
        np.abs(faces.distance) < 1e-6, 1e-6, faces.distance
    )[:, None]  # (F, 3) in camera axes
    plane = plane.astype(np.float32)
    h, w = camera.size_hw
    x = (np.arange(w, dtype=np.float32) - camera.centre_xy[0]) / camera.focal
    y = ((np.arange(h, dtype=np.float32) - camera.centre_xy[1]) / camera.focal)[:, None]
    take = painted.index
    return plane[:, 0].take(take) * x + plane[:, 1].take(take) * y + plane[:, 2].take(take)
