"""Smoothing, tracks, the own lane's borders."""

import numpy as np
import pytest

from demo.ego import ego_lane, run_centres
from demo.temporal import BoxTracker, Smoother, tracking_available
from perception.classes import LANE_CATEGORIES
from perception.runtime.description import LANE_BYTE, View
from perception.runtime.scene import Boxes, Labels, Mask, Scene

LANES = View("mask", encoding=LANE_BYTE, categories=LANE_CATEGORIES)


def masks(*values: int) -> list[int]:
    """What smoothing makes of a pixel that takes these values one after the other."""
    smooth, seen = Smoother(), []
    for value in values:
        scene = Scene((4, 4), {"m": Mask(np.full((2, 2), value, np.uint8), (4, 4), View("mask"))})
        smooth.update(scene)
        seen.append(int(scene.outputs["m"].small[0, 0]))
    return seen


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ([1], [1]),
        ([1, 2], [1, 2]),
        ([1, 1, 2, 1, 1], [1, 1, 1, 1, 1]),  # a flicker is gone
        ([1, 1, 2, 2, 2], [1, 1, 1, 2, 2]),  # a change comes one frame late
        ([1, 2, 3], [1, 2, 3]),
    ],
)
def test_a_pixel_is_the_majority_of_three_frames(values, seen):
    assert masks(*values) == seen


def test_a_mask_of_another_size_starts_over():
    smooth = Smoother()
    for side in (2, 2, 5):
        mask = Mask(np.full((side, side), side, np.uint8), (9, 9), View("mask"))
        scene = Scene((9, 9), {"m": mask})
        smooth.update(scene)
    assert (scene.outputs["m"].small == 5).all()


def test_labels_move_slowly_and_still_add_up():
    smooth, shares = Smoother(weight=0.25), []
    for day in (1.0, 0.0, 0.0):
        scene = Scene((4, 4), {"l": Labels({"light": {"day": day, "night": 1 - day}})})
        smooth.update(scene)
        shares.append(scene.outputs["l"].groups["light"])
    assert [share["day"] for share in shares] == [1.0, 0.75, 0.5625]
    assert all(sum(share.values()) == pytest.approx(1) for share in shares)


@pytest.mark.skipif(not tracking_available(), reason="trackers is not installed (extra demo)")
def test_a_moving_box_keeps_its_identity_and_another_gets_its_own():
    tracks, seen = BoxTracker(25, 0.3), []
    for step in range(12):
        xyxy = np.array([[200 - step, 9, 240, 50], [10 + 4 * step, 10, 60 + 4 * step, 50]], float)
        rows = Boxes(xyxy, np.array([0.8, 0.9]), np.array([0, 0]), ("car",))
        scene = Scene((100, 300), {"b": rows if step % 2 else rows.take(np.array([1, 0]))})
        tracks.update(scene)
        ids = scene.outputs["b"].track_ids
        assert len(ids) == 2
        seen.append(tuple(ids if step % 2 else ids[::-1]))
    first, second = seen[-1]
    assert first >= 0
    assert second >= 0
    assert first != second
    assert seen[-6:] == [seen[-1]] * 6


@pytest.mark.skipif(not tracking_available(), reason="trackers is not installed (extra demo)")
def test_frames_without_boxes_and_weak_boxes_do_no_harm():
    tracks = BoxTracker(25, 0.3)
    for scores in ([], [0.05], [0.9], []):
        xyxy = np.tile(np.array([[10, 10, 60, 60]], np.float32), (len(scores), 1))
        scene = Scene(
            (9, 9), {"b": Boxes(xyxy, np.array(scores), np.zeros(len(scores), int), ("car",))}
        )
        tracks.update(scene)
        assert len(scene.outputs["b"].track_ids) == len(scores)


def road(left, right, **more: int) -> Scene:
    """A lane byte with two borders x(y) drawn 3 px wide on 100 rows of 160."""
    byte = np.full((100, 160), 255, np.uint8)
    for y in range(50, 100):
        for border, value in ((left, 6), (right, 6)):
            if border is not None:
                x = round(border(y))
                byte[y, x - 1 : x + 2] = value
    for row, value in more.items():
        byte[int(row[1:]), :] = value
    return Scene((200, 320), {"p": Mask(byte, (200, 320), LANES)})


def straight_left(y):
    return 70 - (y - 50)


def straight_right(y):
    return 90 + (y - 50)


def test_no_lanes_no_borders():
    assert ego_lane(Scene((9, 9), {})) == {}
    assert ego_lane(road(None, None)) == {}


def test_straight_borders_are_found_where_they_are():
    sides = ego_lane(road(straight_left, straight_right))
    assert set(sides) == {"left", "right"}
    for side, border in (("left", straight_left), ("right", straight_right)):
        for x, y in sides[side]:
            assert abs(x / 2 - 0.5 - border(y / 2 - 0.5)) < 1.5


def test_a_curve_is_followed():
    def curve(y):
        return 30 + (99 - y) ** 2 / 50

    (x, y) = ego_lane(road(curve, None))["left"].T
    assert np.abs(x / 2 - curve(y / 2)).max() < 3


def test_lines_across_the_road_and_crosswalks_mislead_nobody():
    crosswalk = LANE_CATEGORIES.index("crosswalk")
    scene = road(straight_left, straight_right, r80=6 | 32, r90=crosswalk, r70=crosswalk | 32)
    plain = ego_lane(road(straight_left, straight_right))
    for side, points in ego_lane(scene).items():
        np.testing.assert_allclose(points, plain[side], atol=4)


def test_marks_mirrored_in_the_bonnet_bend_no_border():
    scene = road(straight_left, straight_right)
    byte = scene.outputs["p"].small
    byte[88:] = 255
    byte[90:98, 100:104] = byte[90:98, 56:60] = 6  # inside the lane, where no mark is
    sides = ego_lane(scene)
    assert set(sides) == {"left", "right"}
    for side, border in (("left", straight_left), ("right", straight_right)):
        ahead = sides[side][sides[side][:, 1] < 170]
        assert np.abs(ahead[:, 0] / 2 - border(ahead[:, 1] / 2)).max() < 4


def test_one_border_is_enough():
    assert set(ego_lane(road(None, straight_right))) == {"right"}


def test_runs():
    row = np.array([1, 1, 0, 0, 1, 0, 1, 1, 1], bool)
    assert run_centres(row).tolist() == [0.5, 4, 7]
    assert run_centres(np.zeros(5, bool)).tolist() == []


def test_a_frame_of_one_row_has_no_border_to_fit():
    byte = np.full((1, 160), 6, np.uint8)
    assert ego_lane(Scene((1, 160), {"p": Mask(byte, (1, 160), LANES)})) == {}
