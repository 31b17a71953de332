"""render-roads writes what the readers read, and says what is wrong with its arguments."""

import resource
import sys

import cv2
import pytest

from training.data.formats.bdd100k import BDD100K
from training.render import main


@pytest.fixture
def run(monkeypatch):
    """run(*words) -> exit code of the command."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["render-roads", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code

    return call


def test_a_drive_is_a_video_of_that_many_frames(run, tmp_path):
    out = tmp_path / "drive.mp4"
    assert run("drive", out, "--frames", 4, "--size", "96x160") == 0
    video = cv2.VideoCapture(str(out))
    frames = 0
    while video.read()[0]:
        frames += 1
    assert frames == 4


def test_a_folder_is_read_as_bdd100k(run, tmp_path):
    assert run("folder", tmp_path / "bdd", "--train", 2, "--val", 1, "--size", "192x320") == 0
    dataset = BDD100K(tmp_path / "bdd", "train", ("det", "drivable", "lane", "scene"))
    assert len(dataset) == 2
    assert set(dataset[0].labels) == {"det", "drivable", "lane", "scene"}


@pytest.mark.parametrize(
    ("words", "message"),
    [(("drive", "x.txt"), ".mp4"), (("drive", "x.mp4", "--frames", "0"), "--frames")],
)
def test_wrong_arguments_are_one_line(run, words, message, capsys):
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_folder_that_is_not_empty_is_left_alone(run, tmp_path):
    (tmp_path / "mine").write_text("x")
    assert run("folder", tmp_path) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_full_disk_is_one_line_and_leaves_no_file(run, tmp_path, capfd):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        code = run("drive", tmp_path / "drive.mp4", "--frames", 6, "--size", "192x320")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert "drive.mp4: cannot be written completely" in errors[0]
    assert list(tmp_path.iterdir()) == []
