"""A pinhole camera over a flat road: pixels to metres on the ground and back.

Vehicle frame: x right, y up, z forward, metres; the camera is at (0, height, 0). Ground points are
(N, 2) arrays of (right, forward). Angles: pitch is positive when the camera looks down, roll when
it turns clockwise as seen from behind, yaw when it looks to the right of the driving direction.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np

MAX_FORWARD_M = 250.0
# Standard deviation of a road's vertical curvature, 1/m: radii of 10 km are usual, of 2 km rare.
GROUND_CURVATURE = 1e-4
FISHEYE = "equidistant"


@dataclass(frozen=True)
class Camera:
    """Intrinsics in pixels of a frame of `size_hw`, and the pose over the ground.

    The `sigma_` fields are standard deviations: of pitch, yaw and roll in radians, of the focal
    length and the height as a share of the value.
    """

    size_hw: tuple[int, int]
    focal_xy: tuple[float, float]
    centre_xy: tuple[float, float]
    height: float  # metres
    pitch: float = 0.0  # radians
    roll: float = 0.0
    yaw: float = 0.0
    distortion: tuple[float, ...] = ()  # OpenCV's order: k1 k2 p1 p2 k3 ...
    distortion_model: str = "plumb_bob"
    sigma_pitch: float = 0.003
    sigma_yaw: float = 0.005
    sigma_roll: float = 0.005
    sigma_focal: float = 0.01
    sigma_height: float = 0.03

    @cached_property
    def rotation(self) -> np.ndarray:
        """(3, 3) camera frame (x right, y down, z forward) -> vehicle frame."""
        angles = [self.pitch, self.roll, self.yaw]
        (cp, cr, cy), (sp, sr, sy) = np.cos(angles), np.sin(angles)
        roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        pitch = np.array([[1, 0, 0], [0, -cp, -sp], [0, -sp, cp]])
        yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        return yaw @ pitch @ roll

    @cached_property
    def matrix(self) -> np.ndarray:
        """(3, 3) intrinsic matrix."""
        (fx, fy), (cx, cy) = self.focal_xy, self.centre_xy
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])

    @property
    def horizon(self) -> float:
        """Row of the horizon at the principal point's column (without distortion)."""
        return self.centre_xy[1] - self.focal_xy[1] * float(np.tan(self.pitch))

    @cached_property
    def vanishing_xy(self) -> tuple[float, float]:
        """Pixel of the direction straight ahead of the vehicle (without distortion)."""
        ahead = self.rotation.T @ np.array([0.0, 0.0, 1.0])
        x, y = ahead[:2] / ahead[2] * self.focal_xy + self.centre_xy
        return float(x), float(y)

    def undistort(self, pixels: np.ndarray) -> np.ndarray:
        """(N, 2) pixels of the frame -> (N, 2) pixels of a camera without lens distortion."""
        if not any(self.distortion) or not len(pixels):
            return np.asarray(pixels, np.float64).reshape(-1, 2)
        points, coefficients = np.asarray(pixels, np.float64), np.array(self.distortion)
        found = self._lens.undistortPoints(
            points.reshape(-1, 1, 2), self.matrix, coefficients, P=self.matrix
        )
        return found.reshape(-1, 2)

    def ground(self, pixels: np.ndarray) -> np.ndarray:
        """(N, 2) pixels -> (N, 2) ground points; NaN on and above the horizon and beyond
        MAX_FORWARD_M."""
        rays = (self.undistort(pixels) - self.centre_xy) / self.focal_xy
        world = np.column_stack([rays, np.ones(len(rays))]) @ self.rotation.T
        down = np.maximum(-world[:, 1], 1e-9)
        points = self.height * world[:, [0, 2]] / down[:, None]
        valid = (world[:, 1] < 0) & (points[:, 1] > 0) & (points[:, 1] <= MAX_FORWARD_M)
        points[~valid] = np.nan
        return points

    def pixels(self, ground: np.ndarray) -> np.ndarray:
        """(N, 2) ground points -> (N, 2) pixels; NaN behind the camera."""
        ground = np.asarray(ground, np.float64).reshape(-1, 2)
        world = np.column_stack([ground[:, 0], np.full(len(ground), -self.height), ground[:, 1]])
        points = world @ self.rotation
        ahead = points[:, 2] > 0.1
        rays = points[:, :2] / np.where(ahead, points[:, 2], np.nan)[:, None]
        if any(self.distortion) and ahead.any():
            rays[ahead] = self._distort(rays[ahead])
        return rays * self.focal_xy + self.centre_xy

    def relative_sigma(
        self, forward_m: np.ndarray, column: np.ndarray, row_sigma: np.ndarray | float
    ) -> np.ndarray:
        """Standard deviation of the distance of ground points as a share of it.

        First order, from Z = f h / v with v the rows below the horizon (Stein, Mano and Shashua,
        2003): the errors of the row (`row_sigma`, pixels), pitch, roll, focal length and height,
        and the ground's deviation from a plane.
        """
        forward_m = np.asarray(forward_m, np.float64)
        rows = self.focal_xy[1] * self.height / forward_m  # v
        tilt = (np.asarray(column) - self.centre_xy[0]) * self.sigma_roll
        row = np.hypot(np.hypot(row_sigma, self.focal_xy[1] * self.sigma_pitch), tilt)
        bump = 0.5 * GROUND_CURVATURE * forward_m**2 / self.height
        known = self.sigma_focal**2 + self.sigma_height**2
        return np.sqrt((row / rows) ** 2 + bump**2 + known)

    @property
    def _lens(self) -> Any:
        """The part of OpenCV that knows this model of a lens."""
        return cv2.fisheye if self.distortion_model == FISHEYE else cv2

    def _distort(self, rays: np.ndarray) -> np.ndarray:
        points = np.column_stack([rays, np.ones(len(rays))])[:, None]
        zero, coefficients = np.zeros(3), np.array(self.distortion)
        return self._lens.projectPoints(points, zero, zero, np.eye(3), coefficients)[0][:, 0]
