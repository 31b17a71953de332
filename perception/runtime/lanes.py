"""Lanes of a lane byte mask: one curve per marking, with type, side and score. What is drawn,
logged, measured and sent are these."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np

from perception.classes import (
    LANE_BACKGROUND_BIT,
    LANE_CATEGORY_BITS,
    LANE_DIRECTION_BIT,
    LANE_DIRECTION_SHIFT,
    LANE_STYLE_SHIFT,
)
from perception.runtime.camera import Camera
from perception.runtime.lane_curve import LaneCurve, fit_curves
from perception.runtime.lane_rows import follow_rows
from perception.runtime.scene import Mask, Scene
from perception.runtime.view import View

KERB, CROSSWALK = "road curb", "crosswalk"
EGO_LEFT, EGO_RIGHT, NEXT_LEFT, NEXT_RIGHT = "ego left", "ego right", "next left", "next right"
KERB_LEFT, KERB_RIGHT, ACROSS = "kerb left", "kerb right", "across"
# In camera heights (of about 1.4 m).
MAX_LANE_WIDTH = 3.0
MIN_LANE_WIDTH = 1.2
KERB_REACH = 1.7  # a kerb further away has a parking lane or a shoulder before it
SAME_MARKING = 0.25
MAX_OFFSET_SIGMA = 0.35
MIN_ROW_SHARE = 0.06  # of the frame's height that a marking covers at least
LOOSE_ROW_SHARE = 0.03  # of a marking that does not run along the road
MIN_SUPPORT = 0.35  # share of the rows between its ends in which a marking is seen
MAX_CENTRE_SHARE = 0.1  # of the frame's width, between a line's aim and the vanishing point
POINTS = 24
EVENLY = np.linspace(0, 1, POINTS)
NO_LINE, LINE_ALONG, LINE_ACROSS, ON_CROSSWALK = range(4)
MIN_ACROSS_AREA = 0.0006  # of the mask
MAX_GROUND_SIGMA = 0.5  # relative: points with a less certain distance have no metres


@dataclass(frozen=True)
class Lane:
    """One marking. `points` runs from near to far, or from left to right for markings across."""

    points: np.ndarray  # float (N, 2) xy, frame pixels
    category: str
    style: str
    direction: str
    score: float  # 0 to 1: share of the rows in which the mask supports the curve
    side: str = ""
    curve: LaneCurve | None = None  # None for markings that do not run along the road
    id: int = -1
    ground: np.ndarray | None = None  # float (N, 2) right and forward in metres, with a camera

    @property
    def is_ego(self) -> bool:
        """Whether it borders the own lane."""
        return self.side in (EGO_LEFT, EGO_RIGHT)


@cache
def directions(view: View) -> np.ndarray:
    """uint8 (256,): for each lane byte NO_LINE, LINE_ALONG, LINE_ACROSS or ON_CROSSWALK."""
    byte = np.arange(256)
    kinds = np.where(byte & LANE_DIRECTION_BIT, LINE_ACROSS, LINE_ALONG)
    if CROSSWALK in view.categories:
        kinds[(byte & LANE_CATEGORY_BITS) == view.categories.index(CROSSWALK)] = ON_CROSSWALK
    return np.where(byte & LANE_BACKGROUND_BIT, NO_LINE, kinds).astype(np.uint8)


def frame_scale(mask: Mask) -> np.ndarray:
    """(2,) frame pixels per pixel of the mask, x and y."""
    return np.array(mask.frame_hw[::-1]) / mask.small.shape[::-1]


def lane_mask(scene: Scene) -> Mask | None:
    """The scene's lane byte mask."""
    return next((mask for _, mask in scene.of(Mask) if mask.is_lane_byte), None)


def lines_along(mask: Mask, vanishing_xy: tuple[float, float]) -> list[np.ndarray]:
    """Per marking along the road its points, (N, 3): x and y in frame pixels, and the byte."""
    byte = mask.small
    scale = frame_scale(mask)
    x, y = np.asarray(vanishing_xy) / scale - 0.5
    along = cv2.LUT(byte, directions(mask.view)) == LINE_ALONG
    lines = follow_rows(along, byte, (float(x), float(y)))
    for line in lines:
        line[:, :2] = (line[:, :2] + 0.5) * scale
    return lines


