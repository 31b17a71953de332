"""Smoothing and tracks."""

import numpy as np
import pytest

from demo.temporal import BoxTracker, CameraMotion, Steady, tracking_available
from perception.runtime.scene import Boxes, Labels, Mask, Scene
from perception.runtime.view import LANE_BYTE, View


def shown(*values: int, fps: float = 25) -> list[int]:
    """What is shown of an area whose pixels take these values one after the other."""
    steady, seen, view = Steady(), [], View("mask", classes=("a", "b", "c"))
    for index, value in enumerate(values):
        scene = Scene((9, 9), {"m": Mask(np.full((9, 9), value, np.uint8), (9, 9), view)})
        out = steady.update(scene, index / fps)
        assert (scene.outputs["m"].small == value).all()  # the frame's own stays as it is
        seen.append(int(out.outputs["m"].small[4, 4]))
    return seen


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ([1], [1]),
        ([1, 2], [1, 1]),
        ([1, 1, 1, 2, 1, 1], [1, 1, 1, 1, 1, 1]),  # a flicker is gone
        ([1, 1, 1, 2, 2, 1, 1], [1] * 7),
        ([0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1, 1]),  # 0.12 s after the change
        # Two that take turns: 0.29 of the first is left when 0.44 of the second are not enough.
        ([0, 0, 0, 1, 2, 1, 2, 1, 2], [0] * 8 + [2]),
    ],
)
def test_a_pixel_changes_when_another_class_is_ahead(values, seen):
    assert shown(*values) == seen


def test_a_mask_of_one_pixel_is_filtered():
    steady, seen, view = Steady(), [], View("mask", classes=("a", "b", "c"))
    for index in range(5):
        mask = Mask(np.full((1, 1), int(index > 1), np.uint8), (1, 1), view)
        out = steady.update(Scene((1, 1), {"m": mask}), index / 10)
        seen.append(int(out.outputs["m"].small[0, 0]))
    assert seen == [0, 0, 0, 1, 1]


def test_a_change_is_as_late_in_seconds_at_any_rate():
    late = [shown(*([0] * 60 + [1] * 60), fps=fps).index(1) - 60 for fps in (10, 25, 50)]
    assert [round(count / fps, 2) for count, fps in zip(late, (10, 25, 50), strict=True)] == [
        0.1, 0.12, 0.14,
    ]  # fmt: skip


def test_a_lane_byte_is_what_two_of_the_last_three_frames_have():
    steady, view, seen = Steady(), View("mask", encoding=LANE_BYTE), []
    for index, value in enumerate((6, 6, 255, 6, 7, 7, 255, 255)):
        mask = Mask(np.full((9, 9), value, np.uint8), (9, 9), view)
        out = steady.update(Scene((9, 9), {"m": mask}), index / 25)
        seen.append(int(out.outputs["m"].small[4, 4]))
    assert seen == [6, 6, 6, 6, 7, 7, 7, 255]


def test_specks_and_small_holes_are_removed():
    mask = np.zeros((40, 40), np.uint8)
    mask[10:13, 10:13] = 1
    mask[20:40, 20:40] = 1
    scene = Scene((40, 40), {"m": Mask(mask, (40, 40), View("mask", classes=("a", "b")))})
    found = Steady().update(scene, 0.0)
    found = Steady().update(found, 0.04).outputs["m"].small
    assert not found[:18, :18].any()
    assert found[24:36, 24:36].all()


def test_labels_are_a_mean_that_sums_to_one():
    steady, shares = Steady(), []
    for index, day in enumerate((1.0, 0.0, 0.0)):
        labels = Labels({"light": {"day": day, "night": 1 - day}})
        out = steady.update(Scene((4, 4), {"l": labels}), index * 0.25)
        shares.append(out.outputs["l"].groups["light"])
    kept = np.exp(-1)
    assert [share["day"] for share in shares] == pytest.approx([1, kept, kept**2])
    assert all(sum(share.values()) == pytest.approx(1) for share in shares)


tracking = pytest.mark.skipif(
    not tracking_available(), reason="trackers is not installed (extra demo)"
)


def scene_of(xyxy, scores, size_hw=(200, 300)):
    boxes = np.array(xyxy, np.float32).reshape(-1, 4)
    zeros = np.zeros(len(boxes), np.int64)
    return Scene(size_hw, {"b": Boxes(boxes, np.array(scores, np.float32), zeros, ("car",))})


