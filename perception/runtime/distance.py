"""Distance, offset, time to collision of road users, and the vehicle ahead."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from perception.runtime.camera import Camera
from perception.runtime.lane_instances import Lane
from perception.runtime.scene import Boxes

VEHICLES = frozenset({"car", "truck", "bus", "train", "motorcycle", "motorbike", "bicycle"})
ROAD_USERS = VEHICLES | {"pedestrian", "person", "rider"}
FOOT_SIGMA = 0.015  # error of a box edge, share of the box's height, added to FOOT_PIXELS
FOOT_PIXELS = 1.0 / 384  # of the frame's height: about one pixel of the model
MAX_SIGMA = 0.5  # relative: a distance less certain than this is not given
EDGE_PIXELS = 2.0 / 384  # of the frame's height: a box this near to an edge is cut off
LANE_WIDTH_M = 3.3  # assumed where one border is seen
IN_PATH, STILL_IN_PATH = 0.8, 1.0  # of half the path's width, for a new lead and the last one
VEHICLE_WIDTH_M = 1.8
MAX_LEAD_M = 120.0
TTC_WINDOW_S, TTC_LEAST_S, TTC_SAMPLES = 1.2, 0.4, 5
MAX_TTC_S = 30.0
WARN_TTC_S = 2.7  # time to collision plus its uncertainty, below which a warning is given
TRACK_MEMORY_S = 2.0


@dataclass
class Ranges:
    """Per box of one output, NaN where the geometry does not support a number."""

    distance_m: np.ndarray  # (N,) forward, from the camera to the box's foot
    distance_sigma_m: np.ndarray
    offset_m: np.ndarray  # (N,) lateral, positive to the right
    offset_sigma_m: np.ndarray
    ttc_s: np.ndarray  # (N,) time to collision
    ttc_sigma_s: np.ndarray
    lead: int = -1  # index of the vehicle ahead in the own path, -1 where there is none

    @classmethod
    def empty(cls, count: int) -> "Ranges":
        a, b, c, d, e, f = np.full((6, count), np.nan)
        return cls(a, b, c, d, e, f)


def measure(
    boxes: Boxes, camera: Camera, feet: np.ndarray, row_sigma: np.ndarray, whole: np.ndarray
) -> Ranges:
    """Distance and offset of the `whole` boxes (see `usable`) whose foot is on the ground."""
    ranges = Ranges.empty(len(boxes))
    if not len(boxes):
        return ranges
    ground = camera.ground(feet)
    sigma = camera.relative_sigma(ground[:, 1], feet[:, 0], row_sigma)
    given = whole & (sigma <= MAX_SIGMA)
    ranges.distance_m[given] = ground[given, 1]
    ranges.distance_sigma_m[given] = (sigma * ground[:, 1])[given]
    ranges.offset_m[given] = ground[given, 0]
    side = ground[:, 1] / camera.focal_xy[0] * row_sigma  # the column's own error
    # The direction is known better than the distance, so the offset scales with the distance.
    ranges.offset_sigma_m[given] = np.hypot(sigma * ground[:, 0], side)[given]
    return ranges


def usable(boxes: Boxes, size_hw: tuple[int, int]) -> np.ndarray:
    """bool (N,): road users that no edge of the frame cuts off below or at a side."""
    user = np.array([boxes.name(i) in ROAD_USERS for i in range(len(boxes))], bool)
    below = boxes.xyxy[:, 3] < size_hw[0] * (1 - EDGE_PIXELS)
    return user & below & ~cut_at_side(boxes, size_hw)


def cut_at_side(boxes: Boxes, size_hw: tuple[int, int]) -> np.ndarray:
    """bool (N,): boxes at the left or right edge; the middle of their foot is not visible."""
    edge = EDGE_PIXELS * size_hw[0]
    return (boxes.xyxy[:, 0] <= edge) | (boxes.xyxy[:, 2] >= size_hw[1] - edge)


def foot_points(boxes: Boxes) -> np.ndarray:
    """(N, 2) middle of every box's lower edge."""
    x1, _, x2, y2 = boxes.xyxy.astype(np.float64).reshape(-1, 4).T
    return np.column_stack([(x1 + x2) / 2, y2])


def foot_sigma(boxes: Boxes, frame_height: int) -> np.ndarray:
    """(N,) standard deviation of the lower edge in pixels."""
    tall = boxes.xyxy[:, 3] - boxes.xyxy[:, 1]
    return np.hypot(FOOT_SIGMA * tall, FOOT_PIXELS * frame_height)


