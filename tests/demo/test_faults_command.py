"""Faults that people met with `perceive`: inputs replaced, options late or ignored, odd outputs."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import FrozenInstanceError
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo import overlay
from demo import perceive as command
from demo.options import read_options
from demo.overlay import Controls
from demo.perceive import main
from perception.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CAMERA = (
    "width: 160\nheight: 120\nfocal: [170, 170]\ncentre: [80, 60]\nheight_m: 1.4\npitch_deg: 1\n"
)


def run(*words) -> int:
    return main([str(word) for word in (*words, "--provider", "cpu", "--threads", "1")])


def digests(folder: Path) -> dict[str, str]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.fixture
def place(video, tiny_onnx, tmp_path, monkeypatch):
    """A folder with inputs of every kind, and links to them; the current one."""
    folder = tmp_path / "in"
    (folder / "photos").mkdir(parents=True)
    (folder / "b.mp4").write_bytes(video.read_bytes())
    (folder / "model.onnx").write_bytes(tiny_onnx.read_bytes())
    (folder / "camera.yaml").write_text(CAMERA)
    (folder / "speed.csv").write_text("seconds,speed_m_s\n0,10\n9,10\n")
    for name in ("p", "x-p"):
        cv2.imwrite(str(folder / f"photos/{name}.png"), np.full((60, 90, 3), 99, np.uint8))
    (folder / "link.mp4").symlink_to("b.mp4")
    os.link(folder / "b.mp4", folder / "hard.mp4")
    (folder / "same").symlink_to(".")
    monkeypatch.chdir(folder)
    return folder


GEOMETRY = ["--camera", "camera.yaml", "--speed", "speed.csv"]
REPLACED = [
    ["b.mp4", "--save", "{here}/b.mp4"],
    ["b.mp4", "--json", "{here}/b.mp4"],
    ["b.mp4", "--json", "link.mp4"],
    ["link.mp4", "--mcap", "b.mp4"],
    ["b.mp4", "--save", "hard.mp4"],
    ["b.mp4", "--save", "same/photos/../b.mp4"],
    ["b.mp4", "--export", "coco:same/b.mp4"],
    ["file://{here}/b.mp4", "--json", "b.mp4"],
    ["b.mp4", "--json", "model.onnx"],
    ["b.mp4", "--json", "camera.yaml", *GEOMETRY],
    ["b.mp4", "--json", "speed.csv", *GEOMETRY],
    ["photos", "--save", "photos/"],
    ["photos", "--save", "same/photos/"],
    ["photos/p.png", "--save", "photos/"],
    ["photos", "--save", "photos/x.png"],  # photos/x-p.png is one of them
    ["photos", "--json", "photos/p.png"],
]


@pytest.mark.parametrize("words", REPLACED, ids=" ".join)
def test_no_output_replaces_an_input(words, place, capsys):
    before = digests(place)
    assert run(*(word.format(here=place) for word in words), "--model", "model.onnx") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "would replace the input" in line or "exists, and labels are never replaced" in line
    assert digests(place) == before


@pytest.mark.parametrize(
    "words",
    [
        ["--json", "o.jsonl", "--mcap", "same/o.jsonl"],
        ["--save", "o.mp4", "--json", "o.mp4"],
    ],
)
def test_two_outputs_are_two_files(words, place, capsys):
    assert run("b.mp4", *words, "--model", "model.onnx") == 2
    assert "the same file as --" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "own"),
    [
        ("yolo:ds", "ds/labels/b.txt"),
        ("yolo:ds", "ds/labels/train/other.txt"),
        ("coco:ds/own.json", "ds/own.json"),
        ("cvat:ds/own.xml", "ds/own.xml"),
    ],
)
def test_labels_of_another_origin_are_never_replaced(target, own, place, capsys):
    (place / own).parent.mkdir(parents=True)
    (place / own).write_text("by hand")
    assert run("b.mp4", "--export", target, "--model", "model.onnx") == 2
    assert "name a new f" in capsys.readouterr().err
    assert (place / own).read_text() == "by hand"


def test_an_older_output_is_replaced_with_a_word(place, capsys):
    words = ["b.mp4", "--json", "o.jsonl", "--seconds", "0.1", "--model", "model.onnx"]
    for said in (False, True):
        assert run(*words) == 0
        assert ("replacing o.jsonl" in capsys.readouterr().err) == said


def test_a_speed_file_that_does_not_exist_is_named_with_its_option(place):
    words = ["b.mp4", "--camera-height", "1.4", "--model", "model.onnx"]
    with pytest.raises(UserError, match=r"--speed gone\.csv: no such file; give km/h"):
        read_options([*words, "--speed", "gone.csv"])


def test_json_takes_a_device_that_goes_to_a_file_of_any_name(place, capfd):
    """With `capfd` both are files."""
    for device in ("/dev/stdout", "/dev/stderr"):
        (job,) = read_options(["b.mp4", "--json", device, "--model", "model.onnx"]).jobs
        assert job.json == Path(device)


def test_a_link_as_output_is_written_through(place):
    (place / "real").mkdir()
    (place / "o.jsonl").symlink_to("real/o.jsonl")
    assert run("b.mp4", "--json", "o.jsonl", "--model", "model.onnx") == 0
    assert (place / "o.jsonl").is_symlink()
    assert len((place / "real/o.jsonl").read_text().splitlines()) == 30


LATE = {
    "save": ["b.mp4", "--save", "x.avi"],
    "json folder": ["b.mp4", "--json", "photos"],
    "no folder": ["b.mp4", "--json", "speed.csv/o.jsonl"],
    "web with a video": ["b.mp4", "--web"],
    "web with an output": ["--web", "--json", "o.jsonl"],
    "seconds": ["b.mp4", "--seconds", "-5"],
    "seconds nan": ["b.mp4", "--seconds", "nan"],
    "threads": ["b.mp4", "--threads", "5000"],
    "threads below": ["b.mp4", "--threads", "-3"],
    "score": ["b.mp4", "--score", "nan"],
    "provider": ["b.mp4", "--provider", "cdua"],
    "serve": ["b.mp4", "--serve", "here"],
    "serve port": ["b.mp4", "--serve", "127.0.0.1:99999"],
    "loop": ["rtsp://car/1", "--show", "--loop"],
    "topic": ["b.mp4", "--topic", "/front"],
    "view": ["b.mp4", "--camera-view", "60"],
    "no picture": ["b.mp4", "--json", "o.jsonl", "--birds-eye", "--camera", "camera.yaml"],
    "fps": ["b.mp4", "--json", "o.jsonl", "--fps"],
    "camera": ["b.mp4", "--camera", "speed.csv"],
    "json of another kind": ["b.mp4", "--json", "o.txt"],
    "speed": ["b.mp4", "--camera", "camera.yaml", "--speed", "gone.csv"],
    "one of two": ["b.mp4", "gone.mp4"],
    "nothing": [],
}


@pytest.mark.parametrize("case", LATE)
def test_every_option_is_checked_before_anything_is_opened(case, place, monkeypatch, capsys):
    for name in ("Runner", "open_source"):
        monkeypatch.setattr(command, name, lambda *_, name=name: pytest.fail(f"{name} opened"))
    before = digests(place)
    assert main([*LATE[case], "--model", "model.onnx"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert digests(place) == before


def test_a_port_in_use_is_found_before_the_model_is_loaded(place):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserError, match=f"--serve {address}: cannot listen"):
            read_options(["b.mp4", "--serve", address, "--model", "model.onnx"])


def test_options_do_not_change(place):
    options = read_options(["b.mp4", "--model", "model.onnx"])
    assert options.jobs[0].save == "b-overlay.mp4"
    with pytest.raises(FrozenInstanceError):
        options.score = 0.5


# Several videos, names, what was written


def test_several_videos_have_files_of_their_own(place):
    (place / "b.mkv").write_bytes((place / "b.mp4").read_bytes())
    assert run("b.mp4", "photos", "--json", "log.jsonl", "--model", "model.onnx") == 0
    assert len((place / "log-b.jsonl").read_text().splitlines()) == 30
    assert len((place / "log-photos.jsonl").read_text().splitlines()) == 2
    options = read_options(["b.mp4", "b.mkv", "--model", "model.onnx"])
    assert [job.save for job in options.jobs] == ["b-overlay.mp4", "b.mkv-overlay.mp4"]
    with pytest.raises(UserError, match=r"b\.mp4 and b\.mkv would both write log-b\.jsonl"):
        read_options(["b.mp4", "b.mkv", "--json", "log.jsonl", "--model", "model.onnx"])


def test_a_photo_that_is_cut_off_is_not_said_to_be_written(place, capsys):
    data = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (60, 90, 3)))[1].tobytes()
    (place / "cut.jpg").write_bytes(data[: len(data) // 2])
    assert run("cut.jpg", "--save", "out.jpg", "--json", "o.jsonl", "--model", "model.onnx") == 2
    out, err = capsys.readouterr()
    assert "out.jpg" not in out
    assert "wrote o.jsonl" in out
    assert "cut.jpg: not a usable image" in err


def test_a_photo_prints_two_lines(place, capsys):
    assert run("photos/p.png", "--model", "model.onnx") == 0
    assert capsys.readouterr().out == "1 photo\nwrote photos/p-overlay.png\n"


def test_seconds_are_those_of_the_video(place):
    assert run("b.mp4", "--json", "o.jsonl", "--seconds", "0.5", "--model", "model.onnx") == 0
    assert len((place / "o.jsonl").read_text().splitlines()) == 13  # 0 to 0.48 s


def test_a_still_never_replaces_a_file(place, monkeypatch):
    (place / "p-still-1.png").write_text("by hand")
    add = command.Statistics.add

    def pressed(self, packet):
        add(self, packet)
        monkeypatch.setattr(Controls, "save", True, raising=False)

    made = Controls.__init__

    def keyed(self, *given):
        made(self, *given)
        self.save = True

    monkeypatch.setattr(Controls, "__init__", keyed)
    assert run("photos/p.png", "--model", "model.onnx") == 0
    assert (place / "p-still-1.png").read_text() == "by hand"
    assert (place / "p-still-2.png").is_file()


# Standard output


def perceive(*words, **more) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "demo.perceive", *map(str, words), "--provider", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | more.pop("env", {})
    return subprocess.run(line, capture_output=True, env=environment, timeout=120, **more)


def test_json_on_standard_output_is_all_that_is_there(place):
    done = perceive("b.mp4", "--json", "/dev/stdout", "--model", "model.onnx")
    assert done.returncode == 0, done.stderr
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 30
    assert b"30 frames" in done.stderr


@pytest.mark.parametrize(
    ("device", "to"), [("/dev/stdout", ">> log"), ("/dev/fd/7", "7>> log"), ("/dev/fd/7", "7>log")]
)
def test_a_log_that_the_shell_appends_to_is_not_emptied(device, to, place):
    words = f"-m demo.perceive b.mp4 --json {device} --model model.onnx --provider cpu"
    (place / "log").write_text("before\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    shell = f"{sys.executable} {words} {to}"
    assert subprocess.run(shell, shell=True, env=environment, capture_output=True).returncode == 0
    rest = (place / "log").read_text().splitlines()
    if ">>" in to:
        assert rest.pop(0) == "before"
    assert len([json.loads(line) for line in rest]) == 30


def test_a_reader_that_has_seen_enough_ends_the_run_quietly(place):
    words = "-m demo.perceive b.mp4 --loop --json /dev/stdout --model model.onnx --provider cpu"
    shell = f"({sys.executable} {words}; echo code $? >&2) | head -1"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        shell, shell=True, env=environment, capture_output=True, text=True, timeout=120
    )
    assert json.loads(done.stdout)["frameIndex"] == 0
    assert "code 0" in done.stderr
    assert "rror" not in done.stderr


@pytest.mark.parametrize("name", ["日本.mp4", "ü—.mp4"])
def test_names_that_the_terminal_cannot_show(name, place):
    (place / name).write_bytes((place / "b.mp4").read_bytes())
    more = {"PYTHONIOENCODING": "cp1252:strict"}
    done = perceive(name, "--seconds", "0.1", "--model", "model.onnx", env=more)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


# Being stopped


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_run_leaves_whole_files(sent, place):
    from av import open as av_open

    words = ["b.mp4", "--loop", "--save", "o.mp4", "--json", "o.json", "--model", "model.onnx"]
    line = [sys.executable, "-m", "demo.perceive", *words, "--provider", "cpu"]
    child = subprocess.Popen(
        line,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # nohup pytest
    )
    end = time.monotonic() + 60
    while (
        not any(one.stat().st_size > 9000 for one in place.glob(".o.*")) and time.monotonic() < end
    ):
        time.sleep(0.05)
    child.send_signal(sent)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 128 + sent, err
    frames = json.loads((place / "o.json").read_text())
    with av_open(str(place / "o.mp4")) as clip:
        assert sum(1 for _ in clip.decode(video=0)) == len(frames) > 0
    assert b"wrote o.json" in out
    assert not list(place.glob("*.part*"))


def test_a_run_stopped_while_it_starts_leaves_nothing(place, monkeypatch):
    def stopped(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(command, "Runner", stopped)
    before = digests(place)
    with pytest.raises(SystemExit) as caught:
        run("b.mp4", "--model", "model.onnx")
    assert caught.value.code == 143
    assert digests(place) == before


# Logs do not depend on what is shown


def test_a_view_switch_never_changes_the_log(place, monkeypatch):
    logs = []
    for number, words in enumerate([[], ["--ego"], ["--raw"], ["--side-by-side", "--fps"]]):
        log, clip = f"o{number}.jsonl", f"o{number}.mp4"
        words = ["b.mp4", "--json", log, "--save", clip, *words]
        assert run(*words, "--model", "model.onnx") == 0
        logs.append((place / log).read_text())
    assert len(set(logs)) == 1

    add = command.Statistics.add

    def switched(self, packet):  # as on the page, in mid-run
        add(self, packet)
        if packet.frame.index == 5:
            for controls in Switched.made:
                controls.ego, controls.smooth, controls.score = True, False, 0.95

    class Switched(Controls):
        made: list = []  # noqa: RUF012

        def __init__(self, *given):
            super().__init__(*given)
            self.made.append(self)

    monkeypatch.setattr(command, "Controls", Switched)
    monkeypatch.setattr(command.Statistics, "add", switched)
    assert run("b.mp4", "--json", "s.jsonl", "--save", "s.mp4", "--model", "model.onnx") == 0
    assert (place / "s.jsonl").read_text() == logs[0]


def test_one_score_for_boxes_drawn_logged_tracked_and_measured(place, monkeypatch):
    seen = {}
    draw, trackers, update = overlay.draw, command.BoxTracker.update, command.RoadGeometry.update

    def spied(name, scene, result):
        seen[name] = scene.outputs["things"].least
        return result

    monkeypatch.setattr(overlay, "draw", lambda *given: spied("drawn", given[1], draw(*given)))
    monkeypatch.setattr(
        command.BoxTracker, "update", lambda *given: spied("tracked", given[1], trackers(*given))
    )
    monkeypatch.setattr(
        command.RoadGeometry, "update", lambda *given: spied("measured", given[1], update(*given))
    )
    words = ["b.mp4", "--json", "o.jsonl", "--save", "o.mp4", "--model", "model.onnx"]
    for score in ("0", "0.25", "0.5"):
        assert run(*words, "--score", score, "--camera-height", "1.4", "--birds-eye") == 0
        for least in seen.values():
            assert set(np.atleast_1d(least)) == {float(score)}
        assert {"drawn", "measured"} <= set(seen)
        labels = json.loads((place / "o.jsonl").read_text().splitlines()[0])["labels"]
        found = [label["score"] for label in labels if label["box2d"]]
        assert len(found) == {"0": 2, "0.25": 2, "0.5": 1}[score]
        assert threading.active_count() < 20


# Two outputs under one name


@pytest.fixture
def alike(place):
    """Videos and photos whose outputs would have one name."""
    for folder in ("x", "y"):
        (place / folder).mkdir()
        (place / folder / "a.mp4").write_bytes((place / "b.mp4").read_bytes())
    (place / "y/a.mkv").write_bytes((place / "b.mp4").read_bytes())
    for name in ("two/a.jpg", "two/a.png", "other/a.jpg"):
        (place / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(place / name), np.full((60, 90, 3), 99, np.uint8))
    return place


CLASHES = [
    (["x/a.mp4", "y/a.mp4", "--save", "out/"], "x/a.mp4", "y/a.mp4"),
    (["x/a.mp4", "y/a.mkv", "--save", "photos"], "x/a.mp4", "y/a.mkv"),
    (["x/a.mp4", "y/a.mp4", "--save", "o.mp4"], "x/a.mp4", "y/a.mp4"),
    (["x/a.mp4", "y/a.mp4", "--export", "yolo:ds"], "x/a.mp4", "y/a.mp4"),
    (["two", "--save", "x.jpg"], "two/a.jpg", "two/a.png"),
    (["two", "--export", "yolo:ds"], "two/a.jpg", "two/a.png"),
    (["two/a.jpg", "other/a.jpg", "--save", "out/"], "two/a.jpg", "other/a.jpg"),
]


@pytest.mark.parametrize(("words", "first", "second"), CLASHES)
def test_two_inputs_with_one_name_are_named_before_anything_is_opened(
    words, first, second, alike, capsys
):
    before = digests(alike)
    assert run(*words, "--model", "model.onnx") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{first} and {second} would both write" in line
    assert digests(alike) == before


def test_inputs_of_other_names_share_a_folder(alike):
    words = ["x/a.mp4", "b.mp4", "--save", "new/", "--seconds", "0.05", "--model", "model.onnx"]
    assert run(*words) == 0
    names = sorted(path.name for path in (alike / "new").iterdir())
    assert names == ["a-0000001.jpg", "a-0000002.jpg", "b-0000001.jpg", "b-0000002.jpg"]


@pytest.mark.parametrize(
    ("name", "option"),
    [("e.mp4", ""), ("e.onnx", "--model"), ("e.yaml", "--camera"), ("e.csv", "--speed"),
     ("e.mcap", ""), ("e.bag", "")],
)  # fmt: skip
def test_an_empty_file_is_one_line(name, option, place, capsys):
    (place / name).touch()
    height = ["--camera-height", "1.4"] if option == "--speed" else []
    model = [] if option == "--model" else ["--model", "model.onnx"]
    words = ["b.mp4", option, name] if option else [name]
    assert run(*words, *height, *model) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {name}: ")
    assert "0 MB" not in line
