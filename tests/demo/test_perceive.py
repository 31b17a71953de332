import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo import perceive as command
from demo.perceive import main
from perception import hub

ROOT = Path(__file__).resolve().parents[2]
CLIPS = sorted((ROOT.parent / "shared" / "data" / "videos").glob("*.mp4"))


def frames_in(path) -> int:
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    return count


def run(video, model, *more) -> int:
    return main([str(video), "--model", str(model), "--provider", "cpu", "--threads", "1", *more])


def test_as_many_frames_out_as_in_and_a_summary(video, tiny_onnx, tmp_path, capsys):
    save, log = tmp_path / "o.mp4", tmp_path / "o.jsonl"
    assert (
        run(video, tiny_onnx, "--save", str(save), "--json", str(log), "--ego", "--log-smoothed")
        == 0
    )
    assert frames_in(save) == 30
    frames = [json.loads(line) for line in log.read_text().splitlines()]
    assert [frame["frameIndex"] for frame in frames] == list(range(30))
    assert {"car", "direct"} <= {label["category"] for label in frames[0]["labels"]}
    assert frames[0]["attributes"] == {"light": "day", "sky": "c"}
    out, err = capsys.readouterr()
    assert "30 frames, 0 dropped" in out
    assert "whole pipeline" in out
    assert "model alone" in out
    assert "tiny on cpu" in err
    assert len(list(tmp_path.iterdir())) == 2


def test_boxes_below_the_score_are_left_out(video, tiny_onnx, tmp_path):
    log = tmp_path / "o.jsonl"
    assert run(video, tiny_onnx, "--json", str(log), "--score", "0.5", "--no-track") == 0
    labels = json.loads(log.read_text().splitlines()[0])["labels"]
    assert [label["category"] for label in labels if label["box2d"]] == ["car"]


