"""The road from above: a costmap in cells, and a picture of lanes and road users."""

from collections.abc import Iterator

import cv2
import numpy as np

from perception.classes import DRIVABLE
from perception.runtime.camera import Camera
from perception.runtime.colours import colour
from perception.runtime.distance import Ranges
from perception.runtime.drawing import chip
from perception.runtime.lanes import MAX_GROUND_SIGMA
from perception.runtime.road import Road, drivable_mask
from perception.runtime.scene import Boxes, Mask, Scene

CELL_M = 0.25
FORWARD_M, SIDE_M = 50.0, 12.5  # the map's extent ahead and to either side
UNKNOWN, FREE, LINE, OCCUPIED = -1, 0, 50, 100  # the values of nav_msgs/OccupancyGrid
# Width and length in metres drawn for a road user, by class; others are a point of 0.8 m.
FOOTPRINT_M = {
    "car": (1.8, 4.5), "truck": (2.5, 8.0), "bus": (2.5, 11.0), "train": (2.6, 20.0),
    "motorcycle": (0.8, 2.0), "bicycle": (0.6, 1.8), "rider": (0.6, 1.8),
}  # fmt: skip
PAPER, GROUND, PAINT, OWN = (38, 34, 32), (84, 96, 76), (215, 215, 215), (120, 255, 120)


def costmap(scene: Scene, road: Road) -> np.ndarray | None:
    """int8 (rows, columns): row 0 is the farthest, the camera stands below the middle column. None
    without a camera.

    Cells of CELL_M metres: FREE where the drivable area is seen, LINE on lane markings, OCCUPIED
    under road users, UNKNOWN elsewhere, also where the distance is too uncertain.
    """
    if road.camera is None:
        return None
    cells = np.full((round(FORWARD_M / CELL_M), round(2 * SIDE_M / CELL_M)), UNKNOWN, np.int8)
    mask = drivable_mask(scene)
    if mask is not None:
        cells[_drivable(mask, road.camera, cells.shape)] = FREE
    canvas = cells.view(np.uint8)  # OpenCV draws on unsigned bytes only
    for lane in road.lanes:
        if lane.ground is not None and len(lane.ground) > 1:
            cv2.polylines(canvas, [to_cells(lane.ground)], False, LINE, 1)
    for _, corners, _, _ in footprints(scene, road):
        cv2.fillPoly(canvas, [to_cells(corners)], OCCUPIED)
    return cells


def forward_left(cells: np.ndarray) -> np.ndarray:
    """int8 (y, x) of a costmap as ROS and Foxglove order a grid: x forward, y from the right to
    the left, beginning at the corner to the right of the camera."""
    return np.ascontiguousarray(cells[::-1, ::-1].T)


def to_cells(ground: np.ndarray) -> np.ndarray:
    """int32 (N, 2) column and row of ground points."""
    return np.floor(_in_cells(ground, 1.0)).astype(np.int32)


def _drivable(mask: Mask, camera: Camera, shape: tuple[int, ...]) -> np.ndarray:
    """bool, the cells whose centre is seen as drivable at a known enough distance."""
    rows, columns = np.indices(shape)
    right = (columns.ravel() + 0.5) * CELL_M - SIDE_M
    forward = FORWARD_M - (rows.ravel() + 0.5) * CELL_M
    pixels = camera.pixels(np.column_stack([right, forward]))
    height, width = mask.small.shape
    scale = np.array([width, height]) / mask.frame_hw[::-1]
    at = np.nan_to_num(pixels * scale, nan=-1.0, posinf=-1.0, neginf=-1.0)
    inside = ((at >= 0) & (at < (width, height))).all(axis=1)
    inside &= camera.relative_sigma(forward, pixels[:, 0], 1.0) <= MAX_GROUND_SIGMA
    found = np.zeros(len(at), bool)
    x, y = at[inside].astype(int).T
    names = mask.view.classes
    drivable = [i for i, name in enumerate(names) if name in DRIVABLE[:-1]]
    found[inside] = np.isin(mask.small[y, x], drivable)
    return found.reshape(shape)


def footprints(scene: Scene, road: Road) -> Iterator[tuple[str, np.ndarray, Ranges, int]]:
    """(class, (4, 2) ground corners, ranges, index) of every road user with a distance.

    Width and length are usual ones of the class, not measured; the near side is.
    """
    for name, boxes in scene.of(Boxes):
        ranges = road.ranges.get(name)
        if ranges is None:
            continue
        for i in np.flatnonzero(boxes.counted & np.isfinite(ranges.distance_m)).tolist():
            wide, long = FOOTPRINT_M.get(boxes.name(i), (0.8, 0.8))
            x, z = ranges.offset_m[i], ranges.distance_m[i]
            half = wide / 2
            corners = np.array([[x - half, z], [x + half, z], [x + half, z + long],
                                [x - half, z + long]])  # fmt: skip
            yield boxes.name(i), corners, ranges, i


def picture(scene: Scene, road: Road, height: int) -> np.ndarray | None:
    """uint8 (height, height / 2, 3) view from above with distances; None without a camera."""
    cells = costmap(scene, road)
    if cells is None:
        return None
    colours = np.full((*cells.shape, 3), PAPER, np.uint8)
    colours[cells != UNKNOWN] = GROUND
    size = (height // 2, height)
    canvas = cv2.resize(colours, size, interpolation=cv2.INTER_NEAREST)
    scale = height / FORWARD_M * CELL_M
    for lane in road.lanes:
        if lane.ground is not None and len(lane.ground) > 1:
            ink, width = (OWN, 2) if lane.is_ego else (PAINT, 1)
            path = _path(lane.ground, scale)
            cv2.polylines(canvas, [path], False, ink, width, cv2.LINE_AA)
    text = max(7, height // 34)
    for z in (10, 20, 30, 40):
        y = round((FORWARD_M - z) / CELL_M * scale)
        cv2.line(canvas, (0, y), (5, y), PAINT, 1)
    for name, corners, ranges, i in footprints(scene, road):
        path = _path(corners, scale)
        cv2.fillPoly(canvas, [path], colour(name), cv2.LINE_AA)
        if i == ranges.lead:
            cv2.polylines(canvas, [path], True, OWN, 2, cv2.LINE_AA)
        if ranges.distance_m[i] < FORWARD_M - 4 and name in FOOTPRINT_M:
            chip(canvas, f"{ranges.distance_m[i]:.0f}", tuple(path[3] + (3, -2)), text, opacity=0.5)
    own = np.array([[-0.9, 0.0], [0.9, 0.0], [0.9, 1.2], [-0.9, 1.2]])
    cv2.fillPoly(canvas, [_path(own, scale)], OWN, cv2.LINE_AA)
    return canvas


def _path(ground: np.ndarray, scale: float) -> np.ndarray:
    return np.round(_in_cells(ground, scale)).astype(np.int32)


def _in_cells(ground: np.ndarray, scale: float) -> np.ndarray:
    places = np.column_stack([ground[:, 0] + SIDE_M, FORWARD_M - ground[:, 1]])
    return np.clip(places / CELL_M * scale, -1e4, 1e4)
