"""Videos as phones, cameras and editors write them: frames and durations as ffprobe counts them."""

import json
import os
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from demo.video import VideoFile

av = pytest.importorskip("av", reason="PyAV is not installed (extra demo)")

FRAMES, FPS, SIZE_HW = 50, 25, (96, 128)


def picture(index: int) -> np.ndarray:
    """A bright square that moves 2 px per frame, in the upper half."""
    image = np.random.default_rng(index).integers(30, 90, (*SIZE_HW, 3), np.uint8)
    image[8:28, 2 * index : 2 * index + 20] = (40, 220, 220)
    return image


def encode(path: Path, codec="libx264", pix_fmt="yuv420p", options=None, **more) -> Path:
    """50 frames at 25 per second, or at `times` (frame numbers); options of codec and container."""
    times = more.get("times", range(FRAMES))
    with av.open(str(path), "w", options=more.get("container", {})) as file:
        stream = file.add_stream(codec, rate=FPS, options=options or {"g": "10", "bf": "0"})
        stream.height, stream.width = SIZE_HW
        stream.pix_fmt = pix_fmt
        stream.time_base = stream.codec_context.time_base = Fraction(1, FPS)
        for time in times:
            frame = av.VideoFrame.from_ndarray(picture(time % 50), format="bgr24")
            frame.pts, frame.time_base = time, Fraction(1, FPS)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    # For root, SVT-AV1 gives the calling thread real-time priority; it would starve the machine.
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


def copy(source: Path, path: Path, start: int = 0, container=None, rotate: int = 0) -> Path:
    """Without encoding again, from frame `start` on, as `ffmpeg -ss -c copy` does it."""
    with av.open(str(source)) as read, av.open(str(path), "w", options=container or {}) as file:
        old = read.streams.video[0]
        new = file.add_stream_from_template(old)
        if rotate:
            new.set_display_rotation(rotate)
        offset = round(start / FPS / old.time_base)
        keyframe = start - start % 10
        for packet in read.demux(old):
            if packet.dts is None or packet.pts < round(keyframe / FPS / old.time_base):
                continue
            packet.pts, packet.dts, packet.stream = packet.pts - offset, packet.dts - offset, new
            file.mux(packet)
    return path


def halved(path: Path) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


QUIET = {"x265-params": "log-level=none"}
B_FRAMES = {"g": "10", "bf": "2"}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
# Name: how it is made, the frames it has (None: as many as ffprobe says, fewer than all).
VIDEOS = {
    "plain.mp4": (lambda p: encode(p, options=B_FRAMES), 50),
    "edit-list.mp4": (lambda p: copy(encode(p.with_name("whole.mp4")), p, start=17), 33),
    "rotated.mp4": (lambda p: copy(encode(p.with_name("level.mp4")), p, rotate=90), 50),
    "variable-rate.mp4": (lambda p: encode(p, times=[*range(20), *range(20, 80, 3)]), 40),
    "av1.mp4": (lambda p: encode(p, "libsvtav1", options={"preset": "12"}), 50),
    "hevc-10-bit.mp4": (lambda p: encode(p, "libx265", "yuv420p10le", options=QUIET), 50),
    "fragmented.mp4": (lambda p: encode(p, container=FRAGMENTED), 50),
    "truncated.mp4": (lambda p: halved(encode(p, container={"movflags": "faststart"})), None),
    "truncated-fragmented.mp4": (lambda p: halved(encode(p, container=FRAGMENTED)), None),
    "stream.ts": (lambda p: encode(p, "mpeg2video"), 50),
    "animation.gif": (lambda p: encode(p, "gif", "rgb8"), 50),
    "interlaced.mkv": (lambda p: encode(p, "mpeg2video", options={"flags": "+ildct+ilme"}), 50),
    "cut.mkv": (lambda p: halved(encode(p)), None),
    "motion.avi": (lambda p: encode(p, "mjpeg", "yuvj420p"), 50),
}


def make(name: str, folder: Path) -> Path:
    build, _ = VIDEOS[name]
    try:
        return build(folder / name)
    except av.codec.codec.UnknownCodecError:
        pytest.skip("this FFmpeg has no encoder for it")


