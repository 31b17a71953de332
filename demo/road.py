"""The geometry of the road in `perceive`: options, the stage, the drawing, and the log."""

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from demo.pipeline import Packet
from demo.speed import read_speed
from perception.errors import UserError
from perception.runtime import birds_eye
from perception.runtime.camera_file import read_camera
from perception.runtime.distance import Ranges
from perception.runtime.drawing import blend_rectangle, chip, text_height, text_size
from perception.runtime.lane_instances import Lane
from perception.runtime.road import VIEW_DEG, Road, RoadGeometry
from perception.runtime.scene import Boxes

LEAD_COLOUR, WARN_COLOUR = (120, 255, 120), (60, 60, 235)
HEIGHTS_M, VIEWS_DEG = (0.2, 6.0), (20.0, 150.0)


def add_options(group: argparse._ArgumentGroup) -> None:
    """The options of distances and the view from above."""
    group.add_argument(
        "--camera",
        type=Path,
        metavar="FILE",
        help="calibration: YAML as in docs/geometry.md, or a camera_info file of ROS",
    )
    group.add_argument(
        "--camera-height",
        type=float,
        metavar="METRES",
        help="height above the road; without --camera the direction is estimated from the lanes",
    )
    group.add_argument(
        "--camera-view",
        type=float,
        default=VIEW_DEG,
        metavar="DEGREES",
        help="horizontal field of view, for --camera-height alone (default: %(default)g)",
    )
    group.add_argument(
        "--speed",
        metavar="KMH|FILE",
        help="own speed for the headway: km/h, or CSV with seconds and speed_m_s or speed_km_h",
    )
    group.add_argument(
        "--birds-eye",
        action="store_true",
        help="view from above in a corner (needs --camera or --camera-height)",
    )


def check_options(args: argparse.Namespace) -> None:
    """Raises UserError for values that are not possible."""
    height, view = args.camera_height, args.camera_view
    if height is not None and not HEIGHTS_M[0] <= height <= HEIGHTS_M[1]:
        raise UserError(f"--camera-height {height:g}: give metres from 0.2 to 6")
    if not VIEWS_DEG[0] <= view <= VIEWS_DEG[1]:
        raise UserError(f"--camera-view {view:g}: give degrees from 20 to 150")
    if args.birds_eye and not args.camera and height is None:
        raise UserError("--birds-eye needs metres: add --camera FILE or --camera-height METRES")
    if args.speed and not args.camera and height is None:
        raise UserError("--speed needs metres: add --camera FILE or --camera-height METRES")


class RoadStage:
    """Sets `packet.road`. Photos are unrelated, so each starts anew (`still`)."""

    def __init__(self, args: argparse.Namespace, still: bool, score: Any) -> None:
        self.file = read_camera(args.camera, args.camera_height) if args.camera else None
        self.height, self.view, self.score = args.camera_height, args.camera_view, score
        self.metric = self.file is not None or self.height is not None
        self.speed = read_speed(args.speed) if args.speed else None
        self.still, self.geometry = still, self._new()

    def __call__(self, packet: Packet) -> None:
        assert packet.scene is not None
        if self.still:
            self.geometry = self._new()
        seconds = packet.frame.seconds
        speed_m_s = self.speed.at(seconds) if self.speed else None
        packet.road = self.geometry.update(packet.scene, seconds, speed_m_s)

    def _new(self) -> RoadGeometry:
        return RoadGeometry(self.file, self.height, self.view, self.score)


