"""The overlay, its switches, the window, the statistics, and the MCAP log."""

import io
import time
from types import SimpleNamespace

import numpy as np
import pytest

from demo.overlay import Controls, Overlay, draw_ego
from demo.pipeline import Packet, SourceFrame
from demo.progress import Statistics
from demo.show import ShowSink
from perception.errors import UserError
from perception.runtime.runner import Runner

IMAGE = np.full((48, 80, 3), 60, np.uint8)


def packet(index: int = 0, **more) -> Packet:
    return Packet(SourceFrame(IMAGE, index, index / 25, f"f{index}"), canvas=IMAGE.copy(), **more)


@pytest.fixture
def controls():
    return Controls({"things": "Objects", "area": "Area"})


@pytest.mark.parametrize(
    ("keys", "state"),
    [
        ("", {}),
        (" ", {"paused": True}),
        ("  ", {"paused": False}),
        ("n", {"paused": True, "step": True}),
        ("s", {"save": True}),
        ("q", {"quit": True}),
        ("\x1b", {"quit": True}),
        ("1", {"hidden": {"things"}}),
        ("12", {"hidden": {"things", "area"}}),
        ("11", {"hidden": set()}),
        ("039x", {"hidden": set()}),
    ],
)
def test_keys(keys, state, controls):
    for key in keys:
        controls.key(key)
    default = {"paused": False, "step": False, "save": False, "quit": False, "hidden": set()}
    assert {name: getattr(controls, name) for name in default} == default | state


def test_the_overlay_hides_switched_off_outputs_at_once(controls, tiny_onnx):
    scene = Runner(tiny_onnx, "cpu", 1)(IMAGE)
    controls.titles = dict.fromkeys(scene.outputs, "")
    controls.figures = True
    overlay = Overlay(controls, "cpu")
    first, second = packet(scene=scene), packet(1, scene=scene, dropped=3)
    overlay.draw(first, 1.0)
    controls.hidden = frozenset(scene.outputs)
    overlay.draw(second, 1.5)
    assert overlay.fps() == 2
    assert (first.canvas[:20] != IMAGE[:20]).any()
    assert (second.canvas[:20] == IMAGE[:20]).all()
    assert (second.canvas[25:] != IMAGE[25:]).any()  # the figures stay


def test_the_ego_lane_is_drawn_as_a_line():
    canvas = np.zeros((100, 100, 3), np.uint8)
    draw_ego(canvas, np.array([[50.0, 90.0], [50.0, 10.0]]))
    assert canvas[50, 50, 1] == 255
    assert canvas[:, :40].max() == canvas[:, 60:].max() == 0


def test_statistics_of_a_run(capsys):
    figures = Statistics()
    assert figures.summary() == "0 frames"
    figures.begin(4)
    for index in range(4):
        figures.add(packet(index, timings_ms={"model": 10.0, "decode": 1.0 + index}, dropped=index))
    assert "4 frames, 3 dropped" in figures.summary()
    assert "model alone 100.0 fps" in figures.summary()
    assert "4/4 frames" in figures.progress()
    snapshot = figures.snapshot()
    assert snapshot["frames"] == snapshot["total"] == 4
    assert snapshot["stages"]["decode"] == {"median_ms": 3.0, "p90_ms": 4.0}


def test_the_time_left_is_that_of_the_frames_to_come():
    figures = Statistics(io.StringIO())
    figures.begin(200)
    figures.frames, figures.start, figures.end = 50, 0.0, 25.0
    assert figures.progress() == "50/200 frames, 2.0 fps, 1:15 left"


def test_statistics_are_bounded_in_memory():
    figures, one = Statistics(), packet(timings_ms={"model": 1.0})
    for _ in range(5000):
        figures.add(one)
    assert figures.frames == 5000
    assert len(figures.timings["model"]) == 2000


CHILD = {
    # reads one picture of known size, presses keys, then goes
    "keys": "print('ready', flush=True); h = r(8); r(48 * 80 * 3);"
    " [print(f'key {ord(c)}', flush=True) for c in '1q']; sys.stdin.buffer.read()",
    "no display": "sys.exit(1)",
    "abort": "import os; os.abort()",
    "display lost": "print('ready', flush=True); r(8); sys.exit(1)",
    "hangs": "print('ready', flush=True); import time; time.sleep(60)",
}


def window(kind, controls, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":99")
    code = "import sys; r = sys.stdin.buffer.read; " + CHILD[kind]
    return ShowSink("title", controls, ("-c", code))


def wait_for(true) -> bool:
    end = time.monotonic() + 20
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def test_keys_pressed_in_the_window_reach_the_controls(controls, monkeypatch):
    with window("keys", controls, monkeypatch) as sink:
        sink.write(packet())
        assert wait_for(lambda: controls.quit)
    assert controls.hidden == {"things"}


@pytest.mark.parametrize("kind", ["no display", "abort"])
def test_a_window_that_cannot_open_is_one_line(kind, controls, monkeypatch):
    with pytest.raises(UserError, match="display"), window(kind, controls, monkeypatch):
        pass


def test_without_a_display_no_window_is_opened(controls, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UserError, match="--serve or --save"), ShowSink("title", controls):
        pass


@pytest.mark.parametrize("kind", ["display lost", "hangs"])
def test_a_lost_or_hanging_window_does_not_block_the_pipeline(kind, controls, monkeypatch, capfd):
    controls.paused = kind == "display lost"  # nobody could end the pause
    big = Packet(SourceFrame(IMAGE, 0, 0, ""), canvas=np.zeros((1080, 1920, 3), np.uint8))
    with window(kind, controls, monkeypatch) as sink:
        for _ in range(200):
            sink.write(big)
        if kind == "display lost":
            assert wait_for(lambda: not controls.paused)
            assert wait_for(lambda: not sink.threads[0].is_alive())
            assert "continuing without" in capfd.readouterr().err
    assert sink.child.returncode is not None


def test_the_mcap_log_has_one_message_per_frame_with_its_time(tiny_onnx, tmp_path):
    pytest.importorskip("foxglove", reason="foxglove-sdk is not installed (extra car)")
    reader = pytest.importorskip("mcap.reader", reason="mcap is not installed (extra car)")
    from demo.mcap_sink import McapSink

    scene, path = Runner(tiny_onnx, "cpu", 1)(IMAGE), tmp_path / "o.mcap"
    start = 1_700_000_000_000_000_000  # of a recording
    with McapSink(path, SimpleNamespace(epoch_ns=start)) as sink:
        for index in range(7):
            sink.write(packet(index, scene=scene))
        assert not path.exists()
    with open(path, "rb") as file:
        summary = reader.make_reader(file).get_summary()
        counts = {
            summary.channels[number].topic: count
            for number, count in summary.statistics.channel_message_counts.items()
        }
        messages = list(reader.make_reader(file).iter_messages("/camera/annotations"))
    topics = ("image", "annotations", "area", "paint")
    assert counts == {f"/camera/{topic}": 7 for topic in topics}
    assert [message.log_time for _, _, message in messages] == [
        start + 40_000_000 * i for i in range(7)
    ]
    assert b"car 90" in messages[0][2].data
    with (
        pytest.raises(RuntimeError),
        McapSink(tmp_path / "x.mcap", SimpleNamespace(epoch_ns=0)),
    ):
        raise RuntimeError
    assert [entry.name for entry in tmp_path.iterdir()] == ["o.mcap"]
