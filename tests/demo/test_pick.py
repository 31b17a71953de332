"""perceive-archive --pick: what makes a frame worth labelling, and which frames are written."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo import archive as archive_command
from demo.archive_worker import Labeller
from demo.pick import (
    Seen,
    candidates,
    distinct,
    first_parts,
    mask_difference,
    mirror_parts,
    values,
)
from perception.classes import LANE_BACKGROUND
from perception.runtime.scene import Boxes, Mask, Scene
from perception.runtime.view import LANE_BYTE, View


def drive(path: Path) -> Path:
    """50 frames: grey, with four different pictures in the second half."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (160, 120))
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (3, 4, 3)).astype(np.uint8) for _ in range(4)]
    for index in range(50):
        frame = np.full((120, 160, 3), 90, np.uint8)
        if index >= 26:
            frame = cv2.resize(pictures[(index - 26) // 6], (160, 120))
        writer.write(frame)
    writer.release()
    return path


def test_pick_writes_different_frames_with_their_labels(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(
        archive_command, "label_here", lambda jobs, settings, *rest: map(Labeller(settings), jobs)
    )
    monkeypatch.setattr(archive_command, "require_extra", lambda *names: None)
    drive(tmp_path / "drive.mp4")
    words = [str(tmp_path / "drive.mp4"), "--out", str(tmp_path / "labels"), "--model"]
    words += [str(tiny_onnx), "--provider", "cpu", "--every", "3"]
    picked = tmp_path / "picked"
    assert archive_command.main([*words, "--pick", "3", "--export", f"coco:{picked}"]) == 0
    assert "picked 3 of 17 frames" in capsys.readouterr().out
    images = sorted(path.name for path in (picked / "images" / "train").iterdir())
    coco = json.loads((picked / "annotations" / "train.json").read_text())
    assert sorted(entry["file_name"] for entry in coco["images"]) == images
    small = [
        cv2.resize(cv2.imread(str(picked / "images/train" / name)), (16, 9)) for name in images
    ]
    for one in range(3):
        for other in range(one):
            assert np.abs(small[one].astype(int) - small[other]).mean() > 6
    assert archive_command.main([*words, "--pick", "3", "--export", f"coco:{picked}"]) == 2
    assert "not empty" in capsys.readouterr().err
    assert archive_command.main([*words, "--pick", "3"]) == 2
    assert "add --export" in capsys.readouterr().err


def seen(index: int, scores: list[float], classes: list[str]) -> Seen:
    return Seen(0, index, np.array(scores), set(classes))


def best(frames: list[Seen]) -> int:
    first_parts(frames)
    return frames[int(np.argmax(values(frames)))].index


def test_uncertain_and_rare_frames_have_the_highest_value() -> None:
    sure = [seen(n, [0.99], ["car"]) for n in range(8)]
    rest = [seen(n, [0.99], ["car"]) for n in range(9, 16)]
    assert best([*sure, seen(8, [0.5], ["car"]), *rest]) == 8
    assert best([*sure, seen(8, [0.99], ["train"]), *rest]) == 8
    assert best([*sure, seen(8, [0.99], ["car", "timeofday=night"]), *rest]) == 8
    empty = [seen(0, [], [])]
    first_parts(empty)
    assert values(empty).tolist() == [0]


def test_parts_of_a_frame_s_value_by_hand() -> None:
    frames = [seen(n, [0.5, 0.9], ["car"]) for n in range(3)]
    frames.append(seen(3, [0.5], ["train"]))
    first_parts(frames)
    # 4 s (1 - s) of each box; the root of 4 frames per frame that shows the class, less one.
    assert frames[0].parts["scores"] == pytest.approx(1 + 0.36)
    assert frames[0].parts["rare"] == pytest.approx((4 / 3) ** 0.5 - 1)
    assert frames[3].parts["rare"] == pytest.approx(1)
    # One in ten with a part of 1: ten times the mean, of which five count.
    some = [seen(n, [], []) for n in range(10)]
    for frame in some:
        frame.parts = {"rare": float(frame.index == 4)}
    assert values(some).tolist() == [0] * 4 + [5] + [0] * 5


def test_a_thin_box_of_the_mirrored_frame_is_at_its_place() -> None:
    def scene(left: float, right: float) -> Scene:
        xyxy = np.array([[left, 10, right, 20]], np.float32)
        boxes = Boxes(xyxy, np.array([0.9], np.float32), np.zeros(1, int), ("car",))
        return Scene((50, 100), {"b": boxes})

    assert mirror_parts(scene(10, 11.25), scene(88.75, 90)) == {"mirrored boxes": 0}
    assert mirror_parts(scene(10, 11.25), scene(10, 11.25)) == {"mirrored boxes": 1}


AREA = View("mask", classes=("direct", "alternative", "background"))
LANE = View("mask", encoding=LANE_BYTE, categories=("single white",))


def test_masks_that_the_mirrored_frame_does_not_confirm() -> None:
    area = np.full((48, 80), 2, np.uint8)
    area[24:, :40] = 0
    mask = Mask(area, (48, 80), AREA)
    assert mask_difference(mask, area) == 0
    half = area.copy()
    half[24:, 20:40] = 1
    assert mask_difference(mask, half) == 0.5
    empty = np.full_like(area, 2)
    assert mask_difference(mask, empty) == 1
    assert mask_difference(Mask(empty, (48, 80), AREA), empty) == 0


def test_a_lane_line_a_pixel_apart_is_the_same_line() -> None:
    lane = np.full((240, 400), LANE_BACKGROUND, np.uint8)
    near, far = lane.copy(), lane.copy()
    lane[100:, 203] = near[100:, 204] = far[100:, 260] = 0
    mask = Mask(lane, (240, 400), LANE)
    assert mask_difference(mask, near) == 0
    assert mask_difference(mask, far) == 1


def test_boxes_and_masks_of_the_mirrored_frame_are_mirrored_back() -> None:
    names = ("car", "bus")

    def scene(xyxy: list[list[float]], scores: list[float], columns: slice) -> Scene:
        boxes = np.array(xyxy, np.float32).reshape(-1, 4)
        area = np.full((10, 20), 2, np.uint8)
        area[:, columns] = 0
        found = Boxes(boxes, np.array(scores, np.float32), np.zeros(len(boxes), int), names)
        return Scene((50, 100), {"boxes": found, "area": Mask(area, (50, 100), AREA)})

    here = scene([[10, 10, 30, 30], [70, 0, 80, 9]], [0.9, 0.1], slice(0, 5))
    same = scene([[70, 10, 90, 30]], [0.8], slice(15, 20))
    assert mirror_parts(here, same) == {"mirrored boxes": 0, "mirrored masks": 0}
    lost = scene([[10, 10, 30, 30]], [0.8], slice(0, 5))
    assert mirror_parts(here, lost) == {"mirrored boxes": 1, "mirrored masks": 1}


def test_candidates_are_the_best_and_some_of_all_others() -> None:
    frames = [seen(n, [], []) for n in range(100)]
    for frame in frames:
        frame.parts = {"scores": float(frame.index >= 90)}
    indices = [frame.index for frame in candidates(frames, 20)]
    assert indices == sorted(set(indices))
    assert set(range(90, 100)) < set(indices)
    assert (len(indices), indices[0], indices[1]) == (20, 0, 9)
    assert [frame.index for frame in candidates(frames, 500)] == list(range(100))


def pictured(index: int, value: float, picture: np.ndarray) -> Seen:
    frame = seen(index, [], [])
    frame.parts, frame.picture = {"scores": value}, picture
    return frame


def test_near_duplicate_frames_are_picked_once() -> None:
    grey = np.zeros((9, 16, 3), np.float32)
    steps = np.arange(16, dtype=np.float32)[:, None] * np.ones(3, np.float32)
    pictures = [grey, grey + 1, grey + 3 * steps, grey]
    frames = [pictured(n, 4 - n, picture) for n, picture in enumerate(pictures)]
    assert [frame.index for frame in distinct(frames, 3)] == [0, 2]
    assert distinct([], 3) == []


def test_of_equal_frames_the_one_unlike_those_taken_comes_first() -> None:
    steps = np.arange(16, dtype=np.float32)[:, None] * np.ones((9, 1, 3), np.float32)
    # The third looks like the first, though not so much as to be left out.
    frames = [
        pictured(0, 2.0, 0 * steps), pictured(1, 1.0, 9 * steps), pictured(2, 1.1, steps),
        pictured(3, 1.0, -9 * steps),
    ]  # fmt: skip
    assert [frame.index for frame in distinct(frames, 3)] == [0, 1, 3]
