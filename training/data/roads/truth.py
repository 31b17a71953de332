"""Labels of a frame, looked up from the same G-buffer as its colours."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from perception.classes import ATTRIBUTES, IGNORE, LANE_BACKGROUND
from training.data.labels import Boxes, Distance, Labels, LaneMask, Mask, Normals
from training.data.roads import ground
from training.data.roads.camera import Viewpoint
from training.data.roads.gbuffer import GBuffer, VisibleObject
from training.data.roads.ground import GROUND_FACES, ROAD, SKY
from training.data.roads.mesh import CLASS, Thing
from training.data.roads.world import Drive

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


def labelled(face: np.ndarray, seen: VisibleObject) -> LabelledObject | None:
    """The object and the box around its pixels in (H, W) `face`; None if too few are visible."""
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


@dataclass
class Truth:
    """The labels of a frame; a method makes the label of the task of its name."""

    drive: Drive
    view: Viewpoint
    things: list[Thing]
    painted: GBuffer
    distance: np.ndarray  # (H, W) depth in metres
    lines: np.ndarray  # (H, W) lane byte of the whole ground
    hidden: np.ndarray  # (H, W) bool: covered by the own car

    @cached_property
    def objects(self) -> list[LabelledObject]:
        """Every object with enough visible pixels."""
        face = np.where(self.hidden, SKY, self.painted.face)
        found = (labelled(face, seen) for seen in self.painted.seen)
        return [item for item in found if item is not None]

    def det(self) -> Boxes:
        found = self.objects
        return Boxes(
            np.array([f.box_xyxy for f in found], np.float32).reshape(-1, 4),
            np.array([f.kind for f in found], np.int64),
            self.view.camera.size_hw,
            occluded=np.array([f.occluded for f in found], bool),
            truncated=np.array([f.truncated for f in found], bool),
        )

    def lane(self) -> LaneMask:
        """The lane byte where nothing occludes it; kerb faces carry their own line."""
        flat = self.painted.faces["kind"] == CLASS["sidewalk"]
        flat[1:GROUND_FACES] = True
        open_ground = flat.take(self.painted.index) & ~self.hidden
        return LaneMask(np.where(open_ground, self.lines, LANE_BACKGROUND).astype(np.uint8))

    def drivable(self) -> Mask:
        area = ground.drivable(self.view, self.drive.road.lanes, self.things)
        road = (self.painted.face == ROAD) & ~self.hidden
        return Mask(np.where(road, area, 2).astype(np.uint8))

    def semantic(self) -> Mask:
        classes = self.painted.faces["kind"].astype(np.uint8).take(self.painted.index)
        classes[self.hidden] = IGNORE
        return Mask(classes)

    def depth(self) -> Distance:
        """Unknown in the sky, and where the ray misses the raised ground at a hill's crest."""
        unknown = np.isinf(self.distance) | self.hidden
        return Distance(np.where(unknown, np.nan, self.distance).astype(np.float32))

    def normals(self) -> Normals:
        """Camera-frame unit normals; those of the ground follow its slope."""
        face, r, lift = self.painted.face, self.view.camera.rotation, self.view.curve.lift
        table = self.painted.faces["normal"] @ r
        table[SKY] = np.nan
        out = self.painted.planes(table)
        ahead = self.distance * self.view.camera.rays[2]
        flat = (face > SKY) & (face < GROUND_FACES)
        if lift and flat.any():
            top = int(np.argmax(flat.any(1)))
            slope = lift * np.where(flat[top:], np.minimum(ahead[top:], 1e4), 0)
            up = 1 / np.sqrt(1 + slope * slope)
            for c in range(3):
                tilted = up * float(r[1, c]) - up * slope * float(r[2, c])
                np.copyto(out[c, top:], tilted, where=flat[top:])
        out[:, self.hidden | np.isinf(ahead)] = np.nan
        return Normals(out)

    def scene(self) -> Labels:
        attributes = self.drive.attributes
        indices = [names.index(attributes[group]) for group, names in ATTRIBUTES.items()]
        return Labels(np.array(indices, np.int64))
