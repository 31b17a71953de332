import cv2
import numpy as np
import pytest

from demo.sinks import AvWriter
from demo.video import ImageFolder, Live, VideoFile, open_source
from perception.errors import UserError


def test_a_file_is_read_frame_by_frame_with_its_times(video):
    source = open_source(str(video))
    frames = list(source)
    assert (source.fps, source.count, source.live, source.problems) == (25, 30, False, [])
    assert [frame.index for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(30) / 25, atol=1e-3)
    assert frames[0].image.shape == (120, 160, 3)
    assert frames[0].name == "square-0000001"
    # The square's left edge moves 4 px a frame.
    assert frames[5].image[60, 30, 0] > 180 > frames[5].image[60, 10, 0]


def test_it_can_be_read_twice_and_looped(video):
    source = open_source(str(video))
    assert len(list(source)) == len(list(source)) == 30
    looped = iter(open_source(str(video), loop=True))
    frames = [next(looped) for _ in range(65)]
    assert [frame.index for frame in frames] == list(range(65))
    assert (np.diff([frame.seconds for frame in frames]) > 0).all()


def test_a_file_cut_off_in_the_middle_is_reported_at_the_end(tmp_path):
    pytest.importorskip("av")
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    writer = AvWriter(whole, (120, 160), 25)  # its index stands first, so the rest can be missing
    rng = np.random.default_rng(0)
    for index in range(40):
        writer.write(rng.integers(0, 256, (120, 160, 3), np.uint8), index / 25)
    writer.close()
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    source = VideoFile(cut)
    read = len(list(source))
    assert 0 < read < 38
    assert len(source.problems) == 1
    assert f"frame {read} of 40" in source.problems[0]
    assert "cut.mp4" in source.problems[0]
    looped = open_source(str(cut), loop=True)
    assert len(list(looped)) == read  # does not go on for ever
    assert looped.problems


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 5000, b"GIF89a" + b"\x01" * 50])
@pytest.mark.parametrize("name", ["a.mp4", "a.txt", "a"])
def test_what_is_not_a_video_is_refused(content, name, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=name):
        open_source(str(path))


def test_a_video_without_its_index_is_refused(video, tmp_path):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"cut\.mp4"):
        open_source(str(cut))


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        open_source(str(tmp_path / "gone.mp4"))
    with pytest.raises(UserError, match="no image here"):
        open_source(str(tmp_path))


def test_a_folder_in_natural_order_with_grey_alpha_and_broken_images(tmp_path):
    cv2.imwrite(str(tmp_path / "f10.png"), np.full((5, 7, 3), 30, np.uint8))
    cv2.imwrite(str(tmp_path / "f2.png"), np.full((5, 7), 20, np.uint8))
    cv2.imwrite(str(tmp_path / "f1.png"), np.full((5, 7, 4), 10, np.uint8))
    cv2.imwrite(str(tmp_path / "f3.png"), np.full((5, 7), 256 * 25, np.uint16))
    (tmp_path / "f4.jpg").write_bytes(b"no image")
    (tmp_path / "f5.jpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("x")
    source = open_source(str(tmp_path))
    frames = list(source)
    assert isinstance(source, ImageFolder)
    assert [frame.name for frame in frames] == ["f1.png", "f2.png", "f3.png", "f10.png"]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [10, 20, 25, 30]
    assert all(frame.image.shape == (5, 7, 3) for frame in frames)
    assert [problem.split(":")[0][-6:] for problem in source.problems] == ["f4.jpg", "f5.jpg"]


def test_a_single_image(tmp_path):
    cv2.imwrite(str(tmp_path / "one.png"), np.zeros((5, 7, 3), np.uint8))
    assert len(list(open_source(str(tmp_path / "one.png")))) == 1


class Camera:
    """Stands in for cv2.VideoCapture: gives `script` frames, then breaks off."""

    def __init__(self, script, opens=True):
        self.script, self.opens = list(script), opens

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return self.opens

    def get(self, _):
        return 0.0

    def read(self):
        return (True, self.script.pop(0)) if self.script else (False, None)

    def release(self):
        self.opens = False


def test_a_stream_that_breaks_off_is_opened_again_even_at_another_size(monkeypatch):
    small, large = np.zeros((4, 6, 3), np.uint8), np.zeros((8, 6, 3), np.uint8)
    cameras = [Camera([small, small]), Camera([], opens=False), Camera([large])]
    monkeypatch.setattr(
        Live, "_connect", lambda self: cameras.pop(0) if cameras else Camera([], opens=False)
    )
    source = Live("rtsp://car/front", attempts=2, pause_s=0)
    frames = list(source)
    assert source.live
    assert [frame.image.shape[0] for frame in frames] == [4, 4, 8]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert len(source.problems) == 1
    assert "rtsp://car/front" in source.problems[0]


@pytest.mark.parametrize("address", ["77", "rtsp://127.0.0.1:1/none"])
def test_a_camera_or_stream_that_is_not_there_is_refused(address, monkeypatch):
    monkeypatch.setattr(Live, "_connect", lambda self: Camera([], opens=False))
    with pytest.raises(UserError, match=address):
        open_source(address)
