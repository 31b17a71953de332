import cv2
import numpy as np
import pytest

from demo.pipeline import Packet, SourceFrame
from demo.save import ClipSink
from perception.errors import UserError


def packet(index: int, size_hw=(120, 160), seconds=None) -> Packet:
    canvas = np.full((*size_hw, 3), 8 * index % 256, np.uint8)
    return Packet(
        SourceFrame(canvas, index, index / 25 if seconds is None else seconds, ""), None, canvas
    )


def read(path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (got := capture.read())[0]:
        frames.append(got[1])
    return frames


def test_every_frame_is_written(tmp_path):
    path = tmp_path / "new" / "o.mp4"
    with ClipSink(path, 25) as sink:
        for index in range(30):
            sink.write(packet(index))
            assert not path.exists()
    frames = read(path)
    assert len(frames) == 30
    assert abs(int(frames[20].mean()) - 160) < 6
    assert [entry.name for entry in path.parent.iterdir()] == ["o.mp4"]


@pytest.mark.parametrize("size_hw", [(1, 160), (160, 1), (121, 161), (7, 9), (300, 100)])
def test_any_size_can_be_written(size_hw, tmp_path):
    with ClipSink(tmp_path / "o.mp4", 25) as sink:
        for index in range(5):
            sink.write(packet(index, size_hw))
    frames = read(tmp_path / "o.mp4")
    assert len(frames) == 5
    height, width = frames[0].shape[:2]
    assert size_hw[0] <= height <= max(16, size_hw[0] + 1)
    assert size_hw[1] <= width <= max(16, size_hw[1] + 1)


def test_frames_of_another_size_are_letterboxed(tmp_path):
    with ClipSink(tmp_path / "o.mp4", 25) as sink:
        for index, size_hw in enumerate([(120, 160), (240, 320), (64, 200), (120, 160)]):
            sink.write(packet(index, size_hw))
    assert [frame.shape for frame in read(tmp_path / "o.mp4")] == [(120, 160, 3)] * 4


def test_h264_keeps_uneven_timing(tmp_path):
    import av

    times = [0.0, 0.04, 0.2, 0.2, 0.1, 1.0]
    with ClipSink(tmp_path / "o.mp4", 25) as sink:
        for index, seconds in enumerate(times):
            sink.write(packet(index, seconds=seconds))
    with av.open(str(tmp_path / "o.mp4")) as file:
        stream = file.streams.video[0]
        assert stream.codec_context.name == "h264"
        got = [float(frame.pts * stream.time_base) for frame in file.decode(stream)]
        assert float(stream.duration * stream.time_base) == pytest.approx(1.04, abs=0.01)
    # Times that stand still or go back are moved on by the least step.
    np.testing.assert_allclose(got, [0, 0.04, 0.2, 0.2, 0.2, 1.0], atol=1e-3)
    assert (np.diff(got) > 0).all()


def test_an_error_leaves_no_file_and_an_older_one_untouched(tmp_path):
    path = tmp_path / "o.mp4"
    path.write_bytes(b"older")
    with pytest.raises(AssertionError), ClipSink(path, 25) as sink:
        sink.write(Packet(packet(0).frame))  # nothing was drawn
    assert path.read_bytes() == b"older"
    assert len(list(tmp_path.iterdir())) == 1


def test_no_frame_no_file(tmp_path):
    with pytest.raises(UserError, match=r"o\.mp4"), ClipSink(tmp_path / "o.mp4", 25):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moment", ["write", "close"])
def test_an_encoder_without_space_is_one_line_and_leaves_no_file(moment, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ClipSink, {"write": "_encode", "close": "_close"}[moment], full)
    with (
        pytest.raises(UserError, match=r"o\.mp4.*No space left"),
        ClipSink(tmp_path / "o.mp4", 25) as sink,
    ):
        sink.write(packet(0))
    assert list(tmp_path.iterdir()) == []