def along_lanes(
    mask: Mask, lines: list[np.ndarray], vanishing_xy: tuple[float, float]
) -> list[Lane]:
    """The markings among `lines` (of lines_along): those along the road, from left to right, with
    their sides, then the others."""
    height, width = mask.frame_hw
    step = 2 * height / mask.small.shape[0]  # of the rows that are followed
    lanes, loose = [], list[Lane]()
    for line, curve in _merged(lines, vanishing_xy, width):
        off = np.abs(curve.x(line[:, 1]) - line[:, 0])
        good = off <= max(2.5, 0.006 * width)
        if good.sum() < 5:
            loose += _loose(mask, line, step)
            continue
        rows = line[good, 1]
        span, score = _support(rows, step)
        certain = curve.covariance[0, 0] ** 0.5 < MAX_OFFSET_SIGMA
        # What does not run towards the vanishing point is no marking: a reflection, a stop line.
        ahead = abs(curve.coefficients[1] - vanishing_xy[0]) <= MAX_CENTRE_SHARE * width
        long = span >= MIN_ROW_SHARE * height
        if not (long and ahead and certain) or score < MIN_SUPPORT:
            loose += _loose(mask, line, step)
            continue
        points = curve_points(curve, float(rows.max()), float(rows.min()))
        lanes.append(Lane(points, *named(mask.view, line[good, 2]), score, curve=curve))
    return [*assign_sides(_without_doubles(lanes)), *loose]


