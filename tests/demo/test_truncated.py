"""Videos truncated at 50 places: what can be read is used, and one line reports the cut."""

import json
import random

import cv2
import numpy as np
import pytest

from demo.perceive import main
from demo.sources import open_source
from perception.errors import UserError

PLACES = 50
FRAMES = 30


def videos(video, folder):
    """The same video with its index at the end (mp4v), at the start (H.264), and without (Matroska,
    AVI), as far as this machine can write them."""
    found = {"index at the end": video}
    for suffix, code in ((".mkv", "mp4v"), (".avi", "MJPG")):
        path = folder / f"video{suffix}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 25, (160, 120))
        for image in pictures():
            writer.write(image)
        writer.release()
        found[suffix] = path
    try:
        import av
    except ImportError:
        return found
    path = folder / "start.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as file:
        stream = file.add_stream("libx264", rate=25, width=160, height=120, pix_fmt="yuv420p")
        for image in pictures():
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
        file.mux(stream.encode(None))
    return found | {"index at the start": path}


def pictures():
    rng = np.random.default_rng(0)
    small = [rng.integers(0, 256, (6, 8, 3), np.uint8) for _ in range(FRAMES)]
    return [cv2.resize(one, (160, 120), interpolation=cv2.INTER_NEAREST) for one in small]


@pytest.fixture(scope="module")
def cut(video, tmp_path_factory):
    """cut(kind, place) -> (path of the video's first bytes, share of it); and the kinds."""
    folder = tmp_path_factory.mktemp("videos")
    made = videos(video, folder)
    whole = {kind: path.read_bytes() for kind, path in made.items()}
    suffixes = {kind: path.suffix for kind, path in made.items()}

    def make(kind, place):
        data = whole[kind]
        at = random.Random(place).randrange(len(data))
        path = folder / f"cut-{place}{suffixes[kind]}"
        path.write_bytes(data[:at])
        return path, at / len(data)

    return make, list(whole)


def read(path):
    """(source, frames, "") of what opens, (None, [], the line that refuses it) of what does not."""
    try:
        source = open_source(str(path))
        return source, list(source), ""
    except UserError as error:
        return None, [], str(error)


@pytest.mark.parametrize("place", range(PLACES))
def test_a_truncated_video_is_read_up_to_the_cut_or_refused(place, cut):
    make, kinds = cut
    for kind in kinds:
        path, _ = make(kind, place)
        source, frames, refusal = read(path)
        if source is None:
            assert path.name in refusal
            assert len(refusal.splitlines()) == 1
            continue
        assert 0 < len(frames) <= FRAMES
        assert [frame.index for frame in frames] == list(range(len(frames)))
        assert (np.diff([frame.seconds for frame in frames]) > 0).all()
        assert all(frame.image.shape == (120, 160, 3) for frame in frames)
        if source.count and len(frames) < source.count - 1:
            assert len(source.problems) == 1
            assert f"ends at frame {len(frames)} of {source.count}" in source.problems[0]


def test_with_the_index_first_most_of_a_truncated_video_is_read(cut):
    make, kinds = cut
    if "index at the start" not in kinds:
        pytest.skip("PyAV is not installed (extra demo)")
    read = []
    for place in range(PLACES):
        path, share = make("index at the start", place)
        if share > 0.5:
            read.append(len(list(open_source(str(path)))) / FRAMES - share)
    assert len(read) > 10
    assert min(read) > -0.25


@pytest.mark.parametrize("place", [1, 7, 12, 23, 31])
def test_the_command_reports_a_truncated_video_in_one_line(place, cut, tiny_onnx, tmp_path, capsys):
    make, kinds = cut
    for kind in kinds:
        path, _ = make(kind, place)
        log = tmp_path / f"{place}.jsonl"
        log.unlink(missing_ok=True)
        arguments = ["--model", str(tiny_onnx), "--provider", "cpu", "--threads", "1"]
        code = main([str(path), *arguments, "--no-track", "--json", str(log)])
        said = capsys.readouterr()
        errors = [line for line in said.err.splitlines() if line.startswith("error:")]
        assert "Traceback" not in said.err
        assert (code, len(errors)) in ((0, 0), (2, 1)), said.err
        assert all(path.name in line for line in errors)
        if log.exists():  # whole lines of the frames that could be read
            frames = [json.loads(line) for line in log.read_text().splitlines()]
            assert 0 < len(frames) <= FRAMES
        else:
            assert code == 2
