import numpy as np
import pytest

from perception.classes import LANE_CATEGORIES, LANE_DIRECTION_BIT, LANE_STYLE_BIT
from perception.runtime.lane_curve import LaneCurve, find_column, find_row, fit_curves
from perception.runtime.lane_tracker import FADE_S, SMOOTH_S, LaneTracker
from perception.runtime.lanes import Lane, along_lanes, lines_along
from perception.runtime.road import RoadGeometry
from perception.runtime.scene import Mask, Scene
from perception.runtime.view import LANE_BYTE, View

VIEW = View("mask", encoding=LANE_BYTE, categories=LANE_CATEGORIES, styles=("solid", "dashed"))
WHITE, YELLOW = LANE_CATEGORIES.index("single white"), LANE_CATEGORIES.index("single yellow")
AHEAD = (160.0, 70.0)  # where the drawn roads vanish, frame pixels


def empty() -> np.ndarray:
    return np.full((100, 160), 255, np.uint8)


def band(byte, x_of_y, values, half=2, rows=range(40, 100)):
    """Draws a band around x(y), `half` to each side, with values(y)."""
    for y in rows:
        x = round(x_of_y(y))
        byte[y, max(x - half, 0) : x + half + 1] = values(y)
    return byte


def lines(byte, ahead=AHEAD) -> list[Lane]:
    mask = Mask(byte, (200, 320), VIEW)
    return along_lanes(mask, lines_along(mask, ahead), ahead)


def left(y):
    return 80 - 0.9 * (y - 35)


def right(y):
    return 80 + 0.9 * (y - 35)


def test_no_lines():
    assert lines(empty()) == []
    byte = empty()
    byte[50, 50] = WHITE  # a speck
    byte[70:75, 20:120] = WHITE | LANE_DIRECTION_BIT  # a stop line
    byte[80:90, 20:120] = LANE_CATEGORIES.index("crosswalk")
    assert lines(byte) == []


def test_a_wide_band_becomes_its_centre():
    (line,) = lines(band(empty(), left, lambda y: WHITE, half=4))
    y = line.points[:, 1] / 2 - 0.5
    np.testing.assert_allclose(line.points[:, 0] / 2 - 0.5, left(y), atol=1)
    assert (line.category, line.style) == ("single white", "solid")


@pytest.mark.parametrize(("half", "count"), [(10, 1), (12, 0)])
def test_runs_of_more_than_a_seventh_of_the_width_are_across(half, count):
    """0.14 of 160 are 22 pixels of the mask."""
    assert len(lines(band(empty(), lambda y: 80, lambda y: WHITE, half=half))) == count


@pytest.mark.parametrize(("rows", "count"), [(3, 0), (4, 1)])
def test_a_marking_is_seen_in_a_third_of_its_rows(rows, count):
    """Every second row is followed: a quarter of them, or half."""
    byte = band(empty(), left, lambda y: WHITE if y % 8 < rows else 255)
    assert len(lines(byte)) == count


@pytest.mark.parametrize(("shift", "along"), [(14, True), (18, False)])
def test_a_marking_along_the_road_aims_at_the_vanishing_point(shift, along):
    """To a tenth of the width of 160 columns."""
    (line,) = lines(band(empty(), lambda y: left(y) + shift, lambda y: WHITE))
    assert (line.curve is not None) == along


@pytest.mark.parametrize(("column", "count"), [(2, 0), (3, 1)])
def test_runs_at_the_edge_of_the_frame_have_no_centre(column, count):
    """A marking five pixels wide, of which the edge may hide more."""
    mask = Mask(band(empty(), lambda y: column, lambda y: WHITE), (200, 320), VIEW)
    assert len(lines_along(mask, AHEAD)) == count


def test_the_points_of_a_line_are_the_middles_of_its_rows():
    byte = band(empty(), left, lambda y: WHITE, half=3)
    (line,) = lines_along(Mask(byte, (200, 320), VIEW), AHEAD)
    rows = line[:, 1] / 2 - 0.5
    np.testing.assert_allclose(line[:, 0] / 2 - 0.5, [round(left(y)) for y in rows])


def test_a_line_has_one_category_although_its_pixels_have_two():
    (line,) = lines(band(empty(), left, lambda y: YELLOW if y % 3 else WHITE))
    assert line.category == "single yellow"


