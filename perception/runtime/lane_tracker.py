"""Lanes over time: ids that persist and curves that do not flicker."""

from dataclasses import replace

import numpy as np

from perception.runtime.lane_curve import LaneCurve
from perception.runtime.lanes import Lane, across_lanes, along_lanes, assign_sides, curve_points
from perception.runtime.scene import Mask

SMOOTH_S = 0.13  # time constant of the smoothed curves
MISSED_S = 0.3  # for which a lane is kept without being seen
CONFIRM_S = 0.07  # until a new lane is shown, after the first frame of the drive
LEAST_STEP_S = 0.005  # between frames
FADE_S = 0.28  # in which the score of a lane that is not seen falls to 1/e
MATCH_ROWS = np.array([0.06, 0.16, 0.32])  # below the horizon, share of the frame's height
MATCH_SHARE = 0.03  # of the width: mean distance of the same marking in two frames


class _Track:
    def __init__(self, lane: Lane, number: int, seconds: float) -> None:
        self.lane, self.id, self.first, self.last = lane, number, seconds, seconds

    def update(self, lane: Lane, seconds: float) -> None:
        old, new = self.lane.curve, lane.curve
        assert old is not None
        assert new is not None
        mix = 1 - float(np.exp((self.last - seconds) / SMOOTH_S))
        # x = a v + c + b / v: a horizon that moved changes c (and b / v a little).
        moved = np.array([0.0, old.offset * (new.horizon - old.horizon), 0.0])
        coefficients = mix * new.coefficients + (1 - mix) * (old.coefficients + moved)
        curve = LaneCurve(coefficients, new.covariance, new.horizon)
        points = curve_points(curve, *lane.points[[0, -1], 1])
        score = mix * lane.score + (1 - mix) * self.lane.score
        self.lane = replace(lane, curve=curve, points=points, score=score)
        self.last = seconds


class LaneTracker:
    """Markings along the road get an id and a smoothed curve; those across are per frame."""

    def __init__(self) -> None:
        self.tracks: list[_Track] = []
        self.last_id = 0
        self.first = self.now = -np.inf  # seconds of the first frame and of the newest

    def update(
        self, mask: Mask, lines: list[np.ndarray], vanishing_xy: tuple[float, float], seconds: float
    ) -> list[Lane]:
        """The lanes of the next frame, at `seconds` of the drive; `lines`: of lines_along."""
        lanes = along_lanes(mask, lines, vanishing_xy)
        found = [lane for lane in lanes if lane.curve is not None]
        loose = [lane for lane in lanes if lane.curve is None]
        # Frames without usable times still count as later than the ones before.
        self.now = now = max(seconds, self.now + LEAST_STEP_S)
        if np.isinf(self.first):
            self.first = now
        self._match(found, mask.frame_hw, vanishing_xy[1])
        self.tracks = [track for track in self.tracks if now - track.last <= MISSED_S]
        # A lane just missed stays for a moment, with a falling score.
        shown = [
            replace(
                track.lane,
                id=track.id,
                score=track.lane.score * float(np.exp((track.last - now) / FADE_S)),
                side="",
            )
            for track in self.tracks
            if track.last - track.first >= CONFIRM_S or track.first == self.first
        ]
        shown.sort(key=lambda lane: lane.curve.offset if lane.curve else 0.0)
        return [*assign_sides(shown), *loose, *across_lanes(mask)]

    def _match(self, found: list[Lane], size_hw: tuple[int, int], horizon: float) -> None:
        """Updates tracks by this frame's lanes, nearest pairs first, and starts one for every other
        lane."""
        height, width = size_hw
        rows = MATCH_ROWS * height + horizon
        then, now = (_columns(lanes, rows) for lanes in ([one.lane for one in self.tracks], found))
        apart = np.abs(then[:, None] - now).mean(-1) / width  # (tracks, lanes)
        near = np.argwhere(apart <= MATCH_SHARE).tolist()
        matched: dict[int, int] = {}
        for i, j in sorted(near, key=lambda pair: float(apart[tuple(pair)])):
            if i not in matched.values() and j not in matched:
                matched[j] = i
                self.tracks[i].update(found[j], self.now)
        for j, lane in enumerate(found):
            if j not in matched:
                self.last_id += 1
                self.tracks.append(_Track(lane, self.last_id, self.now))


def _columns(lanes: list[Lane], rows: np.ndarray) -> np.ndarray:
    """(lanes, rows) columns of their curves."""
    found = [lane.curve.x(rows) for lane in lanes if lane.curve is not None]
    return np.array(found).reshape(-1, len(rows))
