"""Distance, offset and time to collision of road users."""

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from perception.runtime.camera import Camera
from perception.runtime.scene import Boxes

RIDER, TWO_WHEELERS = "rider", frozenset({"motorcycle", "motorbike", "bicycle"})
VEHICLES = TWO_WHEELERS | {"car", "truck", "bus", "train"}
ROAD_USERS = VEHICLES | {"pedestrian", "person", RIDER}
FOOT_SIGMA = 0.015  # error of a box edge, share of the box's height, added to FOOT_PIXELS
FOOT_PIXELS = 1.0 / 384  # of the frame's height: about one pixel of the model
MAX_SIGMA = 0.5  # relative: a distance less certain than this is not given
EDGE_PIXELS = 2.0 / 384  # of the frame's height: a box this near to an edge is cut off
VEHICLE_WIDTH_M = 1.8
WIDTHS_M = {"car": 1.8, "truck": 2.5, "bus": 2.5, "train": 2.6}  # seen from behind
MAX_LEAD_M = 120.0
TTC_WINDOW_S, TTC_LEAST_S, TTC_SAMPLES = 1.2, 0.4, 5
MAX_TTC_S = 30.0
MAX_TTC_SIGMA = 0.3  # of the distance, relative: above it the errors of small boxes look like speed
WARN_TTC_S = 2.7  # time to collision plus its uncertainty, below which a warning is given
TRACK_MEMORY_S = 2.0
LOGGED = ("distance_m", "distance_sigma_m", "offset_m", "offset_sigma_m", "ttc_s", "ttc_sigma_s")


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

    def attributes(self, i: int) -> dict[str, Any]:
        """JSON values of one box for logs; what the geometry does not support is absent."""
        values = {name: float(getattr(self, name)[i]) for name in LOGGED}
        found = {name: round(value, 2) for name, value in values.items() if np.isfinite(value)}
        return found | ({"lead": True} if i == self.lead else {})

    @classmethod
    def empty(cls, count: int) -> "Ranges":
        a, b, c, d, e, f = np.full((6, count), np.nan)
        return cls(a, b, c, d, e, f)


def measure(
    boxes: Boxes, camera: Camera, feet: np.ndarray, row_sigma: np.ndarray, whole: np.ndarray
) -> Ranges:
    """Distance and offset of the `whole` boxes (see `usable`) whose foot is on the ground."""
    ranges = Ranges.empty(len(boxes))
    ground = camera.ground(feet)
    sigma = camera.relative_sigma(ground[:, 1], feet[:, 0], row_sigma)
    given = whole & (sigma <= MAX_SIGMA)
    ranges.distance_m[given] = ground[given, 1]
    ranges.distance_sigma_m[given] = (sigma * ground[:, 1])[given]
    ranges.offset_m[given] = ground[given, 0]
    # The column's own error, and the direction.
    side = ground[:, 1] * np.hypot(row_sigma / camera.focal_xy[0], camera.sigma_yaw)
    # The direction is known better than the distance, so the offset scales with the distance.
    ranges.offset_sigma_m[given] = np.hypot(sigma * ground[:, 0], side)[given]
    return ranges


def usable(boxes: Boxes, size_hw: tuple[int, int]) -> np.ndarray:
    """bool (N,): road users that no edge of the frame cuts off below or at a side."""
    user = np.array([name in ROAD_USERS for name in boxes.names], bool)[boxes.classes]
    return user & ~cut_off(boxes, size_hw)


def cut_off(boxes: Boxes, size_hw: tuple[int, int]) -> np.ndarray:
    """bool (N,): boxes at the lower, left or right edge."""
    below = boxes.xyxy[:, 3] >= size_hw[0] * (1 - EDGE_PIXELS)
    return below | cut_at_side(boxes, size_hw)


def cut_at_side(boxes: Boxes, size_hw: tuple[int, int]) -> np.ndarray:
    """bool (N,): boxes at the left or right edge; the middle of their foot is not visible."""
    edge = EDGE_PIXELS * size_hw[0]
    return (boxes.xyxy[:, 0] <= edge) | (boxes.xyxy[:, 2] >= size_hw[1] - edge)


