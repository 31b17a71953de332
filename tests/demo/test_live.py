"""Cameras and streams that stall, break off, come back at another size."""

import socket
import threading

import numpy as np
import pytest

from demo import live
from demo.live import Live
from demo.pipeline import Pipeline
from demo.sources import open_source
from perception.errors import UserError

SMALL, LARGE = np.zeros((4, 6, 3), np.uint8), np.zeros((8, 6, 3), np.uint8)


class Camera:
    """Stands in for cv2.VideoCapture: gives its frames, then fails or hangs."""

    def __init__(self, frames=(), opens=True, hangs=False):
        self.frames, self.opens, self.hangs = list(frames), opens, hangs

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return self.opens

    def get(self, _):
        return 0.0

    def read(self):
        if not self.frames and self.hangs:
            threading.Event().wait()
        return (True, self.frames.pop(0)) if self.frames else (False, None)

    def release(self):
        self.opens = False


@pytest.fixture
def cameras(monkeypatch):
    """Put the cameras that opening will give, in order; after them nothing opens."""
    waiting: list[Camera] = []
    monkeypatch.setattr(
        live, "connect", lambda _: waiting.pop(0) if waiting else Camera(opens=False)
    )
    return waiting


def stream(address="rtsp://car/front", **settings) -> Live:
    source = Live(address)
    vars(source).update(settings)
    return source


def test_a_broken_stream_is_reopened_also_at_another_size(cameras, capsys):
    cameras += [Camera([SMALL, SMALL]), Camera(opens=False), Camera([LARGE])]
    source = stream(attempts=2, pause_s=0)
    frames = list(source)
    assert source.live
    assert [frame.image.shape[0] for frame in frames] == [4, 4, 8]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert source.reconnects == 4  # two until it came back, two in vain
    assert len(source.problems) == 1
    assert "rtsp://car/front" in source.problems[0]
    first, second = capsys.readouterr().err.splitlines()[:2]
    assert "broke off; reconnecting, 1 of 2" in first
    assert "does not open; reconnecting, 2 of 2" in second


def test_a_hanging_read_is_abandoned_and_the_stream_reopened(cameras, capsys):
    cameras += [Camera([SMALL], hangs=True), Camera([LARGE], hangs=True)]
    source = stream(attempts=1, pause_s=0, timeout_s=0.2)
    assert [frame.image.shape[0] for frame in source] == [4, 8]
    assert "no frame for 0.2 s" in capsys.readouterr().err
    assert len(source.problems) == 1


def test_a_stream_without_frames_ends_after_the_attempts(cameras):
    cameras += [Camera() for _ in range(50)]
    source = stream(attempts=3, pause_s=0)
    assert list(source) == []
    assert source.reconnects == 3
    assert "3 reconnections" in source.problems[0]


def test_the_pauses_before_reconnecting_double(cameras):
    cameras += [Camera() for _ in range(50)]
    source, pauses = stream(attempts=4, pause_s=0.5), []
    source.closed.wait = pauses.append
    assert list(source) == []
    assert pauses == [0.5, 1.0, 2.0, 4.0]


def test_a_stalled_stream_closes_at_once(cameras):
    """As Ctrl-C, q and --seconds do it: without waiting for the frame that never comes."""
    cameras.append(Camera([SMALL], hangs=True))
    seen = []
    with Pipeline(stream("0", timeout_s=1e6), [], ended=lambda: bool(seen)) as pipeline:
        for packet in pipeline:
            seen.append(packet.frame.index)
    assert seen == [0]
    assert not any(thread.is_alive() for thread in pipeline.threads)


@pytest.mark.parametrize("address", ["77", "rtsp://127.0.0.1:1/none"])
def test_a_missing_camera_or_stream_is_refused(address, cameras):
    with pytest.raises(UserError, match=f"{address}: does not open"):
        open_source(address)


def test_a_camera_whose_opening_hangs_is_refused(monkeypatch):
    monkeypatch.setattr(live, "connect", lambda _: threading.Event().wait())
    monkeypatch.setattr(live, "OPEN_TIMEOUT_S", 0.2)
    with pytest.raises(UserError, match="camera 3: no answer"):
        open_source("3")


def test_a_server_that_accepts_and_sends_nothing(monkeypatch):
    """The real thing: FFmpeg connects, and no byte comes."""
    monkeypatch.setattr(live, "FFMPEG_TIMEOUT_MS", 300)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with pytest.raises(UserError, match="stream http"):
            open_source(f"http://127.0.0.1:{server.getsockname()[1]}/live.ts")
