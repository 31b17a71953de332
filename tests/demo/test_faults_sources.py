"""Inputs as people have them: several video streams, sound that is longer, damage, odd names."""

import functools
import http.server
import os
import threading
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo import live
from demo.live import Live, shown_address
from demo.sources import CAMERA, PHOTOS, STREAM, VIDEO, kind_of, open_source
from perception.errors import UserError

av = pytest.importorskip("av", reason="PyAV is not installed (extra demo)")
FRAMES, FPS = 25, 25


def picture(index: int) -> np.ndarray:
    coarse = np.random.default_rng(index).integers(0, 256, (9, 16, 3), np.uint8)
    return cv2.resize(coarse, (160, 96))


def write(path: Path, codec="libx264", fmt=None, sound_s=0.0, cover="", late_s=0.0, **more) -> Path:
    """25 frames; `cover`: a still picture as first stream; `late_s`: when the video begins."""
    with av.open(str(path), "w", format=fmt) as file:
        if cover:
            still = file.add_stream(cover, rate=FPS, width=640, height=360)
            still.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}[cover]
        options = {"g": "100", "bf": "0", "crf": "18"} if codec == "libx264" else {}
        video = file.add_stream(codec, rate=FPS, options=options, width=160, height=96)
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, FPS)
        for key, value in more.items():
            setattr(video.codec_context, key, value)
        sound = file.add_stream("mp2", rate=44100) if sound_s else None
        if cover:
            big = np.zeros((360, 640, 3), np.uint8)
            file.mux(still.encode(av.VideoFrame.from_ndarray(big, "bgr24")))
            file.mux(still.encode(None))
        if sound is not None:
            for number in range(round(sound_s * 44100 / 1152)):
                frame = av.AudioFrame.from_ndarray(
                    np.zeros((1, 2 * 1152), np.int16), format="s16", layout="stereo"
                )
                frame.sample_rate, frame.pts = 44100, 1152 * number
                file.mux(sound.encode(frame))
            file.mux(sound.encode(None))
        for index in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(index), "bgr24")
            frame.pts, frame.time_base = index + round(late_s * FPS), Fraction(1, FPS)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
    return path