def probe(path: Path) -> dict | None:
    """What ffprobe says of the video stream, None where it is missing or fails."""
    if shutil.which("ffprobe") is None:
        return None
    shown = "stream=nb_read_frames,duration:format=duration"
    command = ["ffprobe", "-v", "quiet", "-count_frames", "-select_streams", "v"]
    command += ["-show_entries", shown, "-of", "json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    return None if done.returncode else json.loads(done.stdout)


@pytest.mark.parametrize("name", VIDEOS)
def test_frames_and_durations(name, tmp_path):
    path, expected = make(name, tmp_path), VIDEOS[name][1]
    source = VideoFile(path)
    frames = list(source)
    if expected is not None:
        assert len(frames) == expected
        assert source.problems == []
        assert source.count == pytest.approx(expected, abs=2)
        rate = (len(frames) - 1) / frames[-1].seconds
        assert frames[-1].seconds + 1 / rate == pytest.approx(expected / source.fps, abs=0.25)
    else:
        assert 5 < len(frames) < 45
        assert len(source.problems) <= 1
    assert frames[0].seconds == 0
    assert (np.diff([frame.seconds for frame in frames]) > 0).all()
    if (found := probe(path)) is not None:
        assert len(frames) == int(found["streams"][0]["nb_read_frames"])
        seconds = float(found["streams"][0].get("duration") or found["format"]["duration"])
        assert source.times.seconds == pytest.approx(seconds, abs=0.05)


def test_a_trimmed_clip_begins_where_it_was_cut(tmp_path):
    first = next(iter(VideoFile(make("edit-list.mp4", tmp_path)))).image
    assert first[18, 2 * 17 + 10, 2] > 150  # the square of frame 17
    assert first[18, 2 * 10 + 5, 2] < 120  # not of the key frame before it


def test_a_rotated_clip_is_upright(tmp_path):
    first = next(iter(VideoFile(make("rotated.mp4", tmp_path)))).image
    assert first.shape == (128, 96, 3)
    bright = np.argwhere(first[..., 2] > 150).mean(axis=0)
    assert bright[0] > 100  # the square's upper left corner is now at the lower left
    assert bright[1] < 40


@pytest.mark.parametrize(
    ("name", "total"), [("truncated.mp4", 50), ("truncated-fragmented.mp4", 26), ("cut.mkv", 50)]
)
def test_a_truncated_clip_is_reported(name, total, tmp_path):
    source = VideoFile(make(name, tmp_path))
    count = len(list(source))
    assert 20 <= count <= 26
    (problem,) = source.problems
    assert f"{name}: ends at frame {count} of {total}, so it was cut off" in problem


def test_interlaced_fields_become_whole_pictures(tmp_path):
    """Fields 20 ms apart: without a filter a moving edge is a comb."""
    path = tmp_path / "fields.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg2video", rate=FPS, options={"flags": "+ildct+ilme"})
        stream.height, stream.width = SIZE_HW
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for index in range(20):
            image = np.full((*SIZE_HW, 3), 40, np.uint8)
            image[0::2, 4 * index : 4 * index + 30] = 220
            image[1::2, 4 * index + 8 : 4 * index + 38] = 220
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with av.open(str(path)) as file:
        raw = [frame.to_ndarray(format="gray") for frame in file.decode(video=0)]
    frames = list(VideoFile(path))
    assert len(frames) == len(raw) == 20
    assert [frame.index for frame in frames] == list(range(20))
    assert np.allclose(np.diff([frame.seconds for frame in frames]), 1 / FPS, atol=2e-3)
    assert comb(raw[10]) > 10
    assert comb(frames[10].image[..., 1]) < 0.4 * comb(raw[10])


def test_interlaced_frames_whose_size_changes_are_those_of_the_decoder(tmp_path):
    path, sizes = tmp_path / "two.ts", [(96, 128), (64, 96)]
    for size_hw in sizes:
        part = tmp_path / "part.ts"
        with av.open(str(part), "w") as file:
            stream = file.add_stream("mpeg2video", rate=FPS, options={"flags": "+ildct+ilme"})
            stream.height, stream.width = size_hw
            stream.pix_fmt = "yuv420p"
            for _ in range(10):
                image = np.full((*size_hw, 3), 90, np.uint8)
                file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            file.mux(stream.encode(None))
        with path.open("ab") as whole:
            whole.write(part.read_bytes())
    with av.open(str(path)) as file:
        raw = list(file.decode(video=0))
    assert all(frame.interlaced_frame for frame in raw)
    assert {(frame.height, frame.width) for frame in raw} == set(sizes)
    shapes = [frame.image.shape[:2] for frame in VideoFile(path)]
    assert shapes == [(frame.height, frame.width) for frame in raw]


def comb(image: np.ndarray) -> float:
    """How much lines differ from the mean of their neighbours."""
    rows = image.astype(np.float32)
    return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())


def test_a_progressive_video_is_not_filtered(tmp_path, monkeypatch):
    def refuse(frame):
        raise AssertionError("the frames are progressive")

    monkeypatch.setattr("demo.deinterlace._Deinterlacer", refuse)
    assert len(list(VideoFile(make("plain.mp4", tmp_path)))) == 50
