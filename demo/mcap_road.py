"""The road in a log for Foxglove: the costmap as a grid, lanes and road users as a 3D scene.

Coordinates are those of the frame `road`: on the road below the camera, x forward, y left, z up.
"""

from collections.abc import Iterable

import foxglove
import numpy as np
from foxglove.channels import GridChannel, SceneUpdateChannel
from foxglove.messages import (
    Color,
    CubePrimitive,
    Duration,
    Grid,
    LinePrimitive,
    LinePrimitiveLineType,
    PackedElementField,
    PackedElementFieldNumericType,
    Point3,
    Pose,
    Quaternion,
    SceneEntity,
    SceneUpdate,
    TextPrimitive,
    Timestamp,
    Vector2,
    Vector3,
)

from demo.road import grid_cells
from perception.runtime.birds_eye import FREE, LINE, OCCUPIED, SIDE_M, UNKNOWN, costmap, footprints
from perception.runtime.colours import BGR, colour
from perception.runtime.lane_instances import Lane
from perception.runtime.road import Road
from perception.runtime.scene import Scene

FRAME = "road"
HEIGHT_M = 1.5  # of the drawn road users
SHOWN_S = 0.5  # how long lanes and road users stay without a new frame
# Red, green, blue and opacity of a cell.
INKS = {
    UNKNOWN: (0, 0, 0, 0),
    FREE: (76, 96, 84, 255),
    LINE: (235, 235, 235, 255),
    OCCUPIED: (235, 90, 60, 255),
}
FIELDS = [
    *(("red", 0), ("green", 1), ("blue", 2), ("alpha", 3)),
    ("cost", 4),  # as in nav_msgs/OccupancyGrid
]
UPRIGHT = Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)


class RoadChannels:
    """The topics /road/grid and /road/scene; created with the first frame that has a camera."""

    def __init__(self, context: foxglove.Context) -> None:
        self.grid = GridChannel("/road/grid", context=context)
        self.scene = SceneUpdateChannel("/road/scene", context=context)

    def log(self, scene: Scene, road: Road, score: float, stamp: Timestamp, now: int) -> None:
        """Logs a frame at `now`, in nanoseconds. Nothing where the frame has no camera."""
        found = costmap(scene, road, score)
        if found is None:
            return
        self.grid.log(_grid(grid_cells(found), found.cell_m, stamp), log_time=now)
        entities = [*_lanes(road.lanes, stamp), *_users(scene, road, score, stamp)]
        self.scene.log(SceneUpdate(entities=entities), log_time=now)


def _grid(cells: np.ndarray, cell_m: float, stamp: Timestamp) -> Grid:
    """Of int8 (y, x) costs."""
    packed = np.empty((*cells.shape, len(FIELDS)), np.uint8)
    for value, ink in INKS.items():
        packed[cells == value, :4] = ink
    packed[..., 4] = cells.view(np.uint8)
    number = PackedElementFieldNumericType
    return Grid(
        timestamp=stamp,
        frame_id=FRAME,
        pose=Pose(position=Vector3(x=0.0, y=-SIDE_M, z=0.0), orientation=UPRIGHT),
        column_count=cells.shape[1],
        cell_size=Vector2(x=cell_m, y=cell_m),
        row_stride=packed.strides[0],
        cell_stride=packed.strides[1],
        fields=[
            PackedElementField(
                name=name, offset=offset, type=number.Int8 if name == "cost" else number.Uint8
            )
            for name, offset in FIELDS
        ],
        data=packed.tobytes(),
    )


def _lanes(lanes: Iterable[Lane], stamp: Timestamp) -> Iterable[SceneEntity]:
    for number, lane in enumerate(lanes):
        if lane.ground is not None and len(lane.ground) > 1:
            line = LinePrimitive(
                type=LinePrimitiveLineType.LineStrip,
                pose=_pose(0.0, 0.0, 0.0),
                thickness=0.12,
                points=[Point3(x=float(z), y=float(-x), z=0.02) for x, z in lane.ground],
                color=_colour(colour(lane.category), 1.0),
            )
            name = f"marking {lane.id}" if lane.id >= 0 else f"across {number}"
            yield _entity(name, stamp, lines=[line])


def _users(scene: Scene, road: Road, score: float, stamp: Timestamp) -> Iterable[SceneEntity]:
    for number, (name, corners, ranges, i) in enumerate(footprints(scene, road, score)):
        (wide, long), (x, z) = np.ptp(corners, axis=0).tolist(), corners.mean(axis=0).tolist()
        cube = CubePrimitive(
            pose=_pose(z, -x, HEIGHT_M / 2),
            size=Vector3(x=long, y=wide, z=HEIGHT_M),
            color=_colour(colour(name), 0.7),
        )
        text = TextPrimitive(
            pose=_pose(z, -x, HEIGHT_M + 0.5),
            billboard=True,
            font_size=0.8,
            color=_colour((255, 255, 255), 1.0),
            text=f"{name} {ranges.distance_m[i]:.0f} m",
        )
        yield _entity(f"user {number}", stamp, cubes=[cube], texts=[text])


def _entity(
    name: str,
    stamp: Timestamp,
    lines: list[LinePrimitive] | None = None,
    cubes: list[CubePrimitive] | None = None,
    texts: list[TextPrimitive] | None = None,
) -> SceneEntity:
    return SceneEntity(
        timestamp=stamp,
        frame_id=FRAME,
        id=name,
        lifetime=Duration(sec=0, nsec=round(1e9 * SHOWN_S)),
        lines=lines or [],
        cubes=cubes or [],
        texts=texts or [],
    )


def _pose(x: float, y: float, z: float) -> Pose:
    return Pose(position=Vector3(x=x, y=y, z=z), orientation=UPRIGHT)


def _colour(ink: BGR, opacity: float) -> Color:
    blue, green, red = (value / 255 for value in ink)
    return Color(r=red, g=green, b=blue, a=opacity)
