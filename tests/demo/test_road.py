"""perceive with --camera, --camera-height and --birds-eye."""

import json
from pathlib import Path

import pytest

from demo.perceive import main
from demo.speed import read_speed
from perception.errors import UserError

CAMERA = "width: 160\nheight: 120\nfocal: [140, 140]\ncentre: [80, 60]\nheight_m: 1.4\n"


def run(video: Path, model: Path, *more: str) -> int:
    return main([str(video), "--model", str(model), "--provider", "cpu", "--threads", "1", *more])


def test_a_video_with_a_camera_has_distances_in_the_log_and_an_inset(video, tiny_onnx, tmp_path):
    camera, log = tmp_path / "camera.yaml", tmp_path / "log.jsonl"
    camera.write_text(CAMERA + "pitch_deg: 20\n")
    save = tmp_path / "overlay.mp4"
    more = ["--camera", str(camera), "--birds-eye", "--json", str(log), "--save", str(save)]
    assert run(video, tiny_onnx, *more) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    boxes = [label for label in lines[-1]["labels"] if label.get("box2d")]
    assert any("distance_m" in box.get("attributes", {}) for box in boxes)
    assert save.stat().st_size > 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--birds-eye"], "--birds-eye needs metres"),
        (["--camera-height", "0"], "--camera-height 0"),
        (["--camera-height", "-1"], "--camera-height -1"),
        (["--camera-height", "nan"], "--camera-height nan"),
        (["--camera-height", "1.4", "--camera-view", "180"], "--camera-view 180"),
        (["--camera", "missing.yaml"], "missing.yaml"),
        (["--speed", "50"], "--speed needs metres"),
        (["--camera-height", "1.4", "--speed", "-1"], "--speed -1"),
        (["--camera-height", "1.4", "--speed", "missing.csv"], "missing.csv"),
    ],
)
def test_invalid_options_are_one_line(video, tiny_onnx, tmp_path, capsys, options, text):
    more = ["--json", str(tmp_path / "log.jsonl"), *options]
    assert run(video, tiny_onnx, *more) == 2
    error = capsys.readouterr().err
    assert text in error
    assert "Traceback" not in error


def test_a_camera_for_another_frame_size_is_one_line(video, tiny_onnx, tmp_path, capsys):
    camera = tmp_path / "camera.yaml"
    camera.write_text(CAMERA.replace("width: 160", "width: 320"))
    log = tmp_path / "log.jsonl"
    assert run(video, tiny_onnx, "--camera", str(camera), "--json", str(log)) == 2
    error = capsys.readouterr().err
    assert "camera.yaml: is for pictures of 320x120, the frames are 160x120" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seconds,speed_km_h\n0,36\n2,72\n", {-0.1: None, 0: 10, 1: 15, 2: 20, 2.1: None}),
        ("a,seconds,speed_m_s\n,1,5\n,9,5\n,10,7\n", {1: 5, 4: None, 9: 5, 9.5: 6}),
    ],
)
def test_the_speed_of_a_csv_file(tmp_path, text, expected):
    path = tmp_path / "speed.csv"
    path.write_text(text)
    speed = read_speed(str(path))
    assert {seconds: speed.at(seconds) for seconds in expected} == pytest.approx(expected)


def test_a_constant_speed_holds_always():
    assert [read_speed("36").at(seconds) for seconds in (0.0, 1e6)] == [10, 10]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "give the columns"),
        ("seconds,speed_km_h\n", "give the columns"),
        ("time,speed_km_h\n0,1\n", "give the columns"),
        ("seconds,speed_km_h\n0,1\n0,2\n", "line 3: seconds"),
        ("seconds,speed_km_h\n0,1\nx,2\n", "line 3: seconds"),
        ("seconds,speed_km_h\n0,nan\n", "line 2: speed_km_h"),
        ("seconds,speed_m_s\n0\n", "line 2: speed_m_s"),
        ("seconds,speed_m_s\n0,400\n", "line 2: speed_m_s"),
        ("seconds,speed_m_s\n0,-1\n", "line 2: speed_m_s"),
    ],
)
def test_wrong_speed_files_are_one_line(tmp_path, text, message):
    path = tmp_path / "speed.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_speed(str(path))
    assert "\n" not in str(caught.value)