def damage(path: Path, packets: slice) -> Path:
    """Changes two thirds of the bytes of some packets."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as file:
        places = [(packet.pos, packet.size) for packet in file.demux(video=0) if packet.size]
    for place, size in places[packets]:
        for k in range(place + size // 3, place + size):
            data[k] = (data[k] * 7 + 13) & 255
    path.write_bytes(data)
    return path


# Which video stream


COVERS = [("t.mp4", "mjpeg"), ("t.mp4", "png"), ("t.mkv", "mjpeg")]


@pytest.mark.parametrize(("name", "cover"), COVERS)
def test_a_cover_picture_is_not_the_video(name, cover, tmp_path):
    source = open_source(str(write(tmp_path / name, cover=cover)))
    frames = list(source)
    assert (len(frames), frames[0].image.shape) == (FRAMES, (96, 160, 3))
    assert source.notes == [f"{tmp_path / name}: 2 video streams; using number 1 (h264, 160x96)"]
    assert source.problems == []


# "Cut off" that is not


@pytest.mark.parametrize("name", ["l.mkv", "l.mp4", "l.ts", "l.avi"])
def test_sound_that_is_longer_than_the_video_is_no_damage(name, tmp_path):
    source = open_source(str(write(tmp_path / name, sound_s=6.0)))
    assert len(list(source)) == FRAMES
    assert source.problems == []
    assert abs(source.count - FRAMES) <= 1


@pytest.mark.parametrize("name", ["late.mkv", "late.mp4"])
def test_a_video_that_begins_after_its_sound_is_no_damage(name, tmp_path):
    source = open_source(str(write(tmp_path / name, sound_s=2.0, late_s=3.0)))
    assert len(list(source)) == FRAMES
    assert source.problems == []


@pytest.mark.parametrize("name", ["cut.mkv", "cut.avi"])
def test_a_file_with_sound_that_is_cut_is_reported(name, tmp_path):
    path = write(tmp_path / name, sound_s=1.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    source = open_source(str(path))
    assert 3 < len(list(source)) < FRAMES
    assert "cut off or is damaged" in source.problems[0]


# Damage inside a file


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.ts", "mpeg2video"), ("a.avi", "mpeg4"), ("b.avi", "mjpeg")],
)
def test_damaged_frames_are_counted_and_named(name, codec, tmp_path):
    source = open_source(str(damage(write(tmp_path / name, codec), slice(10, 13))))
    assert 20 <= len(list(source)) <= FRAMES
    (problem,) = source.problems
    assert f"{name}: damaged frames: " in problem
    assert "number 11" in problem


def test_a_whole_file_has_no_problem(tmp_path):
    source = open_source(str(write(tmp_path / "a.mp4")))
    assert len(list(source)) == FRAMES
    assert source.problems == source.notes == []


# What a name is


def test_what_exists_comes_before_a_camera_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("0001", "7"):
        Path(name).mkdir()
        cv2.imwrite(f"{name}/p.png", picture(0))
        assert kind_of(name) == PHOTOS
        assert len(list(open_source(name))) == 1
    write(tmp_path / "12", fmt="mp4")
    assert kind_of("12") == VIDEO
    assert kind_of("3") == CAMERA
    assert kind_of("rtsp://car/1") == STREAM
    with pytest.raises(UserError, match="no such file"):
        kind_of("gone")


def test_a_device_is_a_camera(monkeypatch):
    assert kind_of("/dev/null") == CAMERA  # a character device, as /dev/video0
    monkeypatch.setattr(live.cv2, "VideoCapture", lambda *given: given)
    monkeypatch.setattr(os.path, "exists", lambda _: True)
    monkeypatch.setattr(os.path, "realpath", lambda _: "/dev/video2")
    assert live.connect("/dev/v4l/by-id/usb-cam") == (2,)


def test_a_photo_folder_with_another_metadata_file_is_no_bag(tmp_path):
    cv2.imwrite(str(tmp_path / "p.png"), picture(0))
    (tmp_path / "metadata.yaml").write_text("author: me\n")
    assert len(list(open_source(str(tmp_path)))) == 1


def test_hidden_files_next_to_photos_are_left_out(tmp_path):
    cv2.imwrite(str(tmp_path / "p.png"), picture(0))
    for name in ("._p.jpg", ".p.png"):
        (tmp_path / name).write_bytes(b"of a Mac")
    source = open_source(str(tmp_path))
    assert [frame.name for frame in source] == ["p.png"]
    assert source.problems == []


# Finite addresses


@pytest.mark.parametrize("name", ["b.mp4", "with space.mp4", "täst.mkv"])
def test_the_address_of_a_file_is_that_file(name, tmp_path):
    path = write(tmp_path / name)
    source = open_source(path.as_uri())
    assert (len(list(source)), source.live, source.name) == (FRAMES, False, name)


@pytest.mark.parametrize("name", ["b.ts", "b.mkv"])
def test_a_file_on_a_server_is_read_to_its_end_without_its_password(name, tmp_path, capfd):
    write(tmp_path / name)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://admin:s3cret@127.0.0.1:{server.server_port}/{name}?token=s3cret"
        source = open_source(address)
        frames = list(source)
        server.shutdown()
    assert (len(frames), source.live) == (FRAMES, False)
    assert "s3cret" not in source.name + frames[0].name + "".join(source.problems)


# Secrets


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://admin:s3cret@127.0.0.1:8000/x", "http://127.0.0.1:8000/x"),
        ("rtsp://cam/live?user=a&password=s3cret", "rtsp://cam/live"),
        (
            "rtsp://1.2.3.4:554/user=admin_password=s3cret_channel=1/0.sdp",
            "rtsp://1.2.3.4:554/user/0.sdp",
        ),
        ("rtsp://a:s3@cret@[::1]:99/x#s3cret", "rtsp://[::1]:99/x"),
        ("http://admin:s3cret@host:port/x", "http:///x"),
        ("0", "0"),
    ],
)
def test_addresses_are_shown_without_secrets(address, shown):
    assert shown_address(address) == shown


def test_a_password_is_in_no_message_and_no_name(monkeypatch, capsys):
    class Camera:
        def isOpened(self):  # noqa: N802
            return True

        def get(self, _):
            return 0.0

        def read(self):
            raise RuntimeError("http://admin:s3cret@h/x failed")

        def release(self):
            pass

    monkeypatch.setattr(live, "connect", lambda _: Camera())
    source = Live("http://admin:s3cret@h/x")
    source.attempts, source.pause_s = 1, 0
    assert list(source) == []
    said = "".join(capsys.readouterr())
    assert "RuntimeError" in said
    assert "s3cret" not in said + source.name + "".join(source.problems)
    monkeypatch.setattr(Camera, "isOpened", lambda _: False)
    with pytest.raises(UserError, match="stream rtsp://127") as caught:
        Live("rtsp://admin:s3cret@127.0.0.1:1/none")
    assert "s3cret" not in str(caught.value)


# Shape of pixels, raw streams, names that are not text


@pytest.mark.parametrize(
    ("aspect", "shape"), [("3/2", (96, 240)), ("2/3", (144, 160)), ("16/11", (96, 233))]
)
def test_pixels_that_are_not_square_become_square(aspect, shape, tmp_path):
    path = write(tmp_path / "s.mp4", sample_aspect_ratio=Fraction(aspect))
    assert {frame.image.shape[:2] for frame in open_source(str(path))} == {shape}


@pytest.mark.parametrize(
    ("name", "codec", "fmt"),
    [
        ("r.mjpeg", "mjpeg", "mjpeg"),
        ("r.mjpg", "mjpeg", "mpjpeg"),
        ("r.h264", "libx264", "h264"),
        ("r", "mpeg4", "m4v"),
    ],
)
def test_raw_streams_are_read(name, codec, fmt, tmp_path):
    source = open_source(str(write(tmp_path / name, codec, fmt)))
    frames = list(source)
    assert (len(frames), source.problems) == (FRAMES, [])
    assert np.diff([frame.seconds for frame in frames]).min() > 0


def test_a_name_that_is_not_utf_8_is_text_in_the_log(tmp_path):
    path = os.fsencode(write(tmp_path / "a.mp4"))
    os.rename(path, path.replace(b"a.mp4", b"\xff.mp4"))
    source = open_source(os.fsdecode(path.replace(b"a.mp4", b"\xff.mp4")))
    assert next(iter(source)).name == r"\udcff-0000001"
    assert source.name == r"\udcff.mp4"
