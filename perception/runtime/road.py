"""Per frame: lanes, camera, distances, the vehicle ahead, and the own place in the lane."""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from perception.classes import DRIVABLE
from perception.runtime.camera import Camera
from perception.runtime.camera_estimate import CameraEstimator, usual_camera
from perception.runtime.camera_file import CameraFile
from perception.runtime.distance import (
    VEHICLE_WIDTH_M,
    WARN_TTC_S,
    Approach,
    Ranges,
    cut_at_side,
    foot_points,
    foot_sigma,
    measure,
    usable,
)
from perception.runtime.lane_tracker import LaneTracker
from perception.runtime.lanes import Lane, ego_lane, in_metres, lane_mask, lines_along
from perception.runtime.own_path import OwnPath, lead_vehicle
from perception.runtime.scene import Boxes, Mask, Scene

VIEW_DEG: Final = 60.0  # the horizontal field of view of a usual dash camera
MIN_HEADWAY_SPEED = 1.0  # m/s
MIN_GROUND_POINTS = 8
MAX_CURVATURE_SIGMA = 2e-3  # 1/m
# Logged numbers, with their decimals.
DIGITS = {
    "ego_offset_m": 2, "ego_offset_sigma_m": 2, "lane_width_m": 2, "curvature": 6,
    "curvature_sigma": 6, "headway_s": 2,
}  # fmt: skip
LANE_WIDTHS_M = (2.2, 5.0)  # anything else is not one lane


@dataclass
class Road:
    """What the geometry says about one frame. Numbers are None where it does not support them."""

    lanes: list[Lane] = field(default_factory=list)
    camera: Camera | None = None
    ranges: dict[str, Ranges] = field(default_factory=dict)  # by boxes output
    ego_offset_m: float | None = None  # of the camera from the lane's middle, positive to the right
    ego_offset_sigma_m: float | None = None
    lane_width_m: float | None = None
    curvature: float | None = None  # 1/m, positive to the right
    curvature_sigma: float | None = None
    headway_s: float | None = None  # to the vehicle ahead, where the own speed is given
    departure: str | None = None  # "left" or "right": the vehicle's side is over that line
    collision: bool = False  # the vehicle ahead is closer than WARN_TTC_S seconds

    def attributes(self) -> dict[str, Any]:
        """JSON values of the frame for logs; what the geometry does not support is absent."""
        values = {name: getattr(self, name) for name in DIGITS}
        out: dict[str, Any] = {
            name: round(value, DIGITS[name]) for name, value in values.items() if value is not None
        }
        out |= {"departure": self.departure} if self.departure else {}
        return out | ({"collision_warning": True} if self.collision else {})

    @property
    def borders(self) -> dict[str, Lane]:
        """The own lane's borders, by "left" and "right"."""
        return ego_lane(self.lanes)