def test_a_gap_and_a_change_of_class_in_one_line():
    byte = band(empty(), right, lambda y: WHITE | LANE_STYLE_BIT, rows=range(60, 100))
    band(byte, right, lambda y: YELLOW, rows=range(40, 54))
    (line,) = lines(byte)
    assert (line.category, line.style) == ("single white", "dashed")


def test_two_lines_that_meet_keep_their_own_classes():
    byte = band(empty(), left, lambda y: YELLOW)
    band(byte, right, lambda y: WHITE)
    found = {line.category: line for line in lines(byte)}
    assert found["single yellow"].points[0, 0] < 160 < found["single white"].points[0, 0]


def test_a_marking_that_does_not_run_along_the_road_is_kept_as_it_is_seen():
    """A kerb at a side street: no part of the geometry, but drawn and logged."""
    (line,) = lines(band(empty(), lambda y: 55, lambda y: WHITE, rows=range(60, 98)))
    assert line.curve is None
    assert line.side == ""
    np.testing.assert_allclose(line.points[:, 0] / 2 - 0.5, 55, atol=1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (3, 3)])
def test_masks_of_any_size(shape):
    mask = Mask(np.full(shape, WHITE, np.uint8), (9, 9), VIEW)
    for line in RoadGeometry().update(Scene((9, 9), {"p": mask}), 0.0).lanes:
        assert np.isfinite(line.points).all()


# Over time


def test_a_horizon_that_moves_does_not_move_a_curve():
    """x = a v + c + b / v: with the same mask, a vanishing row of 74 instead of 70 changes c."""
    mask, tracker = Mask(band(empty(), left, lambda y: WHITE), (200, 320), VIEW), LaneTracker()
    points = []
    for step, row in enumerate((70.0, 74.0)):
        ahead = (160.0, row)
        (lane,) = tracker.update(mask, lines_along(mask, ahead), ahead, step / 10)
        points.append(lane.curve.x(np.array([120.0, 150.0, 190.0])))
    np.testing.assert_allclose(points[0], points[1], atol=1.0)


def test_the_score_of_a_missed_lane_falls():
    mask, tracker = Mask(band(empty(), left, lambda y: WHITE), (200, 320), VIEW), LaneTracker()
    (before,) = tracker.update(mask, lines_along(mask, AHEAD), AHEAD, 0.0)
    (after,) = tracker.update(Mask(empty(), (200, 320), VIEW), [], AHEAD, 0.1)
    assert after.score == pytest.approx(before.score * np.exp(-0.1 / FADE_S))
    assert after.score == pytest.approx(0.70 * before.score, abs=0.005)
    kept = [
        len(tracker.update(Mask(empty(), (200, 320), VIEW), [], AHEAD, s)) for s in (0.29, 0.31)
    ]
    assert kept == [1, 0]


def test_the_score_of_a_lane_is_smoothed():
    """Half of the rows are seen in the second frame, 0.1 s after the first: 1 - e^(-0.1 / 0.13)."""
    seen = Mask(band(empty(), left, lambda y: WHITE), (200, 320), VIEW)
    worse = Mask(band(empty(), left, lambda y: WHITE if y % 16 < 8 else 255), (200, 320), VIEW)
    lines = lines_along(worse, AHEAD)
    (alone,) = LaneTracker().update(worse, lines, AHEAD, 0.0)
    tracker = LaneTracker()
    (before,) = tracker.update(seen, lines_along(seen, AHEAD), AHEAD, 0.0)
    (after,) = tracker.update(worse, lines, AHEAD, 0.1)
    mix = 1 - np.exp(-0.1 / SMOOTH_S)
    assert alone.score < 0.6 < before.score
    assert mix == pytest.approx(0.537, abs=1e-3)
    assert after.score == pytest.approx(mix * alone.score + (1 - mix) * before.score)


def test_a_new_lane_is_shown_after_its_confirmation():
    """CONFIRM_S is 0.07 s; the lanes of the first frame are shown at once."""
    alone = band(empty(), left, lambda y: WHITE)
    both = Mask(band(alone.copy(), right, lambda y: YELLOW), (200, 320), VIEW)
    tracker, counts = LaneTracker(), []
    for mask, seconds in (
        (Mask(alone, (200, 320), VIEW), 0.0), (both, 0.1), (both, 0.15), (both, 0.18)
    ):  # fmt: skip
        found = tracker.update(mask, lines_along(mask, AHEAD), AHEAD, seconds)
        counts.append(len(found))
    assert counts == [1, 1, 1, 2]