def draw_road(canvas: np.ndarray, packet: Packet, inset: bool) -> None:
    """Distances under the boxes, warnings at the top, and the view from above."""
    road, scene = packet.road, packet.scene
    assert road is not None
    assert scene is not None
    height = max(8, text_height(canvas.shape[:2]) * 4 // 5)
    for name, boxes in scene.of(Boxes):
        _draw_ranges(canvas, boxes, road.ranges[name], road.headway_s, height)
    notes = [f"lane departure {road.departure}"] if road.departure else []
    notes += ["collision warning"] if road.collision else []
    y = canvas.shape[0] // 12
    for note in notes:
        wide, tall = text_size(note, 2 * height)
        chip(canvas, note, ((canvas.shape[1] - wide) // 2, y), 2 * height, WARN_COLOUR, 0.85)
        y += tall + height
    if inset:
        draw_inset(canvas, birds_eye.picture(scene, road, round(0.46 * canvas.shape[0])))


def _draw_ranges(
    canvas: np.ndarray, boxes: Boxes, ranges: Ranges, headway_s: float | None, height: int
) -> None:
    for i in np.argsort(-np.nan_to_num(ranges.distance_m)):
        x1, _, x2, y2 = (round(float(value)) for value in boxes.xyxy[i])
        lead = i == ranges.lead
        if lead:
            cv2.line(canvas, (x1, y2), (x2, y2), LEAD_COLOUR, max(2, height // 4), cv2.LINE_AA)
        if not np.isfinite(ranges.distance_m[i]):
            continue
        if not lead and (x2 - x1) < 2 * height:
            continue  # the numbers of far vehicles would cover them
        text = f"{ranges.distance_m[i]:.0f} m"
        if lead and headway_s is not None:
            text += f"  gap {headway_s:.1f} s"
        if lead and np.isfinite(ranges.ttc_s[i]):
            text += f"  TTC {ranges.ttc_s[i]:.1f} s"
        wide, _ = text_size(text, height)
        chip(canvas, text, ((x1 + x2 - wide) // 2, y2 + 1), height, opacity=0.6)


def draw_inset(canvas: np.ndarray, picture: np.ndarray | None) -> None:
    """The view from above in the lower right corner."""
    if picture is None or picture.shape[1] > canvas.shape[1] // 2:
        return
    tall, wide = picture.shape[:2]
    margin = text_height(canvas.shape[:2])
    y, x = canvas.shape[0] - tall - margin, canvas.shape[1] - wide - margin
    blend_rectangle(canvas, (x - 2, y - 2, x + wide + 2, y + tall + 2), (240, 240, 240), 0.9)
    canvas[y : y + tall, x : x + wide] = picture


def grid_cells(grid: birds_eye.Costmap) -> np.ndarray:
    """int8 (y, x) cells as ROS and Foxglove order a grid: x forward, y from the right to the left,
    beginning at the corner to the right of the camera."""
    return np.ascontiguousarray(grid.cells[::-1, ::-1].T)


def frame_attributes(road: Road) -> dict[str, Any]:
    """Numbers and warnings of the whole frame; what the geometry does not support is absent."""
    numbers = {
        "ego_offset_m": (road.ego_offset_m, 2),
        "ego_offset_sigma_m": (road.ego_offset_sigma_m, 2),
        "lane_width_m": (road.lane_width_m, 2),
        "curvature": (road.curvature, 6),
        "curvature_sigma": (road.curvature_sigma, 6),
        "headway_s": (road.headway_s, 2),
    }
    out: dict[str, Any] = {
        name: round(value, digits) for name, (value, digits) in numbers.items() if value is not None
    }
    if road.departure:
        out["departure"] = road.departure
    if road.collision:
        out["collision_warning"] = True
    return out


def box_attributes(ranges: Ranges, i: int) -> dict[str, Any]:
    """Numbers of one box; what the geometry does not support is absent."""
    names = ("distance_m", "distance_sigma_m", "offset_m", "offset_sigma_m", "ttc_s", "ttc_sigma_s")
    values = {name: float(getattr(ranges, name)[i]) for name in names}
    out: dict[str, Any] = {n: round(value, 2) for n, value in values.items() if np.isfinite(value)}
    if i == ranges.lead:
        out["lead"] = True
    return out


def lane_label(lane: Lane) -> dict[str, Any]:
    """A marking as an open Scalabel poly2d; with a camera its points on the ground as two lists."""
    attributes: dict[str, Any] = {"side": lane.side} if lane.side else {}
    attributes |= {"laneStyle": lane.style} if lane.style else {}
    attributes |= {"laneDirection": lane.direction} if lane.direction else {}
    if lane.ground is not None and len(lane.ground):
        right, forward = lane.ground.T.round(2).tolist()
        attributes |= {"right_m": right, "forward_m": forward}
    shape = {
        "vertices": lane.points.round(1).tolist(),
        "types": "L" * len(lane.points),
        "closed": False,
    }
    label = {"category": lane.category, "score": round(lane.score, 3), "attributes": attributes}
    if lane.id >= 0:
        label["id"] = f"lane-{lane.id}"
    return label | {"poly2d": [shape]}