class RoadGeometry:
    """Call it once per frame, in order, with the scene's boxes already tracked.

    The camera is that of a file, or estimated from the lanes for a stated height; with neither,
    lanes stay in pixels and nothing has metres. Raises UserError for frames of another size than
    the file's. Every box gets a distance; only those that count are measured for the camera and
    can be the vehicle ahead.
    """

    def __init__(
        self,
        file: CameraFile | None = None,
        height_m: float | None = None,
        view_deg: float = VIEW_DEG,
    ) -> None:
        self.file, self.view_deg = file, view_deg
        self.fixed = file.camera if file is not None and file.has_pitch else None
        self.height_m = file.camera.height if file is not None else height_m
        self.size_hw: tuple[int, int] | None = None
        self.estimator: CameraEstimator | None = None

    def update(self, scene: Scene, seconds: float, speed_m_s: float | None = None) -> Road:
        """The geometry of the next frame; `speed_m_s` is the own speed, for the headway only."""
        if self.size_hw != scene.frame_hw:
            self._start(scene.frame_hw)
        mask = lane_mask(scene)
        camera, certain = self.fixed, True
        ahead = self.fixed or self.estimator
        assert ahead is not None
        lines = lines_along(mask, ahead.vanishing_xy) if mask is not None else []
        if camera is None:
            users = [boxes.take(boxes.counted) for _, boxes in scene.of(Boxes)]
            assert self.estimator is not None
            self.estimator.update([line[:, :2] for line in lines], users, seconds)
            camera, certain = self.estimator.camera(), self.estimator.certain
        # The direction of the own path needs no metres: an uncertain camera is enough for it.
        road = Road(camera=camera if certain and self.height_m is not None else None)
        if mask is not None:
            road.lanes = self.lane_tracker.update(mask, lines, camera.vanishing_xy, seconds)
        if road.camera is not None:
            road.lanes = [in_metres(lane, camera) for lane in road.lanes]
            own_place(road, camera)
        path = OwnPath(road.lanes, camera, drivable_mask(scene))
        for name, boxes in scene.of(Boxes):
            road.ranges[name] = self._ranges(boxes, road, path, seconds)
            self._warn(road, road.ranges[name], speed_m_s)
        return road

    def _start(self, size_hw: tuple[int, int]) -> None:
        """Starts anew for frames of this size."""
        self.size_hw, self.lead_id = size_hw, -1
        self.lane_tracker, self.approach = LaneTracker(), Approach()
        if self.file is not None:
            self.file.check_size(size_hw)
        base = (
            self.file.camera if self.file else usual_camera(size_hw, self.height_m, self.view_deg)
        )
        self.estimator = None if self.fixed else CameraEstimator(base)

    def _ranges(self, boxes: Boxes, road: Road, path: OwnPath, seconds: float) -> Ranges:
        size_hw, feet = path.camera.size_hw, foot_points(boxes, path.camera)
        ranges = Ranges.empty(len(boxes))
        if road.camera is not None:
            sigma = foot_sigma(boxes, size_hw[0])
            whole = usable(boxes, size_hw) & np.isfinite(feet[:, 1])
            ranges = measure(boxes, road.camera, feet, sigma, whole)
            rows, horizon = road.camera.undistort(feet)[:, 1], road.camera.horizon
            self.approach.update(boxes, seconds, rows, horizon, whole, sigma, ranges)
        inside = boxes.counted & ~cut_at_side(boxes, size_hw)
        ranges.lead = lead_vehicle(boxes, inside, feet, ranges, path, self.lead_id)
        if boxes.track_ids is not None:
            self.lead_id = int(boxes.track_ids[ranges.lead]) if ranges.lead >= 0 else -1
        return ranges

    def _warn(self, road: Road, ranges: Ranges, speed_m_s: float | None) -> None:
        if ranges.lead < 0:
            return
        ttc, sigma = ranges.ttc_s[ranges.lead], ranges.ttc_sigma_s[ranges.lead]
        # Certain enough: the threshold holds also one standard deviation later.
        road.collision |= bool(ttc + sigma < WARN_TTC_S)
        distance = ranges.distance_m[ranges.lead]
        if speed_m_s is not None and speed_m_s >= MIN_HEADWAY_SPEED and np.isfinite(distance):
            road.headway_s = float(distance) / speed_m_s


def drivable_mask(scene: Scene) -> Mask | None:
    """The scene's drivable mask."""
    return next((m for _, m in scene.of(Mask) if set(DRIVABLE) <= set(m.view.classes)), None)


def own_place(road: Road, camera: Camera) -> None:
    """Sets offset, lane width, departure and curvature from the borders of the own lane."""
    borders = {side: lane for side, lane in road.borders.items() if lane.curve is not None}
    found = {side: one for side, lane in borders.items() if (one := _measured(lane, camera))}
    if len(found) == 2:
        left, right = found["left"], found["right"]
        width, middle = right.offset_m - left.offset_m, (right.offset_m + left.offset_m) / 2
        if LANE_WIDTHS_M[0] <= width <= LANE_WIDTHS_M[1]:
            road.lane_width_m, road.ego_offset_m = width, -middle
            scatter = float(np.hypot(left.offset_sigma_m, right.offset_sigma_m)) / 2
            tilt = camera.sigma_roll * camera.height
            road.ego_offset_sigma_m = float(
                np.hypot(scatter + camera.sigma_height * abs(middle), tilt)
            )
            half = VEHICLE_WIDTH_M / 2
            if left.offset_m + half > 0 or right.offset_m - half < 0:
                road.departure = "left" if left.offset_m + half > 0 else "right"
    if found:
        weights = np.array([one.curvature_sigma**-2 for one in found.values()])
        sigma = float(weights.sum() ** -0.5)
        if sigma <= MAX_CURVATURE_SIGMA:
            values = [one.curvature for one in found.values()]
            road.curvature = float(np.average(values, weights=weights))
            road.curvature_sigma = sigma


@dataclass
class _Border:
    offset_m: float
    offset_sigma_m: float
    curvature: float
    curvature_sigma: float


def _measured(lane: Lane, camera: Camera) -> _Border | None:
    """A border's place next to the camera and its curvature."""
    curve = lane.curve
    assert curve is not None
    scale = 2 / (camera.focal_xy[0] * camera.focal_xy[1] * camera.height)
    sigma_a, _, sigma_b = np.sqrt(np.diag(curve.covariance)).tolist()
    # x = a v + c + b / v with a = offset / height (lane_curve.py), turned by the camera's roll.
    offset = (curve.offset + float(np.tan(camera.roll))) * camera.height
    bend = float(curve.coefficients[2]) * scale
    if any(camera.distortion):  # the formula holds without distortion only
        if lane.ground is None or len(lane.ground) < MIN_GROUND_POINTS:
            return None
        square, _, offset = np.polyfit(lane.ground[:, 1], lane.ground[:, 0], 2).tolist()
        bend = 2 * square
    return _Border(offset, sigma_a * camera.height, bend, sigma_b * scale)
