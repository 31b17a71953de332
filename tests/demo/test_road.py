"""perceive with --camera, --camera-height and --birds-eye."""

import json
from pathlib import Path

import pytest

from demo.perceive import main

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
