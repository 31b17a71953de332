"""The pinhole camera and the curved, sloping ground under it.

World frame: x right, y up, z forward, metres; the camera is at (0, height, 0). Things are placed
by road coordinates (s ahead, t to the right), which `Curve` maps to the world frame.
Camera frame: x right, y down, z forward. Depth is z of the camera frame.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

NEAR = 0.3
START = 1.0  # metres ahead where strips begin: below the lower edge of every frame


@dataclass(frozen=True)
class Curve:
    """Ground surface x = t + yaw*z + bend*z²/2, y = lift*z²/2; the camera stands at z = 0."""

    yaw: float = 0.0
    bend: float = 0.0
    lift: float = 0.0

    def shift(self, z: np.ndarray) -> np.ndarray:
        return (self.yaw + 0.5 * self.bend * z) * z

    def place(self, s: np.ndarray, t: np.ndarray, above: np.ndarray | float = 0.0) -> np.ndarray:
        """World points (..., 3) of road coordinates, `above` metres over the ground."""
        s = np.asarray(s, np.float32)
        x = t + self.shift(s)
        y = 0.5 * self.lift * s * s + above
        return np.stack(np.broadcast_arrays(x, y, s), axis=-1).astype(np.float32)

    def heading(self, s: np.ndarray) -> np.ndarray:
        """Angle of the road at s, positive to the right."""
        return np.asarray(np.arctan(self.yaw + self.bend * s))

    def sight(self, height: float) -> float:
        """Visible distance of the ground in metres: up to the crest of a hill, at most 260."""
        crest = np.sqrt(2 * height / -self.lift) if self.lift < 0 else np.inf
        return float(min(260.0, 0.97 * crest))


@dataclass(frozen=True)
class Camera:
    """Pinhole with pitch (positive looks down) and roll, `height` metres over the ground."""

    size_hw: tuple[int, int]
    focal: float
    centre_xy: tuple[float, float]
    height: float
    pitch: float = 0.0
    roll: float = 0.0

    @cached_property
    def rotation(self) -> np.ndarray:
        """(3, 3) camera frame -> world frame."""
        cp, sp = np.cos(self.pitch), np.sin(self.pitch)
        cr, sr = np.cos(self.roll), np.sin(self.roll)
        roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        pitch = np.array([[1, 0, 0], [0, -cp, -sp], [0, -sp, cp]])
        return (pitch @ roll).astype(np.float32)

    @cached_property
    def plane(self) -> tuple[np.ndarray, np.ndarray]:
        """x (W,) and y (H, 1) of the pixels in the camera frame, at depth 1."""
        h, w = self.size_hw
        x = (np.arange(w, dtype=np.float32) - self.centre_xy[0]) / self.focal
        y = (np.arange(h, dtype=np.float32) - self.centre_xy[1]) / self.focal
        return x, y[:, None]

    @cached_property
    def rays(self) -> np.ndarray:
        """(3, H, W) world direction per pixel, with length 1 along the optical axis."""
        (x, y), r = self.plane, self.rotation[..., None, None]
        return r[:, 0] * x + r[:, 1] * y + r[:, 2]

    def to_camera(self, world: np.ndarray) -> np.ndarray:
        """(..., 3) world -> (..., 3) camera frame."""
        return (world - np.array([0, self.height, 0], np.float32)) @ self.rotation

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) camera-frame points -> (..., 2) pixels; those behind it move in front."""
        scale = self.focal / np.maximum(points[..., 2:], NEAR * 0.5)
        return points[..., :2] * scale + np.asarray(self.centre_xy, np.float32)

    def horizon(self) -> float:
        """Row of the horizon at the middle column."""
        return float(self.centre_xy[1] - self.focal * np.tan(self.pitch))

    def ground_depth(
        self, curve: Curve, above: float = 0.0, where: np.ndarray | None = None
    ) -> np.ndarray:
        """Depth of the ground raised by `above`, of all pixels or those at flat indices `where`.

        inf where the ray does not meet the ground.
        """
        up, ahead = self.rays[1], self.rays[2]
        if where is not None:
            up, ahead = up.ravel().take(where), ahead.ravel().take(where)
        height = self.height - above
        square = up * up
        if curve.lift:
            square += np.float32(2 * curve.lift * height) * (ahead * ahead)
        below = np.where(square < 0, 0, np.sqrt(np.maximum(square, 0)) - up)
        depth = np.float32(2 * height) / np.maximum(below, np.float32(1e-5))
        return np.where(below > 1e-5, depth, np.float32(np.inf))


def band(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The outline between two edges."""
    return np.concatenate([left, right[::-1]])


@dataclass
class Viewpoint:
    """The camera of one frame, at road position (s, t) of the drive."""

    camera: Camera
    curve: Curve
    s: float
    t: float

    @property
    def sight(self) -> float:
        return self.curve.sight(self.camera.height)

    def project(
        self, s: np.ndarray | np.floating, t: np.ndarray | np.floating, above: float = 0.0
    ) -> np.ndarray:
        """Pixels (..., 2) of road coordinates of the drive; s is clipped to the visible range."""
        z = np.clip(np.asarray(s, np.float32) - np.float32(self.s), START, self.sight)
        x = np.asarray(t, np.float32) - np.float32(self.t)
        return self.camera.pixels(self.camera.to_camera(self.curve.place(z, np.asarray(x), above)))

    def steps(self, start: float, end: float, count: int = 26) -> np.ndarray:
        """Positions along s that are evenly spaced in the image."""
        first = max(start - self.s, START)
        last = min(end - self.s, self.sight)
        share = np.arange(count, dtype=np.float32) / (count - 1)
        return np.float32(self.s) + np.float32(first) * (max(last, first + 0.01) / first) ** share

    def ahead(self, start: float, end: float) -> bool:
        return end - self.s > START and start - self.s < self.sight

    def strip(
        self, left: float, right: float, start: float, end: float, above: float = 0.0
    ) -> np.ndarray:
        """Outline of a strip of the ground."""
        s = self.steps(start, end)
        return band(*self.project(s[None], np.array([[left], [right]]), above))
