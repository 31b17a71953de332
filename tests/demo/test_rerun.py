"""perceive --rerun: read back with Rerun's own reader; a viewer that hangs holds up nothing."""

import re
import shutil
import threading
from collections import Counter

import numpy as np
import pytest

from demo.perceive import main
from demo.pipeline import Packet, SourceFrame

rerun = pytest.importorskip("rerun", reason="rerun-sdk is not installed (extra viz)")

from demo import rerun_sink  # noqa: E402 - imports rerun

IMAGE = np.full((48, 80, 3), 60, np.uint8)


def rows(path) -> Counter:
    """Rows by entity of an .rrd file."""
    reader = pytest.importorskip("rerun.chunk", reason="this rerun-sdk cannot read its files")
    counted: Counter = Counter()
    for chunk in reader.RrdReader(path).stream():
        counted[str(chunk.entity_path)] += chunk.num_rows
    return counted


def test_an_rrd_file_has_one_row_per_frame_and_output(video, tiny_onnx, tmp_path):
    path = tmp_path / "o.rrd"
    more = ["--model", str(tiny_onnx), "--provider", "cpu", "--threads", "1"]
    assert main([str(video), *more, "--rerun", str(path)]) == 0
    counted = rows(path)
    entities = ("", "/things", "/area", "/paint", "/far", "/lanes")
    assert {counted[f"/camera{entity}"] for entity in entities} == {30}
    assert counted["/mood"] == 30
    assert [entry.name for entry in tmp_path.iterdir()] == ["o.rrd"]


def test_a_full_disk_keeps_a_readable_file(tiny_onnx, video, tmp_path, monkeypatch, capsys):
    free, usage = [17], shutil.disk_usage

    def shrinking(path):
        free[0] -= 1
        return usage(path)._replace(free=free[0] << 20)

    monkeypatch.setattr("demo.sinks.shutil.disk_usage", shrinking)
    path = tmp_path / "o.rrd"
    more = ["--model", str(tiny_onnx), "--provider", "cpu", "--threads", "1", "--no-track"]
    assert main([str(video), *more, "--rerun", str(path)]) == 2
    assert re.search(r"o\.rrd: No space left", capsys.readouterr().err)
    assert rows(path)["/camera"] == 9
    assert [entry.name for entry in tmp_path.iterdir()] == ["o.rrd"]


def test_a_hanging_viewer_does_not_block_the_pipeline(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setattr(rerun.RecordingStream, "spawn", lambda self: None)
    monkeypatch.setattr(rerun_sink, "FLUSH_TIMEOUT_S", 0.1)
    stuck = threading.Event()
    monkeypatch.setattr(rerun_sink, "log", lambda *_: stuck.wait())
    with rerun_sink.RerunViewer("clip") as sink:
        for index in range(1000):
            sink.write(Packet(SourceFrame(IMAGE, index, index / 25, "")))
    assert sink.newest.dropped >= 998  # at most one on its way and one waiting
    stuck.set()


def test_without_a_display_the_error_suggests_a_file(video, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert main([str(video), "--rerun"]) == 2
    assert "FILE.rrd" in capsys.readouterr().err


def test_a_file_of_another_kind_is_refused(video, capsys):
    assert main([str(video), "--rerun", "o.mp4"]) == 2
    assert ".rrd" in capsys.readouterr().err