def texture(size_hw=(200, 300)) -> np.ndarray:
    """A picture with corners everywhere."""
    blocks = np.random.default_rng(0).integers(0, 256, (size_hw[0] // 5, size_hw[1] // 5, 3))
    return np.kron(blocks, np.ones((5, 5, 1))).astype(np.uint8)


BLANK = np.zeros((200, 300, 3), np.uint8)


@tracking
def test_a_moving_box_keeps_its_identity_and_another_gets_its_own():
    tracks, seen = BoxTracker(25), []
    for step in range(12):
        rows = [[200 - step, 9, 240, 50], [10 + 4 * step, 10, 60 + 4 * step, 50]]
        scene = scene_of(rows if step % 2 else rows[::-1], [0.8, 0.9])
        tracks.update(scene, BLANK)
        ids = scene.outputs["b"].track_ids
        assert len(ids) == 2
        seen.append(tuple(ids if step % 2 else ids[::-1]))
    first, second = seen[-1]
    assert first >= 0
    assert second >= 0
    assert first != second
    assert seen[-6:] == [seen[-1]] * 6


@tracking
def test_frames_without_boxes_and_weak_boxes_do_no_harm():
    tracks = BoxTracker(25)
    for scores in ([], [0.05], [0.9], []):
        scene = scene_of([[10, 10, 60, 60]] * len(scores), scores)
        tracks.update(scene, BLANK)
        assert len(scene.outputs["b"].track_ids) == len(scores)


@tracking
def test_identities_survive_a_shaking_camera():
    """Every frame is moved by more than the width of the boxes."""
    tracks, picture, seen = BoxTracker(25), texture(), []
    for step in range(10):
        move = 18 * (step % 2)
        rows = [[x, 90 + move, x + 12, 102 + move] for x in (60, 120, 180)]
        tracks.update(scene := scene_of(rows, [0.9] * 3), np.roll(picture, move, axis=0))
        seen.append(tuple(scene.outputs["b"].track_ids))
    assert min(seen[-1]) >= 0
    assert seen[2:] == [seen[-1]] * 8


@tracking
def test_a_gap_in_time_moves_boxes_on():
    """Four of five frames are missing: a box moves by its own width."""
    tracks, seen = BoxTracker(25), []
    for frame in (*range(10), 15, 20, 25):
        scene = scene_of([[10 + 8 * frame, 90, 50 + 8 * frame, 110]], [0.9])
        tracks.update(scene, BLANK, frame / 25)
        seen.append(int(scene.outputs["b"].track_ids[0]))
    assert seen[-1] >= 0
    assert seen[2:] == [seen[-1]] * 11


@tracking
def test_a_recording_that_starts_again_is_tracked_again():
    tracks, seen = BoxTracker(25), []
    for frame in (0, 1, 2, 3, 0, 1, 2, 3):
        tracks.update(scene := scene_of([[10, 90, 50, 110]], [0.9]), BLANK, 100 + frame / 25)
        seen.append(int(scene.outputs["b"].track_ids[0]))
    assert seen[3] >= 0
    assert seen[-1] >= 0


@tracking
def test_the_size_of_the_frames_may_change():
    tracks = BoxTracker(25)
    for size_hw in ((200, 300), (200, 300), (300, 200), (40, 60), (40, 60)):
        scene = scene_of([[10, 10, 30, 30]], [0.9], size_hw)
        tracks.update(scene, texture(size_hw))
        assert len(scene.outputs["b"].track_ids) == 1


def test_the_camera_s_motion_is_in_pixels_of_the_frame():
    """Found in a picture of half the size."""
    picture, motion = texture((400, 600)), CameraMotion(2)
    motion.estimate(picture)
    moved = motion.estimate(np.roll(picture, (12, 8), axis=(0, 1)))
    np.testing.assert_allclose(moved, [[1, 0, 8], [0, 1, 12]], atol=0.05)


@tracking
def test_a_track_starts_at_the_lowest_score_of_its_class():
    """Of class b, 0.6: a box of 0.5 starts none, one of class a with 0.4 does."""
    tracks = BoxTracker(25)
    xyxy = np.array([[10, 10, 60, 60], [150, 100, 200, 150], [10, 120, 60, 170]], np.float32)
    scores = np.array([0.4, 0.5, 0.7], np.float32)
    for _ in range(6):
        boxes = Boxes(xyxy, scores, np.array([0, 1, 1]), ("a", "b"), least=(0.3, 0.6))
        tracks.update(scene := Scene((200, 300), {"b": boxes}), BLANK)
    assert (scene.outputs["b"].track_ids >= 0).tolist() == [True, False, True]
