"""Frames for check and calibration."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from export.frames import read_frames, synthetic_frames
from perception.errors import UserError


def folder_of(path: Path, count: int) -> Path:
    (path / "deep").mkdir()
    for i in range(count):
        image = np.full((72, 128, 3), 10 * i, np.uint8)
        cv2.imwrite(str(path / "deep" / f"{i}.png"), image)
    return path


def test_synthetic_frames_are_repeatable_and_differ() -> None:
    frames = synthetic_frames((64, 96), 2)
    assert frames.shape == (2, 64, 96, 3)
    assert frames.dtype == np.uint8
    assert np.array_equal(frames, synthetic_frames((64, 96), 2))
    assert not np.array_equal(frames[0], frames[1])


@pytest.mark.parametrize(("count", "expected"), [(1, [0]), (2, [0, 20]), (9, [0, 10, 20, 30])])
def test_read_frames_spreads_over_the_folder(
    tmp_path: Path, count: int, expected: list[int]
) -> None:
    frames = read_frames(folder_of(tmp_path, 4), (96, 96), count)
    assert [int(frame[48, 48, 0]) for frame in frames] == expected
    assert (frames[:, 0] == 114).all()  # letterboxed: 128x72 leaves bars above and below


def test_bad_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        read_frames(tmp_path / "absent", (64, 96), 1)
    with pytest.raises(UserError, match="no images"):
        read_frames(tmp_path, (64, 96), 1)
    (tmp_path / "torn.jpg").write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"torn\.jpg"):
        read_frames(tmp_path, (64, 96), 1)