def test_it_runs_without_torch(video, tiny_onnx, tmp_path):
    code = (
        "import sys; sys.modules.update(torch=None, timm=None, torchvision=None)\n"
        "from demo.perceive import main; sys.exit(main(sys.argv[1:]))"
    )
    more = ["--model", str(tiny_onnx), "--json", str(tmp_path / "o.jsonl")]
    arguments = [str(video), *more, "--save", str(tmp_path / "o.mp4"), "--provider", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert frames_in(tmp_path / "o.mp4") == 30


def not_a_video(folder, video, model):
    (folder / "a.mp4").write_bytes(b"hello")
    return [str(folder / "a.mp4"), "--model", str(model)]


def broken_image(folder, video, model):
    (folder / "in").mkdir()
    cv2.imwrite(str(folder / "in" / "1.png"), np.zeros((20, 30), np.uint8))
    (folder / "in" / "2.png").write_bytes(b"broken")
    return [str(folder / "in"), "--model", str(model)]


def other_model(folder, video, model):
    (folder / "m.onnx").write_bytes(b"hello")
    return [str(video), "--model", str(folder / "m.onnx")]


BAD = {
    "not a video": (not_a_video, r"a\.mp4"),
    "no such video": (lambda f, v, m: ["gone.mp4", "--model", str(m)], r"gone\.mp4"),
    "broken image": (broken_image, r"2\.png"),
    "not our model": (other_model, r"m\.onnx"),
    "no such model": (lambda f, v, m: [str(v), "--model", "no.onnx"], r"no\.onnx"),
    "no display": (lambda f, v, m: [str(v), "--model", "not-opened.onnx", "--show"], "display"),
    "provider": (lambda f, v, m: [str(v), "--model", str(m), "--provider", "cdua"], "cuda"),
    "score": (lambda f, v, m: [str(v), "--model", str(m), "--score", "30"], "--score"),
    "suffix": (lambda f, v, m: [str(v), "--model", str(m), "--save", "o.txt"], r"\.mp4"),
    "folder": (lambda f, v, m: [str(v), "--model", str(m), "--json", str(f)], "folder"),
    "itself": (
        lambda f, v, m: [str(v), "--model", str(m), "--save", str(v)],
        "would replace the input",
    ),
    "address": (lambda f, v, m: [str(v), "--model", str(m), "--serve", "here"], "HOST:PORT"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(case, video, tiny_onnx, tmp_path, monkeypatch):
    """And nothing half-written: what could be read is written whole, or nothing is."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make, message = BAD[case]
    arguments, errors = make(tmp_path, video, tiny_onnx), tmp_path / "errors.txt"
    if "--json" not in arguments:
        arguments += ["--json", str(tmp_path / "o.jsonl")]
    if "--provider" not in arguments:
        arguments += ["--provider", "cpu"]
    with open(errors, "w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        assert main(arguments) == 2
    lines = [line for line in errors.read_text().splitlines() if line.startswith("error")]
    assert len(lines) == 1
    assert re.search(message, lines[0])
    assert (tmp_path / "o.jsonl").exists() == (case == "broken image")
    assert not list(tmp_path.rglob("*.part*"))


@pytest.mark.parametrize("shape", [(1, 160), (160, 1), (200, 90), (33, 47)])
def test_folders_of_grey_and_alpha_images(shape, tiny_onnx, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for index, channels in enumerate([(), (3,), (4,)]):
        cv2.imwrite(str(source / f"{index}.png"), np.full((*shape, *channels), 99, np.uint8))
    assert run(source, tiny_onnx, "--save", str(tmp_path / "o.mp4")) == 0
    assert frames_in(tmp_path / "o.mp4") == 3


def photos(folder: Path, count: int) -> Path:
    folder.mkdir()
    for index in range(count):
        cv2.imwrite(str(folder / f"p{index}.png"), np.full((60, 90, 3), 99, np.uint8))
    return folder


def test_without_an_output_the_overlay_is_written_next_to_the_input(
    video, tiny_onnx, tmp_path, capsys
):
    clip = tmp_path / "drive.mp4"
    clip.write_bytes(video.read_bytes())
    assert run(clip, tiny_onnx) == 0
    assert f"wrote {tmp_path / 'drive-overlay.mp4'}" in capsys.readouterr().out
    assert frames_in(tmp_path / "drive-overlay.mp4") == 30
    folder = photos(tmp_path / "holiday", 2)
    assert run(folder, tiny_onnx) == 0
    written = tmp_path / "holiday-overlay"
    assert f"wrote {written}/" in capsys.readouterr().out
    assert sorted(path.name for path in written.iterdir()) == ["p0.png", "p1.png"]
    assert run(folder / "p0.png", tiny_onnx) == 0
    assert cv2.imread(str(folder / "p0-overlay.png")).shape == (60, 90, 3)


@pytest.mark.parametrize(
    ("save", "names"),
    [
        ("out/", ["p0.png", "p1.png"]),
        ("x.jpg", ["x-p0.jpg", "x-p1.jpg"]),
        ("x.webp", ["x-p0.webp", "x-p1.webp"]),
    ],
)
def test_one_picture_per_photo_without_track_ids(save, names, tiny_onnx, tmp_path):
    folder, out, log = photos(tmp_path / "in", 2), tmp_path / "out", tmp_path / "o.jsonl"
    target = f"{out}/" if save.endswith("/") else str(out / save)
    assert run(folder, tiny_onnx, "--save", target, "--json", str(log)) == 0
    assert sorted(path.name for path in out.iterdir()) == names
    for line in log.read_text().splitlines():
        boxes = [label for label in json.loads(line)["labels"] if label["box2d"]]
        assert not any(label.get("id", "").isdigit() for label in boxes)


@pytest.mark.parametrize("suffix", [".webp"])
def test_animations_are_small(suffix, video, tiny_onnx, tmp_path):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    path = tmp_path / f"o{suffix}"
    assert run(video, tiny_onnx, "--save", str(path), "--side-by-side") == 0
    with image.open(path) as animation:
        assert animation.size == (320, 120)
        assert animation.n_frames == 15  # of 30 at 25 per second


def test_the_names_of_several_photos_are_reported(tiny_onnx, tmp_path, capsys):
    folder, save = photos(tmp_path / "in", 2), tmp_path / "x.jpg"
    assert run(folder, tiny_onnx, "--save", str(save)) == 0
    assert f"wrote {tmp_path / 'x-*.jpg'}" in capsys.readouterr().out
    assert len(list(tmp_path.glob("x-*.jpg"))) == 2
    assert run(folder / "p0.png", tiny_onnx, "--save", str(save)) == 0
    assert f"wrote {save}" in capsys.readouterr().out
    assert save.is_file()


def test_photos_are_not_overwritten(tiny_onnx, tmp_path, capsys):
    folder = photos(tmp_path / "in", 1)
    before = (folder / "p0.png").read_bytes()
    assert run(folder, tiny_onnx, "--save", f"{folder}/") == 2
    assert run(folder / "p0.png", tiny_onnx, "--save", f"{folder}/") == 2
    assert capsys.readouterr().err.count("would replace the input") == 2
    assert (folder / "p0.png").read_bytes() == before


def test_ctrl_c_completes_the_files(video, tiny_onnx, tmp_path, monkeypatch):
    save, before = tmp_path / "o.mp4", signal.getsignal(signal.SIGINT)
    add = command.Statistics.add

    def interrupted(self, packet):
        add(self, packet)
        if packet.frame.index == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(command.Statistics, "add", interrupted)
    assert run(video, tiny_onnx, "--save", str(save), "--loop") == 130
    assert 6 <= frames_in(save) <= 30
    assert signal.getsignal(signal.SIGINT) is before


def test_a_loop_ends_after_the_given_seconds(video, tiny_onnx, tmp_path, capsys):
    log = str(tmp_path / "o.jsonl")  # may be empty on a busy machine
    assert run(video, tiny_onnx, "--loop", "--seconds", "0.5", "--json", log) == 0
    assert "wrote " + log in capsys.readouterr().out


def test_without_a_shipped_model_the_error_says_so(video, capsys, monkeypatch):
    monkeypatch.setitem(hub.PACKAGED, hub.DEFAULT, {hub.ONNX: "gone.onnx"})
    assert main([str(video)]) == 2
    assert "does not ship with this install: pass a file" in capsys.readouterr().err


@pytest.mark.parametrize("clip", CLIPS or [None], ids=lambda clip: clip.stem if clip else "none")
def test_real_clips(clip, tiny_onnx, tmp_path):
    if clip is None:
        pytest.skip("no clips under ../shared/data/videos")
    log = tmp_path / "o.jsonl"
    assert run(clip, tiny_onnx, "--json", str(log), "--no-track") == 0
    assert len(log.read_text().splitlines()) == int(
        cv2.VideoCapture(str(clip)).get(cv2.CAP_PROP_FRAME_COUNT)
    )
