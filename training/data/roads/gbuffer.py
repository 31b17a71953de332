"""The G-buffer: face numbers per pixel, painted far to near over the ground.

Colours, depth, normals and labels are looked up by face. A face is a plane, so 1/depth is affine in
the pixel coordinates: three numbers per face give exact depth.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from training.data.roads.camera import NEAR, Viewpoint
from training.data.roads.ground import GROUND_FACES, SHIFT, SKY, TERRAIN, WALK, fixed
from training.data.roads.mesh import DETECTED, FACE, Thing

BEHIND = -15.0  # the longest thing reaches 13 m ahead of its middle
LEAST_PIXELS = 0.5


@dataclass
class VisibleObject:
    """A detectable object in the frame: its faces and its projection."""

    kind: int
    track: int
    first_face: int
    last_face: int
    extent: list[float]  # x1 y1 x2 y2 of its whole projection, also outside the frame
    alone: int = 0  # its pixels without occluders in front

    def part(self, face: np.ndarray) -> tuple[np.ndarray, int, int]:
        """Its pixels in a cut-out of the frame, and the corner x, y of the cut-out."""
        x1, y1 = (max(int(v) - 1, 0) for v in self.extent[:2])
        x2, y2 = (max(int(v) + 3, 0) for v in self.extent[2:])
        cut = face[y1:y2, x1:x2]
        return (cut >= self.first_face) & (cut <= self.last_face), x1, y1


@dataclass
class GBuffer:
    """Face number per pixel, the table of faces, and the detectable objects."""

    face: np.ndarray  # (H, W) int32
    faces: np.ndarray  # (F,) FACE in world space; the first GROUND_FACES belong to the ground
    seen: list[VisibleObject]

    @cached_property
    def index(self) -> np.ndarray:
        """`face` as intp, which numpy.take needs; converted once for all lookups."""
        return self.face.astype(np.intp)

    def planes(self, table: np.ndarray) -> np.ndarray:
        """(C, H, W) float32 values of each pixel's face from a table of (F, C)."""
        columns = np.ascontiguousarray(table.T, np.float32)
        return np.stack([column.take(self.index) for column in columns])


def _poses(things: list[Thing], view: Viewpoint) -> tuple[np.ndarray, np.ndarray]:
    """World positions (N, 3) and turns (N,)."""
    free = [t.yaw is None for t in things]
    poses = [(t.s, t.t, t.above, t.yaw or 0.0) for t in things]
    s, t, above, yaw = np.array(poses, np.float32).T
    place = view.curve.place(s - view.s, t - view.t, above)
    facing = np.arctan2(place[:, 0], place[:, 2])
    return place, np.where(free, facing, view.curve.heading(place[:, 2]) + yaw)


def visible(things: list[Thing], view: Viewpoint) -> list[Thing]:
    """Things in range in painting order: far to near by their far ends.

    A thing beyond a long one on the same side (a car behind a wall or next to a bus) is painted
    before it, although its own far end may be nearer.
    """
    near = [t for t in things if BEHIND < t.s - view.s < view.sight]
    s = np.array([t.s for t in near], np.float32)
    t = np.array([t.t for t in near], np.float32) - view.t
    half = np.array([t.half[0] for t in near], np.float32)
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


def _assemble(
    ground: np.ndarray, things: list[Thing], view: Viewpoint
) -> tuple[np.ndarray, np.ndarray]:
    """The table of all faces: ground, things in their order; and the world vertices.

    The faces of the ground have no vertices.
    """
    positions, turns = _poses(things, view)
    scales = np.array([t.scale for t in things], np.float32)
    paints = np.array([t.paint for t in things], np.float32)
    meshes = [t.mesh for t in things]
    by_vertex = np.repeat(np.arange(len(things)), [len(m.vertices) for m in meshes])
    owner = np.repeat(np.arange(len(things)), [len(m.faces) for m in meshes])
    local = np.concatenate([m.vertices for m in meshes]) * scales[by_vertex]
    vertices = _rotate(local, turns[by_vertex]) + positions[by_vertex]
    # Joined as integers, because numpy concatenates records slowly.
    tables = [table.view(np.int32) for table in (ground, *[m.faces for m in meshes])]
    faces = np.concatenate(tables).view(FACE)
    own = faces[len(ground) :]
    normals = own["normal"] / scales[owner]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    own["normal"] = _rotate(normals, turns[owner])
    own["colour"] = np.where(own["colour"] < 0, paints[owner], own["colour"])
    own["owner"], own["origin"] = owner, positions[owner]
    firsts = np.cumsum(own["count"]) - own["count"]
    camera_at = np.array([0, view.camera.height, 0], np.float32)
    own["distance"] = ((vertices[firsts] - camera_at) * own["normal"]).sum(1)
    return faces, vertices


