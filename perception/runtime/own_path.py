"""The own path in the picture, and the vehicle ahead in it. Needs no certain distances."""

from collections.abc import Sequence

import numpy as np

from perception.classes import DRIVABLE
from perception.runtime.camera import Camera
from perception.runtime.distance import MAX_LEAD_M, VEHICLES, WIDTHS_M, Ranges
from perception.runtime.lanes import Lane, ego_lane, frame_scale
from perception.runtime.scene import Boxes, Mask

LANE_WIDTH_M = 3.3  # assumed where one border is seen
TRUSTED_M = 1.1  # of a middle from one border, from the direction of the markings
NARROWEST = 0.6  # of a kind's usual width: what is narrower is none, or not seen whole
MIN_AREA, MAX_LANE = 0.6, 1.5  # widths of one lane, in LANE_WIDTH_M
# Reach from the path's middle, in half widths of the lane; IN_AREA and OUTSIDE_AREA where the mask
# shows more or less than one own lane. A vehicle that was the one ahead may be HELD further out.
IN_PATH, IN_AREA, OUTSIDE_AREA, HELD = 0.8, 0.7, 0.35, 0.2


class OwnPath:
    """The strip of road ahead of the vehicle in the picture: between the own lane's borders.

    A missing border is LANE_WIDTH_M from the other one. Without both, the path has the direction of
    the other markings. Unless both are seen, the drivable mask says as well where the own lane is.
    `camera` may be uncertain.
    """

    def __init__(self, lanes: Sequence[Lane], camera: Camera, area: Mask | None = None) -> None:
        self.camera, self.area = camera, area
        self.borders = {side: lane.curve for side, lane in ego_lane(lanes).items() if lane.curve}
        self.curves = [lane.curve for lane in lanes if lane.curve]

    def holds(self, x: float, y: float, more: float) -> bool:
        """Whether the foot of a box at this pixel is in the path, widened by `more` of its half
        width on each side."""
        half = LANE_WIDTH_M / 2 * self.metre(y)
        borders = {side: float(curve.x(y)) for side, curve in self.borders.items()}
        if len(borders) == 2:
            left, right = borders["left"], borders["right"]
            if right - left <= 2 * half * MAX_LANE:
                return abs(x - (left + right) / 2) <= (IN_PATH + more) * (right - left) / 2
            # More than one lane: the border that is farther away is not that of the own lane.
            ahead = self.camera.vanishing_xy[0]
            del borders["left" if ahead - left > right - ahead else "right"]
        middle, reach = self._middle(y, half, borders), IN_PATH
        own = self._own_columns(y, half)
        if own is not None:
            low, high = (own[0], own[-1]) if len(own) else (0.0, 0.0)
            if 2 * half * MIN_AREA < high - low < 2 * half * MAX_LANE:
                middle = (middle + (low + high) / 2) / 2
            else:
                reach = IN_AREA if low < x < high else OUTSIDE_AREA
        return abs(x - middle) <= (reach + more) * half

    def _middle(self, y: float, half: float, borders: dict[str, float]) -> float:
        """Column of the path's middle at a row, by one border or by the direction of the lanes."""
        headings = [curve.heading(y) for curve in self.curves]
        middle = float(np.mean(headings)) if headings else self.camera.vanishing_xy[0]
        for side, column in borders.items():
            by_border = column + half if side == "left" else column - half
            # A border that puts the vehicle out of its lane is likely not that of its lane.
            if abs(by_border - middle) < TRUSTED_M * self.metre(y):
                return by_border
        return middle

    def metre(self, y: float) -> float:
        """Pixels of a metre on the road at a row."""
        return (y - self.camera.vanishing_xy[1]) / self.camera.height

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
    """Index of the nearest vehicle in the own path, or -1.

    `held` is the track id of the last lead: it may be a little outside.
    """
    best, row = -1, -np.inf
    for i in np.flatnonzero(counted).tolist():
        x, y = feet[i].tolist()
        if boxes.name(i) not in VEHICLES or y <= max(path.camera.vanishing_xy[1] + 2, row):
            continue
        x1, _, x2, _ = boxes.xyxy[i].tolist()
        # Too narrow for its kind, whatever the focal length.
        narrow = x2 - x1 < NARROWEST * WIDTHS_M.get(boxes.name(i), 0.0) * path.metre(y)
        if ranges.distance_m[i] > MAX_LEAD_M or narrow:
            continue
        same = boxes.track_ids is not None and boxes.track_ids[i] == held >= 0
        if path.holds(x, y, HELD if same else 0.0):
            best, row = i, y
    return best