def lead_vehicle(
    boxes: Boxes,
    counted: np.ndarray,
    feet: np.ndarray,
    ranges: Ranges,
    borders: Mapping[str, Lane],
    vanishing_xy: tuple[float, float],
    camera: Camera | None,
    held: int,
) -> int:
    """Index of the nearest vehicle whose foot is between the borders of the own lane, or -1.

    A missing border is LANE_WIDTH_M from the other one; without both, the path is straight ahead;
    either needs a camera. `held` is the track id of the last lead: it may be a little outside.
    """
    best, row = -1, -np.inf
    for i in np.flatnonzero(counted).tolist():
        y = feet[i, 1]
        if boxes.name(i) not in VEHICLES or y <= vanishing_xy[1] + 2:
            continue
        if ranges.distance_m[i] > MAX_LEAD_M:
            continue
        path = own_path(float(y), borders, vanishing_xy, camera)
        if path is None:
            continue
        middle, half = (path[0] + path[1]) / 2, (path[1] - path[0]) / 2
        same = boxes.track_ids is not None and boxes.track_ids[i] == held >= 0
        if abs(feet[i, 0] - middle) <= half * (STILL_IN_PATH if same else IN_PATH) and y > row:
            best, row = i, float(y)
    return best


def own_path(
    y: float,
    borders: Mapping[str, Lane],
    vanishing_xy: tuple[float, float],
    camera: Camera | None,
) -> tuple[float, float] | None:
    """Columns of the own lane's borders at a row; None where neither lanes nor camera give them."""
    x = {side: float(lane.curve.x(y)) for side, lane in borders.items() if lane.curve}
    if len(x) == 2:
        return (x["left"], x["right"]) if x["left"] < x["right"] else None
    if camera is None:
        return None
    wide = LANE_WIDTH_M / camera.height * (y - vanishing_xy[1])
    if "left" in x:
        return x["left"], x["left"] + wide
    if "right" in x:
        return x["right"] - wide, x["right"]
    return vanishing_xy[0] - wide / 2, vanishing_xy[0] + wide / 2


@dataclass
class _History:
    """Samples of one track: seconds, log of 1/v and of 1/width, and their errors."""

    samples: deque[tuple[float, float, float, float, float]] = field(
        default_factory=lambda: deque(maxlen=60)
    )


class Approach:
    """Time to collision per track, from the last TTC_WINDOW_S seconds of its distance.

    The distance is proportional to 1/v (v: rows below the horizon) and to 1/width, so the slope of
    either's logarithm over time is the rate -1/TTC, whatever the camera's height and focal length.
    """

    def __init__(self) -> None:
        self.tracks: dict[int, _History] = {}

    def update(
        self, boxes: Boxes, seconds: float, below: np.ndarray, usable: np.ndarray,
        sigma: np.ndarray, ranges: Ranges,
    ) -> None:  # fmt: skip
        """Adds a frame and sets `ttc_s` of the ranges. `below` (N,): rows of the feet below the
        horizon. A box that an edge cuts off (not `usable`) changes its size without moving."""
        if boxes.track_ids is None:
            return
        for i in np.flatnonzero(usable & (boxes.track_ids >= 0)):
            v, wide = float(below[i]), float(boxes.xyxy[i, 2] - boxes.xyxy[i, 0])
            if v <= 1 or wide <= 1:
                continue
            history = self.tracks.setdefault(int(boxes.track_ids[i]), _History())
            error = float(sigma[i])
            history.samples.append(
                (seconds, -np.log(v), -np.log(wide), error / v, 1.4 * error / wide)
            )
            ranges.ttc_s[i], ranges.ttc_sigma_s[i] = _ttc(history, seconds)
        self.tracks = {
            number: history
            for number, history in self.tracks.items()
            if seconds - history.samples[-1][0] <= TRACK_MEMORY_S
        }


def _ttc(history: _History, now: float) -> tuple[float, float]:
    """(seconds, standard deviation); NaN where the track is too short or does not come nearer."""
    samples = np.array([s for s in history.samples if now - s[0] <= TTC_WINDOW_S])
    none = (float("nan"), float("nan"))
    if len(samples) < TTC_SAMPLES or np.ptp(samples[:, 0]) < TTC_LEAST_S:
        return none
    t = samples[:, 0] - samples[:, 0].mean()
    square = float((t**2).sum())
    rate, weight = 0.0, 0.0
    for column in (1, 2):
        values = samples[:, column] - samples[:, column].mean()
        slope = float(t @ values) / square
        scatter = float(np.sqrt(((values - slope * t) ** 2).sum() / max(len(t) - 2, 1)))
        # The errors of consecutive frames are alike, so the stated error counts as well.
        error = np.hypot(scatter, 0.5 * samples[:, column + 2].mean()) / np.sqrt(square)
        rate, weight = rate - slope / error**2, weight + 1 / error**2
    rate, sigma = rate / weight, weight**-0.5
    if rate < 2 * sigma or rate < 1 / MAX_TTC_S:
        return none
    # The slope is that of the window's middle; at constant speed the time has since passed.
    return max(1 / rate - (now - float(samples[:, 0].mean())), 0.0), sigma / rate**2
