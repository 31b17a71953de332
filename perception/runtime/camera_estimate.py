"""The camera's direction from what it sees: lanes that meet, road users of usual height, a prior.

The vanishing point of straight driving is a Gaussian. It starts at the principal point with the
spread of mounted cameras (SIGMA_MOUNT). Its row is measured by lanes that meet (lane_curve.py) and
by road users: on a flat road, the horizon cuts every object at the camera's height (Hoiem, Efros
and Hebert, Putting Objects in Perspective, CVPR 2006). Its column is measured by the lanes.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from perception.runtime.camera import GROUND_CURVATURE, Camera
from perception.runtime.distance import cut_off, foot_sigma
from perception.runtime.lane_curve import combine, find_column, find_row
from perception.runtime.scene import Boxes

SIGMA_MOUNT = 0.05  # radians: pitch and yaw of cameras mounted by hand
SIGMA_FOCAL, SIGMA_HEIGHT, SIGMA_ROLL = 0.15, 0.05, 0.01  # of a camera without calibration
USUAL_HEIGHT_M, SIGMA_UNKNOWN_HEIGHT = 1.4, 0.2
# Height of road users in metres and its standard deviation.
HEIGHTS_M = {
    "car": (1.55, 0.16), "bus": (3.1, 0.3), "pedestrian": (1.68, 0.15), "person": (1.68, 0.15),
}  # fmt: skip
MEMORY_S = 20.0  # after which a measurement counts 1/e
SEARCH_S = 0.2  # between two searches of a known horizon
LANES_S, USERS_S = 1.0, 4.0  # time between independent measurements of the same lanes, vehicles
FLOOR = 0.005  # share of the frame's height: error of the row that more frames do not reduce
MAX_SIGMA_ROW = 0.05  # share of the frame's height: the row of a given camera is better known
LEAST_POINTS = 16  # of a marking


class _Mean:
    """Mean of measurements weighted by their information; old ones fade.

    Measurements within `apart` seconds share their errors, so they count as one.
    """

    def __init__(self, apart: float) -> None:
        self.apart = apart
        self.sums = np.zeros(4)  # of 1, weight, weight * value, weight * value²
        self.first = self.last = 0.0

    def add(
        self, value: float, sigma: float, seconds: float, expected: tuple[float, float]
    ) -> None:
        """`expected`: mean and standard deviation before, for the weight of outliers (Cauchy)."""
        if not self.sums[0]:
            self.first = self.last = seconds
        off = (value - expected[0]) / (2 * np.hypot(sigma, expected[1]))
        weight = sigma**-2 / (1 + off**2)
        self.sums *= np.exp(-max(seconds - self.last, 0.0) / MEMORY_S)
        self.sums += np.array([1, weight, weight * value, weight * value**2])
        self.last = max(seconds, self.last)

    def __call__(self) -> tuple[float, float]:
        """(mean, information); information is 0 without a measurement."""
        count, weight, first, second = self.sums.tolist()
        if count <= 0:
            return 0.0, 0.0
        mean = first / weight
        variance = max(count / weight, second / weight - mean**2)
        independent = 1 + min(self.last - self.first, MEMORY_S) / self.apart
        return mean, min(independent, count) / variance


class CameraEstimator:
    """A camera of stated height whose pitch and yaw are estimated.

    `size_hw`: of the frames. `intrinsics`: focal length, centre and height of a calibration, or of
    `usual_camera`. Call `update` once per frame.
    """

    def __init__(self, intrinsics: Camera) -> None:
        self.base = intrinsics
        self.lanes, self.users, self.column = _Mean(LANES_S), _Mean(USERS_S), _Mean(LANES_S)
        self.searched = -math.inf
        self.prior_x, self.prior_y = (
            (centre, (focal * SIGMA_MOUNT) ** -2)
            for centre, focal in zip(intrinsics.centre_xy, intrinsics.focal_xy, strict=True)
        )

    @property
    def row(self) -> tuple[float, float]:
        """The horizon's row and its standard deviation, pixels."""
        row, sigma = combine(self.prior_y, self.lanes(), self.users())
        return row, float(np.hypot(sigma, FLOOR * self.base.size_hw[0]))

    @property
    def vanishing_xy(self) -> tuple[float, float]:
        """Pixel of the direction straight ahead."""
        return combine(self.prior_x, self.column())[0], self.row[0]

    def update(self, lines: list[np.ndarray], boxes: list[Boxes], seconds: float) -> None:
        """Adds a frame: points (N, 2) xy of each marking along the road, and its boxes."""
        size_hw = self.base.size_hw
        # The lanes of the next frames are the same ones, so a known horizon is not searched again
        # in each.
        due = not self.certain or not 0 <= seconds - self.searched < SEARCH_S
        lines = [line for line in lines if len(line) >= LEAST_POINTS] if due else []
        self.searched = seconds if due else self.searched
        found = find_row(lines, size_hw)
        if found is not None:
            self.lanes.add(*found, seconds, self.row)
        users = [one for part in boxes for one in self._user_rows(part)]
        if users:
            # Heights of different road users are independent; outliers are not on this plane.
            rows, sigmas = np.array(users).T
            weight = sigmas**-2
            for _ in range(3):
                mean = float(np.average(rows, weights=weight))
                weight = sigmas**-2 / (1 + ((rows - mean) / (2 * sigmas)) ** 2)
            self.users.add(mean, float(weight.sum() ** -0.5), seconds, self.row)
        column = find_column(lines, *self.row, size_hw[1])
        if column is not None:
            self.column.add(*column, seconds, combine(self.prior_x, self.column()))

    @property
    def certain(self) -> bool:
        """Whether lanes or road users say where the horizon is."""
        return self.row[1] <= MAX_SIGMA_ROW * self.base.size_hw[0]

    def camera(self) -> Camera:
        """The camera with the most probable pitch and yaw."""
        y, sigma = self.row
        x, sigma_x = combine(self.prior_x, self.column())
        (fx, fy), (cx, cy) = self.base.focal_xy, self.base.centre_xy
        return replace(
            self.base,
            pitch=float(np.arctan((cy - y) / fy)),
            yaw=-float(np.arctan((x - cx) / fx)),
            sigma_pitch=sigma / fy,
            sigma_yaw=sigma_x / fx,
        )

    def _user_rows(self, boxes: Boxes) -> Iterator[tuple[float, float]]:
        """(row of the horizon, standard deviation) from each road user of known height."""
        size_hw, camera_m = self.base.size_hw, self.base.height
        whole = ~cut_off(boxes, size_hw)
        edge = foot_sigma(boxes, size_hw[0])
        horizon = self.row[0]
        for i in np.flatnonzero(whole).tolist():
            if boxes.name(i) not in HEIGHTS_M:
                continue
            usual, spread = HEIGHTS_M[boxes.name(i)]
            top, foot = float(boxes.xyxy[i, 1]), float(boxes.xyxy[i, 3])
            below = camera_m * (foot - top) / usual
            # Errors of the height, of both edges, and of the road, which is no plane.
            forward = self.base.focal_xy[1] * camera_m / max(foot - horizon, 1.0)
            bump = 0.5 * GROUND_CURVATURE * forward**2 / camera_m
            share = np.sqrt((spread / usual) ** 2 + self.base.sigma_height**2 + bump**2)
            edges = float(edge[i]) * np.hypot(1 - camera_m / usual, camera_m / usual)
            yield foot - below, float(np.hypot(share * below, edges))


def usual_camera(size_hw: tuple[int, int], height_m: float | None, view_deg: float) -> Camera:
    """Intrinsics of a camera of horizontal field of view `view_deg`; the focal length does not
    follow from one vanishing point, so its uncertainty is 15 % (8 degrees around 60)."""
    focal = size_hw[1] / 2 / float(np.tan(np.radians(view_deg / 2)))
    return Camera(
        size_hw,
        (focal, focal),
        (size_hw[1] / 2, size_hw[0] / 2),
        height_m or USUAL_HEIGHT_M,
        sigma_roll=SIGMA_ROLL,
        sigma_focal=SIGMA_FOCAL,
        sigma_height=SIGMA_HEIGHT if height_m else SIGMA_UNKNOWN_HEIGHT,
    )
