"""render-roads writes what the readers read, and says what is wrong with its arguments."""

import subprocess
import sys

import cv2
import pytest

from training.data.bdd100k import BDD100K


def run(*words):
    command = [sys.executable, "-m", "training.render", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_drive_is_a_video_of_that_many_frames(tmp_path):
    out = tmp_path / "drive.mp4"
    done = run("drive", out, "--frames", 4, "--size", "96x160")
    assert done.returncode == 0, done.stderr
    video = cv2.VideoCapture(str(out))
    frames = 0
    while video.read()[0]:
        frames += 1
    assert frames == 4


def test_a_folder_is_read_as_bdd100k(tmp_path):
    done = run("folder", tmp_path / "bdd", "--train", 2, "--val", 1, "--size", "192x320")
    assert done.returncode == 0, done.stderr
    dataset = BDD100K(tmp_path / "bdd", "train", ("det", "drivable", "lane", "scene"))
    assert len(dataset) == 2
    assert set(dataset[0].labels) == {"det", "drivable", "lane", "scene"}


@pytest.mark.parametrize(
    ("words", "message"),
    [(("drive", "x.txt"), ".mp4"), (("drive", "x.mp4", "--frames", "0"), "--frames")],
)
def test_wrong_arguments_are_one_line(words, message):
    done = run(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("x")
    done = run("folder", tmp_path)
    assert done.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
