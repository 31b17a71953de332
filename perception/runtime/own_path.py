"""The own path in the picture, and the vehicle ahead in it. Needs no certain distances."""

from collections.abc import Sequence
from math import erf, sqrt

import numpy as np

from perception.classes import DRIVABLE
from perception.runtime.camera import Camera
from perception.runtime.distance import MAX_LEAD_M, VEHICLES, WIDTHS_M, Ranges
from perception.runtime.lane_curve import BEND_SIGMA, LINE_SIGMA, combine
from perception.runtime.lanes import Lane, ego_lane, frame_scale
from perception.runtime.scene import Boxes, Mask

LANE_WIDTH_M = 3.3  # assumed where one border is seen
BORDER_SIGMA_M = 0.36  # of the middle from one border: half of the width's 0.4, and its own 0.3
PLACE_SIGMA_M = 0.3  # of the vehicle in its lane
TRUSTED_M = 0.8  # of a middle from one border, from where the path would be without it
NARROWEST = 0.6  # of a kind's usual width: what is narrower is none, or not seen whole
BORDER_SIGMA = 0.2  # of the middle between two borders, share of half the width
AREA_SIGMA, WIDE_AREA_SIGMA = 0.3, 0.5  # of an area's middle, share of half its width
MIN_AREA, MAX_LANE = 0.6, 1.5  # widths of one lane, in LANE_WIDTH_M
AREA_TRUST = 0.9  # that the drivable mask is right
IN_PATH, STILL_IN_PATH = 0.8, 1.0  # of half the path's width, for a new lead and the last one


