"""Lanes over time: ids that persist, curves that do not flicker, and the estimated camera."""

from collections import deque
from dataclasses import replace

import numpy as np

from perception.runtime.camera import Camera
from perception.runtime.lane_curve import LaneCurve, find_vanishing
from perception.runtime.lane_instances import (
    Lane,
    across_lanes,
    along_lanes,
    assign_sides,
    curve_points,
    lines_along,
)
from perception.runtime.scene import Mask

NEW_WEIGHT = 0.4  # of the newest frame in a smoothed curve
MAX_MISSED = 3  # frames a lane is kept without being seen
CONFIRM = 2  # frames until a new lane is shown, after the first frame of the drive
MATCH_ROWS = np.array([0.06, 0.16, 0.32])  # below the horizon, share of the frame's height
MATCH_SHARE = 0.03  # of the width: mean distance of the same marking in two frames


class _Track:
    def __init__(self, lane: Lane, number: int) -> None:
        self.lane, self.id, self.seen, self.missed = lane, number, 1, 0

    def update(self, lane: Lane) -> None:
        old, new = self.lane.curve, lane.curve
        assert old is not None
        assert new is not None
        # A horizon that moved between the frames changes what the coefficients mean.
        mix = NEW_WEIGHT if abs(old.horizon - new.horizon) < 1 else 1.0
        coefficients = mix * new.coefficients + (1 - mix) * old.coefficients
        curve = LaneCurve(coefficients, new.covariance, new.horizon)
        points = curve_points(curve, *lane.points[[0, -1], 1])
        score = mix * lane.score + (1 - mix) * self.lane.score
        self.lane = replace(lane, curve=curve, points=points, score=score)
        self.seen, self.missed = self.seen + 1, 0


class LaneTracker:
    """Markings along the road get an id and a smoothed curve; those across are per frame."""

    def __init__(self) -> None:
        self.tracks: list[_Track] = []
        self.frames = self.last_id = 0

    def update(self, mask: Mask, vanishing_xy: tuple[float, float]) -> list[Lane]:
        """The lanes of the next frame."""
        found = along_lanes(mask, vanishing_xy)
        self.frames += 1
        for track, lane in self._matches(found, mask.frame_hw):
            if lane is None:
                track.missed += 1
            else:
                track.update(lane)
        self.tracks = [track for track in self.tracks if track.missed <= MAX_MISSED]
        least = min(CONFIRM, self.frames)
        # A lane just missed stays for a few frames, with a falling score.
        shown = [
            replace(track.lane, id=track.id, score=track.lane.score * 0.7**track.missed, side="")
            for track in self.tracks
            if track.seen >= least
        ]
        shown.sort(key=lambda lane: lane.curve.offset if lane.curve else 0.0)
        return [*assign_sides(shown), *across_lanes(mask)]

    def _matches(
        self, found: list[Lane], size_hw: tuple[int, int]
    ) -> list[tuple[_Track, Lane | None]]:
        """(track, its lane in this frame); starts a track for every other lane."""
        height, width = size_hw
        pairs = sorted(
            (_distance(track.lane, lane, height) / width, i, j)
            for i, track in enumerate(self.tracks)
            for j, lane in enumerate(found)
        )
        matched: dict[int, int] = {}
        for distance, i, j in pairs:
            if distance <= MATCH_SHARE and i not in matched and j not in matched.values():
                matched[i] = j
        out: list[tuple[_Track, Lane | None]] = [
            (track, found[matched[i]] if i in matched else None)
            for i, track in enumerate(self.tracks)
        ]
        for j, lane in enumerate(found):
            if j not in matched.values():
                self.last_id += 1
                self.tracks.append(_Track(lane, self.last_id))
        return out


def _distance(a: Lane, b: Lane, height: int) -> float:
    assert a.curve is not None
    assert b.curve is not None
    rows = MATCH_ROWS * height + b.curve.horizon
    return float(np.abs(a.curve.x(rows) - b.curve.x(rows)).mean())


class CameraEstimator:
    """A camera from the lanes' vanishing point, a stated height and a field of view.

    The focal length does not follow from one vanishing point: it is that of `view_deg`, the
    horizontal field of view, with an uncertainty of 15 % (8 degrees around 60). Pitch and yaw are
    those of the median vanishing point of the last `KEPT` frames with at least two markings.
    """

    KEPT, LEAST = 90, 5
    SIGMA_FOCAL, SIGMA_HEIGHT, SIGMA_ROLL = 0.15, 0.05, 0.01
    FLOOR = 0.005  # of the frame's height: error of the horizon that more frames do not reduce

    def __init__(self, height_m: float, view_deg: float) -> None:
        self.height_m, self.view_deg = height_m, view_deg
        self.found: deque[tuple[float, float]] = deque(maxlen=self.KEPT)

    def update(self, mask: Mask, vanishing_xy: tuple[float, float]) -> None:
        """Adds a frame; one without two markings changes nothing."""
        lines = [line[:, :2] for line in lines_along(mask, vanishing_xy) if len(line) >= 16]
        point = find_vanishing(lines, mask.frame_hw)
        if point is not None and 0 <= point[0] < mask.frame_hw[1]:
            self.found.append(point)

    def vanishing_xy(self, size_hw: tuple[int, int]) -> tuple[float, float]:
        """The estimate, or the frame's centre before there is one."""
        if len(self.found) < 2:
            return size_hw[1] / 2, size_hw[0] / 2
        x, y = np.median(self.found, axis=0)
        return float(x), float(y)

    def camera(self, size_hw: tuple[int, int], intrinsics: Camera | None = None) -> Camera | None:
        """The camera, or None until LEAST frames agree; with `intrinsics` only pitch and yaw are
        estimated."""
        if len(self.found) < self.LEAST:
            return None
        x, y = self.vanishing_xy(size_hw)
        rows = np.array(self.found)[:, 1]
        spread = 1.4826 * float(np.median(np.abs(rows - y))) / np.sqrt(len(rows) / 3)
        base = intrinsics or _usual(size_hw, self.height_m, self.view_deg)
        fx, fy = base.focal_xy
        pitch = float(np.arctan((base.centre_xy[1] - y) / fy))
        yaw = -float(np.arctan((x - base.centre_xy[0]) / fx))
        sigma = float(np.hypot(spread, self.FLOOR * size_hw[0])) / fy
        return replace(base, pitch=pitch, yaw=yaw, sigma_pitch=sigma)


def _usual(size_hw: tuple[int, int], height_m: float, view_deg: float) -> Camera:
    focal = size_hw[1] / 2 / float(np.tan(np.radians(view_deg / 2)))
    return Camera(
        size_hw,
        (focal, focal),
        (size_hw[1] / 2, size_hw[0] / 2),
        height_m,
        sigma_roll=CameraEstimator.SIGMA_ROLL,
        sigma_focal=CameraEstimator.SIGMA_FOCAL,
        sigma_height=CameraEstimator.SIGMA_HEIGHT,
    )
