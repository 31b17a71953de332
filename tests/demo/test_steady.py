"""Smoothing and tracks."""

import numpy as np
import pytest

from demo.temporal import BoxTracker, Smoother, tracking_available
from perception.runtime.description import View
from perception.runtime.scene import Boxes, Labels, Mask, Scene


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


def test_a_mask_of_another_size_resets_the_majority():
    smooth = Smoother()
    for side in (2, 2, 5):
        mask = Mask(np.full((side, side), side, np.uint8), (9, 9), View("mask"))
        scene = Scene((9, 9), {"m": mask})
        smooth.update(scene)
    assert (scene.outputs["m"].small == 5).all()


def test_labels_are_smoothed_and_sum_to_one():
    smooth, shares = Smoother(weight=0.25), []
    for day in (1.0, 0.0, 0.0):
        scene = Scene((4, 4), {"l": Labels({"light": {"day": day, "night": 1 - day}})})
        smooth.update(scene)
        shares.append(scene.outputs["l"].groups["light"])
    assert [share["day"] for share in shares] == [1.0, 0.75, 0.5625]
    assert all(sum(share.values()) == pytest.approx(1) for share in shares)


@pytest.mark.skipif(not tracking_available(), reason="trackers is not installed (extra demo)")
def test_a_moving_box_keeps_its_track_id_and_another_gets_a_new_one():
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
def test_frames_without_boxes_and_weak_boxes_are_accepted():
    tracks = BoxTracker(25, 0.3)
    for scores in ([], [0.05], [0.9], []):
        xyxy = np.tile(np.array([[10, 10, 60, 60]], np.float32), (len(scores), 1))
        scene = Scene(
            (9, 9), {"b": Boxes(xyxy, np.array(scores), np.zeros(len(scores), int), ("car",))}
        )
        tracks.update(scene)
        assert len(scene.outputs["b"].track_ids) == len(scores)