def foot_points(boxes: Boxes, camera: Camera) -> np.ndarray:
    """(N, 2) middle of the lower edge of the side that faces the camera; NaN for a rider without
    a two-wheeler, whose box ends above the road.

    A box wider than that side shows the vehicle's flank as well, on the side of the vanishing
    point, unless the vanishing point is inside the box.
    """
    x1, y1, x2, y2 = boxes.xyxy.astype(np.float64).reshape(-1, 4).T
    x0, y0 = camera.vanishing_xy
    widths = np.array([WIDTHS_M.get(name, np.inf) for name in boxes.names])[boxes.classes]
    half = np.minimum(widths * np.maximum(y2 - y0, 1) / camera.height, x2 - x1) / 2
    middle = (x1 + x2) / 2
    x = np.where(x1 > x0, x2 - half, np.where(x2 < x0, x1 + half, middle))
    wheels = np.array([name in TWO_WHEELERS for name in boxes.names], bool)[boxes.classes]
    riders = np.array([name == RIDER for name in boxes.names], bool)[boxes.classes]
    y = y2.copy()
    for i in np.flatnonzero(riders):
        overlap = np.minimum(x2, x2[i]) - np.maximum(x1, x1[i])
        under = wheels & (overlap > 0.5 * (x2[i] - x1[i])) & (y1 < y2[i])
        y[i] = y2[under].max() if under.any() else np.nan
    return np.column_stack([x, y])


def foot_sigma(boxes: Boxes, frame_height: int) -> np.ndarray:
    """(N,) standard deviation of the lower edge in pixels."""
    tall = boxes.xyxy[:, 3] - boxes.xyxy[:, 1]
    return np.hypot(FOOT_SIGMA * tall, FOOT_PIXELS * frame_height)


class Approach:
    """Time to collision per track, from the last TTC_WINDOW_S seconds of its distance.

    The distance is proportional to 1/v (v: rows below the horizon) and to 1/width, so the slope of
    either's logarithm over time is the rate -1/TTC, whatever the camera's height and focal length.
    """

    def __init__(self) -> None:
        self.tracks: dict[int, deque[tuple[float, float, float, float]]] = {}

    def update(
        self, boxes: Boxes, seconds: float, rows: np.ndarray, horizon: float, usable: np.ndarray,
        sigma: np.ndarray, ranges: Ranges,
    ) -> None:  # fmt: skip
        """Adds a frame and sets `ttc_s` of the ranges. `rows` (N,): of the feet, with `sigma`.
        A box that an edge cuts off (not `usable`) changes its size without moving."""
        if boxes.track_ids is None:
            return
        for i in np.flatnonzero(usable & (boxes.track_ids >= 0)):
            wide = float(boxes.xyxy[i, 2] - boxes.xyxy[i, 0])
            if wide <= 1:
                continue
            samples = self.tracks.setdefault(int(boxes.track_ids[i]), deque())
            samples.append((seconds, float(rows[i]), wide, float(sigma[i])))
            while seconds - samples[0][0] > TTC_WINDOW_S:
                samples.popleft()
            if ranges.distance_sigma_m[i] <= MAX_TTC_SIGMA * ranges.distance_m[i]:
                ranges.ttc_s[i], ranges.ttc_sigma_s[i] = _ttc(np.array(samples), horizon, seconds)
        self.tracks = {
            number: samples
            for number, samples in self.tracks.items()
            if seconds - samples[-1][0] <= TRACK_MEMORY_S
        }


def _ttc(samples: np.ndarray, horizon: float, now: float) -> tuple[float, float]:
    """(seconds, standard deviation) from (N, 4) seconds, row, width and error; NaN where the track
    is too short or does not come nearer."""
    none = (float("nan"), float("nan"))
    # One horizon for all rows: an estimate that moves would look like an approach.
    samples = samples[samples[:, 1] > horizon + 1]
    if len(samples) < TTC_SAMPLES or np.ptp(samples[:, 0]) < TTC_LEAST_S:
        return none
    t = samples[:, 0] - samples[:, 0].mean()
    square = float((t**2).sum())
    rate, weight = 0.0, 0.0
    for size, factor in ((samples[:, 1] - horizon, 1.0), (samples[:, 2], 1.4)):
        values = -np.log(size)
        values -= values.mean()
        slope = float(t @ values) / square
        scatter = float(np.sqrt(((values - slope * t) ** 2).sum() / max(len(t) - 2, 1)))
        # The errors of consecutive frames are alike, so the stated error counts as well.
        stated = 0.5 * factor * float((samples[:, 3] / size).mean())
        error = np.hypot(scatter, stated) / np.sqrt(square)
        rate, weight = rate - slope / error**2, weight + 1 / error**2
    rate, sigma = rate / weight, weight**-0.5
    if rate < 2 * sigma or rate < 1 / MAX_TTC_S:
        return none
    # The slope is that of the window's middle; at constant speed the time has since passed.
    return max(1 / rate - (now - float(samples[:, 0].mean())), 0.0), sigma / rate**2