def paint(face: np.ndarray, ground: np.ndarray, things: list[Thing], view: Viewpoint) -> GBuffer:
    """Paints the things in their order over `face`, whose faces are those of `ground`, in place."""
    height, width = face.shape
    camera = view.camera
    faces, vertices = _assemble(ground, things, view)
    solid = faces[GROUND_FACES:]
    points = camera.to_camera(vertices)
    # Vertices behind the camera move in front of it: right for edges along the line of sight.
    pixels = camera.pixels(points)
    lasts = np.cumsum(solid["count"])
    firsts = lasts - solid["count"]
    high = np.maximum.reduceat(points[:, 2], firsts)
    corner = np.minimum.reduceat(pixels, firsts)
    opposite = np.maximum.reduceat(pixels, firsts)
    inside = (opposite > 0).all(1) & (corner < (width, height)).all(1)
    inside &= (opposite - corner).max(1) > LEAST_PIXELS
    order = np.flatnonzero((solid["distance"] < 0) & (high > NEAR) & inside)
    flat, begin, end = fixed(pixels), firsts[order].tolist(), lasts[order].tolist()
    seen: list[VisibleObject] = []
    if not len(order):
        return GBuffer(face, faces, seen)
    owners, kinds = solid["owner"][order], solid["kind"][order]
    # The faces of an object follow each other.
    change = (np.diff(owners, prepend=-2) != 0) | (np.diff(kinds, prepend=-2) != 0)
    starts = np.flatnonzero(change)
    extents = np.hstack([
        np.minimum.reduceat(corner[order], starts), np.maximum.reduceat(opposite[order], starts)
    ]).tolist()  # fmt: skip
    numbers = (order + GROUND_FACES).tolist()
    ends = [*starts[1:].tolist(), len(order)]
    for start, stop, extent in zip(starts.tolist(), ends, extents, strict=True):
        for at in range(start, stop):
            cv2.fillPoly(face, [flat[begin[at] : end[at]]], numbers[at], cv2.LINE_8, SHIFT)
        kind = DETECTED.get(kinds[start])
        if kind is not None:
            track = things[owners[start]].tracks.get(kind, -1)
            item = VisibleObject(kind, track, numbers[start], numbers[stop - 1], extent)
            item.alone = int(np.count_nonzero(item.part(face)[0]))
            seen.append(item)
    return GBuffer(face, faces, seen)


def depth(painted: GBuffer, view: Viewpoint, flat: np.ndarray, kerb: float) -> np.ndarray:
    """(H, W) metres along the optical axis, inf in the sky.

    The ground is no plane: its depth is `flat`, or that of `kerb` metres more next to the road.
    """
    camera, face, distance = view.camera, painted.face, painted.faces["distance"]
    distance = np.where(np.abs(distance) < 1e-6, np.float32(1e-6), distance)
    plane = (painted.faces["normal"] @ camera.rotation) / distance[:, None]  # (F, 3) camera axes
    x, y = camera.plane
    a, b, c = painted.planes(plane)
    out = np.where(face < GROUND_FACES, flat, 1 / np.maximum(a * x + b * y + c, 1e-6))
    raised = np.flatnonzero((face == WALK) | (face == TERRAIN))
    if kerb and len(raised):
        out.ravel()[raised] = camera.ground_depth(view.curve, kerb, raised)
    return np.where(face == SKY, np.inf, out).astype(np.float32)
