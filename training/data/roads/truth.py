"""Labels of a frame, looked up from the same G-buffer as its colours."""

from dataclasses import dataclass

import numpy as np

from perception.classes import ATTRIBUTES, IGNORE, LANE_BACKGROUND
from training.data.labels import Boxes, Distance, Labels, LaneMask, Mask, Normals
from training.data.roads.gbuffer import GBuffer, VisibleObject
from training.data.roads.ground import GROUND_FACES, LOT, ROAD, SKY, Viewpoint
from training.data.roads.mesh import CLASS

LEAST_HEIGHT = 3.5 / 384  # of the frame height: the smallest objects with boxes in BDD100K
LEAST_SHARE = 0.12


@dataclass(frozen=True)
class LabelledObject:
    """An object with a bounding box."""

    box_xyxy: tuple[float, float, float, float]
    kind: int
    track: int
    occluded: bool
    truncated: bool


def _labelled(face: np.ndarray, seen: VisibleObject) -> LabelledObject | None:
    shown, x, y = seen.part(face)
    pixels = int(np.count_nonzero(shown))
    height, width = face.shape
    least = LEAST_HEIGHT * height
    if pixels < least * least or pixels < LEAST_SHARE * seen.alone:
        return None
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    x1, x2 = (float(x + columns[0]), float(x + columns[-1] + 1))
    y1, y2 = (float(y + rows[0]), float(y + rows[-1] + 1))
    if y2 - y1 < least or x2 - x1 < 0.7 * least:
        return None
    left, top, right, bottom = seen.extent
    return LabelledObject(
        (x1, y1, x2, y2),
        seen.kind,
        seen.track,
        occluded=pixels < 0.88 * seen.alone,
        truncated=left < -1 or top < -1 or right > width + 1 or bottom > height + 1,
    )


def objects(painted: GBuffer, hidden: np.ndarray) -> list[LabelledObject]:
    """Every object with enough visible pixels; `hidden` is covered by the own car."""
    face = np.where(hidden, SKY, painted.face)
    found = (_labelled(face, seen) for seen in painted.seen)
    return [item for item in found if item is not None]


def boxes(found: list[LabelledObject], size_hw: tuple[int, int]) -> Boxes:
    return Boxes(
        np.array([f.box_xyxy for f in found], np.float32).reshape(-1, 4),
        np.array([f.kind for f in found], np.int64),
        size_hw,
        occluded=np.array([f.occluded for f in found], bool),
        truncated=np.array([f.truncated for f in found], bool),
    )


def lane(lane: np.ndarray, painted: GBuffer, hidden: np.ndarray) -> LaneMask:
    """The lane byte where nothing occludes it; kerb faces carry their own line."""
    flat = painted.faces["kind"] == CLASS["sidewalk"]
    flat[1:GROUND_FACES] = True
    open_ground = flat.take(painted.index) & ~hidden
    return LaneMask(np.where(open_ground, lane, LANE_BACKGROUND).astype(np.uint8))


def drivable(area: np.ndarray, painted: GBuffer, hidden: np.ndarray) -> Mask:
    face = painted.face
    road = (face == ROAD) | (face == LOT)
    return Mask(np.where(road & ~hidden, area, 2).astype(np.uint8))


def semantic(painted: GBuffer, hidden: np.ndarray) -> Mask:
    classes = painted.faces["kind"].astype(np.uint8).take(painted.index)
    classes[hidden] = IGNORE
    return Mask(classes)


def depth(depth: np.ndarray, hidden: np.ndarray) -> Distance:
    """Unknown in the sky, and where the ray misses the raised ground at the crest of a hill."""
    return Distance(np.where(np.isinf(depth) | hidden, np.nan, depth).astype(np.float32))


def normals(painted: GBuffer, view: Viewpoint, place_z: np.ndarray, hidden: np.ndarray) -> Normals:
    """Camera-frame unit normals; those of the ground follow its slope."""
    face, r, lift = painted.face, view.camera.rotation, view.curve.lift
    table = np.ascontiguousarray((painted.faces["normal"] @ r).astype(np.float32).T)
    table[:, SKY] = np.nan
    out = np.stack([channel.take(painted.index) for channel in table])
    ground = (face > SKY) & (face < GROUND_FACES)
    if lift and ground.any():
        top = int(np.argmax(ground.any(1)))
        slope = lift * np.where(ground[top:], np.minimum(place_z[top:], 1e4), 0)
        up = 1 / np.sqrt(1 + slope * slope)
        for c in range(3):
            tilted = up * float(r[1, c]) - up * slope * float(r[2, c])
            np.copyto(out[c, top:], tilted, where=ground[top:])
    out[:, hidden | np.isinf(place_z)] = np.nan
    return Normals(out)


def scene(attributes: dict[str, str]) -> Labels:
    return Labels(
        np.array([names.index(attributes[group]) for group, names in ATTRIBUTES.items()], np.int64)
    )