def test_a_marking_a_lane_further_is_another_one():
    tracker, ids = LaneTracker(), []
    for step, side in enumerate((left, right, right)):
        mask = Mask(band(empty(), side, lambda y: WHITE), (200, 320), VIEW)
        found = tracker.update(mask, lines_along(mask, AHEAD), AHEAD, step / 10)
        ids.append({lane.side: lane.id for lane in found})
    assert ids[0] == {"ego left": 1}
    assert ids[-1] == {"ego left": 1, "ego right": 2}  # the first is kept for a moment


@pytest.mark.parametrize(("shift", "last"), [(4, 1), (6, 2)])
def test_a_marking_is_the_same_within_three_percent_of_the_width(shift, last):
    """Shifted by 8 and by 12 pixels of the frame; the limit is 9.6."""
    tracker = LaneTracker()
    for step, by in enumerate((0, shift)):
        mask = Mask(band(empty(), lambda y, by=by: left(y) + by, lambda y: WHITE), (200, 320), VIEW)
        tracker.update(mask, lines_along(mask, AHEAD), AHEAD, step / 10)
    assert tracker.last_id == last


def test_the_error_of_the_horizon_follows_from_the_cost(monkeypatch):
    """A cost of .01 (row - 150)^2 is a quarter of chi squared: standard deviation 10."""
    slopes = np.array([160.0, 0.0, -3.0, 3.0])
    monkeypatch.setattr(
        "perception.runtime.lane_curve._shared",
        lambda lines, rows, width: (
            0.01 * (rows - 150) ** 2,
            np.tile(slopes, (len(rows), 1)),
            None,
        ),
    )
    points = np.column_stack([np.linspace(0, 100, 40), np.linspace(250, 390, 40)])
    row, sigma = find_row([points, points], (400, 640))
    assert row == pytest.approx(150, abs=0.1)
    assert sigma == pytest.approx(10, rel=0.02)


def test_markings_give_the_column_that_they_meet_in():
    """x = a v + 540 for two markings: column 540 at the horizon's row 150. It is known to
    LINE_SIGMA * width / sqrt(2) = 18.1 pixels."""
    v = np.linspace(60, 240, 46)
    lines = [np.column_stack([a * v + 540, v + 150]) for a in (-1.2, 1.4)]
    column, sigma = find_column(lines, 150.0, 0.0, 640)
    assert column == pytest.approx(540, abs=0.01)
    assert sigma == pytest.approx(0.04 * 640 / 2**0.5, rel=0.05)


def test_markings_of_unequal_length_are_fitted_as_if_alone():
    """Fitted together they are padded: neither the padding nor its median weight may count."""
    v = np.linspace(20, 320, 61)
    long = np.column_stack([2 * v + 300 + 400 / v, v + 70])
    short = np.column_stack([-v[:12] + 310 + 400 / v[:12], v[:12] + 70])
    short[5, 0] += 60  # an outlier, weighted by the median of the short one's own points
    together = fit_curves([long, short], (305.0, 70.0), 640)
    alone = [fit_curves([line], (305.0, 70.0), 640)[0] for line in (long, short)]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.coefficients, other.coefficients, rtol=1e-9)
        np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-9)
    np.testing.assert_allclose(together[0].coefficients, (2, 300, 400), rtol=0.01)
    assert together[1].x(90.0) == pytest.approx(310 - 20 + 20, abs=1.0)


def test_points_of_one_row_lead_to_the_vanishing_point():
    """100 a + c = 500 says nothing of c: it keeps its prior, 320 with 0.05 of the width."""
    line = np.array([[500.0, 170.0]] * 8)
    (curve,) = fit_curves([line], (320.0, 70.0), 640)
    assert curve.coefficients == pytest.approx((1.8, 320, 0), abs=0.01)
    assert curve.covariance[1, 1] ** 0.5 == pytest.approx(0.05 * 640, rel=1e-3)


def test_a_curve_s_columns():
    covariance = np.array([[4.0, 1.0, 0.0], [1.0, 9.0, 0.0], [0.0, 0.0, 16.0]])
    curve = LaneCurve(np.array([2.0, 100.0, 50.0]), covariance, 10.0)
    assert curve.x(35.0) == pytest.approx(2 * 25 + 100 + 50 / 25)
    assert curve.sigma(35.0) == pytest.approx((25**2 * 4 + 2 * 25 + 9 + 16 / 25**2) ** 0.5)
    assert curve.heading(35.0) == pytest.approx(102)  # 25 a + c + b / 25 without a