class OwnPath:
    """The strip of road ahead of the vehicle in the picture: between the own lane's borders.

    A missing border is LANE_WIDTH_M from the other one. Without both, the path follows direction
    and bend of the other markings. Unless both are seen, the drivable mask says as well where the
    own lane is. `camera` may be uncertain.
    """

    def __init__(self, lanes: Sequence[Lane], camera: Camera, area: Mask | None = None) -> None:
        self.camera, self.area = camera, area
        self.borders = {side: lane.curve for side, lane in ego_lane(lanes).items() if lane.curve}
        self.curves = [lane.curve for lane in lanes if lane.curve]

    def probability(self, x: float, y: float, share: float) -> float:
        """That a foot at this pixel is within `share` of half the width of the path's middle."""
        half = LANE_WIDTH_M / 2 * (y - self.camera.vanishing_xy[1]) / self.camera.height
        borders = {side: float(curve.x(y)) for side, curve in self.borders.items()}
        if len(borders) == 2:
            left, right = borders["left"], borders["right"]
            if right - left <= 2 * half * MAX_LANE:
                half = max(right - left, 0.0) / 2
                return _within(x - (left + right) / 2, share * half, BORDER_SIGMA * half)
            # More than one lane: the border that is farther away is not that of the own lane.
            ahead = self.camera.vanishing_xy[0]
            del borders["left" if ahead - left > right - ahead else "right"]
        own = self._own_columns(y, half)
        if own is None:
            return self._between(x, share * half, self._middles(y, half, borders))
        wide, parts = False, self._middles(y, half, borders)
        if len(own):
            left, right = float(own[0]), float(own[-1])
            wide = right - left > 2 * half * MAX_LANE
            if right - left > 2 * half * MIN_AREA:
                sigma = WIDE_AREA_SIGMA if wide else AREA_SIGMA
                parts.append(((left + right) / 2, sigma * (right - left) / 2))
        found = self._between(x, share * half, parts)
        # Bayes' rule with the share of the own lane in the ground below the foot. An area of
        # several lanes does not say that the foot is in the own one.
        below = np.linspace(x - half / 4, x + half / 4, 9)
        seen = float(np.interp(below, own, np.ones(len(own)), 0, 0).mean()) if len(own) else 0.0
        agrees = AREA_TRUST * seen + (1 - AREA_TRUST) * (1 - seen)
        agrees = min(agrees, 0.5) if wide else agrees
        return found * agrees / (found * agrees + (1 - found) * (1 - agrees))

    def _between(self, x: float, half: float, parts: list[tuple[float, float]]) -> float:
        """Probability that x is within `half` of the middle given by independent Gaussians."""
        middle, sigma = combine(*((mean, sigma**-2) for mean, sigma in parts))
        return _within(x - middle, half, sigma)

    def _middles(
        self, y: float, half: float, borders: dict[str, float]
    ) -> list[tuple[float, float]]:
        """Columns of the path's middle at a row and their standard deviations, from markings."""
        middle, sigma = self._straight_on(y, half)
        parts = [(middle, sigma)]
        metre = 2 * half / LANE_WIDTH_M
        for side, column in borders.items():
            by_border = column + half if side == "left" else column - half
            # A border that puts the vehicle out of its lane is likely not that of its lane.
            excess = max(abs(by_border - middle) - TRUSTED_M * metre, 0.0)
            parts.append((by_border, float(np.hypot(BORDER_SIGMA_M * metre, excess))))
        return parts

    def _straight_on(self, y: float, half: float) -> tuple[float, float]:
        """Column of the path's middle and its standard deviation without the own lane's borders:
        along direction and bend of all markings."""
        camera, width = self.camera, self.camera.size_hw[1]
        bend = BEND_SIGMA * width**2 / (y - camera.vanishing_xy[1])
        ahead = (camera.vanishing_xy[0], np.hypot(camera.sigma_yaw * camera.focal_xy[0], bend))
        found = np.array([ahead, *(curve.heading(y) for curve in self.curves)])
        found[1:, 1] = np.hypot(found[1:, 1], LINE_SIGMA * width)
        middle, sigma = combine(*zip(found[:, 0], found[:, 1] ** -2, strict=True))
        return middle, float(np.hypot(sigma, 2 * PLACE_SIGMA_M / LANE_WIDTH_M * half))

    def too_narrow(self, boxes: Boxes, index: int, y: float) -> bool:
        """Whether a vehicle with its foot at this row is too narrow for its kind, whatever the
        focal length."""
        x1, _, x2, _ = boxes.xyxy[index].tolist()
        metre = (y - self.camera.vanishing_xy[1]) / self.camera.height
        return x2 - x1 < NARROWEST * WIDTHS_M.get(boxes.name(index), 0.0) * metre

    def _own_columns(self, y: float, half: float) -> np.ndarray | None:
        """Frame columns of the own lane in the drivable mask just below a row; None without a
        mask or below its last row."""
        if self.area is None:
            return None
        scale_x, scale_y = frame_scale(self.area)
        row = round(y / scale_y) + 1
        part = self.area.small[row : row + max(3, round(0.3 * half / scale_y))]
        if not part.size:
            return None
        own = part == self.area.view.classes.index(DRIVABLE[0])
        return (np.flatnonzero(own.mean(axis=0) > 0.5) + 0.5) * scale_x


def lead_vehicle(
    boxes: Boxes, counted: np.ndarray, feet: np.ndarray, ranges: Ranges, path: OwnPath, held: int
) -> int:
    """Index of the nearest vehicle that is more probably than not in the own path, or -1.

    `held` is the track id of the last lead: it may be a little outside.
    """
    best, row = -1, -np.inf
    for i in np.flatnonzero(counted).tolist():
        x, y = feet[i].tolist()
        if boxes.name(i) not in VEHICLES or y <= max(path.camera.vanishing_xy[1] + 2, row):
            continue
        if ranges.distance_m[i] > MAX_LEAD_M or path.too_narrow(boxes, i, y):
            continue
        same = boxes.track_ids is not None and boxes.track_ids[i] == held >= 0
        if path.probability(x, y, STILL_IN_PATH if same else IN_PATH) > 0.5:
            best, row = i, y
    return best


def _within(off: float, half: float, sigma: float) -> float:
    """Probability that a Gaussian around `off` is from -half to half."""
    low, high = (erf((edge - off) / max(sigma, 1e-6) / sqrt(2)) for edge in (-half, half))
    return (high - low) / 2