def _loose(mask: Mask, line: np.ndarray, step: float) -> list[Lane]:
    """A marking that does not run along the road, such as a kerb at a side street: its points as
    they are seen, if there are enough."""
    line = line[np.argsort(-line[:, 1], kind="stable")]
    span, score = _support(line[:, 1], step)
    if span < LOOSE_ROW_SHARE * mask.frame_hw[0] or score < MIN_SUPPORT:
        return []
    y = (line[:, 1] - line[:, 1].mean()) / max(span, 1.0)
    fit = np.polyfit(y, line[:, 0], min(3, len(line) // 8 + 1))
    points = np.column_stack([np.polyval(fit, y), line[:, 1]])
    points = points[np.linspace(0, len(points) - 1, min(POINTS, len(points))).round().astype(int)]
    return [Lane(points, *named(mask.view, line[:, 2]), score)]


def _support(rows: np.ndarray, step: float) -> tuple[float, float]:
    """Rows between a marking's ends, and the share of them in which it is seen."""
    span = float(np.ptp(rows))
    return span, min(1.0, len(set(rows.tolist())) / (span / step + 1))


def curve_points(curve: LaneCurve, near: float, far: float) -> np.ndarray:
    """(POINTS, 2) xy between two rows, evenly spaced in the image."""
    rows = near + EVENLY * (far - near)
    return np.column_stack([curve.x(rows), rows])


def _merged(
    lines: list[np.ndarray], vanishing_xy: tuple[float, float], width: int
) -> list[tuple[np.ndarray, LaneCurve]]:
    """(points, curve) of each marking: fragments on the curve of a longer one, in other rows, are
    added to it."""
    lines = sorted(lines, key=len, reverse=True)
    left = list(zip(lines, fit_curves(lines, vanishing_xy, width), strict=True))
    out: list[tuple[np.ndarray, LaneCurve]] = []
    while left:
        (line, curve), *others = left
        rows, left = set(line[:, 1].tolist()), []
        for other, own_curve in others:
            y = other[:, 1]
            if len(rows.intersection(y.tolist())) < 0.3 * len(y):
                least = np.maximum(0.006 * width, 2 * curve.sigma(y))
                if (np.abs(curve.x(y) - other[:, 0]) < least).mean() > 0.7:
                    line = np.concatenate([line, other])
                    rows.update(y.tolist())
                    continue
            left.append((other, own_curve))
        if len(left) < len(others):
            (curve,) = fit_curves([line], vanishing_xy, width)
        out.append((line, curve))
    return out


def _without_doubles(lanes: list[Lane]) -> list[Lane]:
    """From left to right; of two parallel stripes of one marking the better supported one."""
    kept: list[Lane] = []
    for lane in sorted(lanes, key=lambda lane: -lane.score * float(np.ptp(lane.points[:, 1]))):
        if all(abs(_offset(lane) - _offset(other)) >= SAME_MARKING for other in kept):
            kept.append(lane)
    return sorted(kept, key=_offset)


def _offset(lane: Lane) -> float:
    assert lane.curve is not None
    return lane.curve.offset


def assign_sides(lanes: Sequence[Lane]) -> list[Lane]:
    """Sets the side of markings along the road, which come from left to right.

    Of the painted lines on each side, the nearest one within a lane's width is the ego line and the
    one after it the next line; the nearest kerb is that side's kerb.
    """
    out = list(lanes)
    for sign, names in ((-1, (EGO_LEFT, NEXT_LEFT, KERB_LEFT)),
                        (1, (EGO_RIGHT, NEXT_RIGHT, KERB_RIGHT))):  # fmt: skip
        order = sorted(range(len(out)), key=lambda i: sign * _offset(out[i]))
        reach, lines, kerb = 0.0, 0, False
        for i in order:
            offset = sign * _offset(out[i])
            if offset <= 0:
                continue
            if out[i].category == KERB:
                if not kerb:
                    out[i], kerb = replace(out[i], side=names[2]), True
            elif lines < 2 and offset - reach <= MAX_LANE_WIDTH and not kerb:
                if lines and offset - reach < MIN_LANE_WIDTH:
                    continue
                out[i] = replace(out[i], side=names[lines])
                reach, lines = offset, lines + 1
    return out


def ego_lane(lanes: Sequence[Lane]) -> dict[str, Lane]:
    """The borders of the own lane by "left" and "right": its lines, or else a kerb within reach."""
    sides = {lane.side: lane for lane in lanes}
    out = {}
    for name, line, kerb in (("left", EGO_LEFT, KERB_LEFT), ("right", EGO_RIGHT, KERB_RIGHT)):
        if line in sides:
            out[name] = sides[line]
        elif kerb in sides and abs(_offset(sides[kerb])) <= KERB_REACH:
            out[name] = sides[kerb]
    return out


def across_lanes(mask: Mask) -> list[Lane]:
    """Crosswalk edges and stop lines: per connected area a line from its left to its right end."""
    kinds, least, out = directions(mask.view), MIN_ACROSS_AREA * mask.small.size, []
    for kind, side in ((ON_CROSSWALK, CROSSWALK), (LINE_ACROSS, ACROSS)):
        if mask.counts[kinds == kind].sum() < least:
            continue
        area = cv2.LUT(mask.small, (kinds == kind).astype(np.uint8))
        left, top, wide, tall = cv2.boundingRect(area)
        area = area[top : top + tall, left : left + wide]
        count, labels, stats, _ = cv2.connectedComponentsWithStats(area)
        for i in range(1, count):
            x, y, w, h, pixels = stats[i]
            if pixels < least or w < 1.5 * h:
                continue
            rows, columns = np.nonzero(labels[y : y + h, x : x + w] == i)
            fit = np.polyfit(columns, rows, 1)
            ends = np.array([0, w // 2, w - 1])
            points = np.column_stack([ends + (left + x), np.polyval(fit, ends) + (top + y)])
            values = mask.small[rows + top + y, columns + left + x]
            off = np.abs(np.polyval(fit, columns) - rows)
            score = float((off <= 0.01 * mask.small.shape[0]).mean())
            points = (points + 0.5) * frame_scale(mask)
            out.append(Lane(points, *named(mask.view, values), score, side))
    return out


def named(view: View, values: np.ndarray) -> tuple[str, str, str]:
    """The most frequent category, style and direction of lane bytes; "" where it has no name."""
    byte = values.astype(np.int64)
    parts = (
        (view.categories, byte & LANE_CATEGORY_BITS),
        (view.styles, (byte >> LANE_STYLE_SHIFT) & 1),
        (view.directions, (byte >> LANE_DIRECTION_SHIFT) & 1),
    )
    found = [(names, int(np.bincount(index).argmax())) for names, index in parts]
    category, style, direction = (names[i] if i < len(names) else "" for names, i in found)
    return category, style, direction


def in_metres(lane: Lane, camera: Camera) -> Lane:
    """The lane with its points on the ground, those with a certain enough distance."""
    ground = camera.ground(lane.points)
    sigma = camera.relative_sigma(ground[:, 1], lane.points[:, 0], 1.0)
    return replace(lane, ground=ground[sigma <= MAX_GROUND_SIGMA])
