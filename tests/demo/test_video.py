import cv2
import numpy as np
import pytest

from demo.sources import ImageFolder, open_source
from demo.video import VideoFile
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


def test_a_file_can_be_read_twice_and_looped(video):
    source = open_source(str(video))
    assert len(list(source)) == len(list(source)) == 30
    looped = iter(open_source(str(video), loop=True))
    frames = [next(looped) for _ in range(65)]
    assert [frame.index for frame in frames] == list(range(65))
    assert (np.diff([frame.seconds for frame in frames]) > 0).all()


def test_a_file_cut_off_in_the_middle_is_reported_at_the_end(tmp_path):
    pytest.importorskip("av")
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    rng = np.random.default_rng(0)
    # With the index at the start, the rest can be missing.
    noise = [rng.integers(0, 256, (120, 160, 3), np.uint8) for _ in range(40)]
    encode(whole, "libx264", "yuv420p", noise, {"movflags": "faststart"}, {"bf": "0"})
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    source = VideoFile(cut)
    read = len(list(source))
    assert 0 < read < 38
    assert len(source.problems) == 1
    assert f"frame {read} of 40" in source.problems[0]
    assert "cut.mp4" in source.problems[0]
    looped = open_source(str(cut), loop=True)
    assert len(list(looped)) == read  # does not loop endlessly
    assert looped.problems


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 5000, b"GIF89a" + b"\x01" * 50])
@pytest.mark.parametrize("name", ["a.mp4", "a.txt", "a"])
def test_other_files_are_refused(content, name, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=name):
        open_source(str(path))


def test_a_video_without_its_index_is_refused(video, tmp_path):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"cut\.mp4"):
        open_source(str(cut))


def test_a_missing_file_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        open_source(str(tmp_path / "gone.mp4"))
    with pytest.raises(UserError, match="no images in it"):
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


def encode(path, codec, pix_fmt, pictures, container=None, options=None) -> None:
    """Writes a clip at 25 fps with PyAV, or skips the test where it is not installed."""
    av = pytest.importorskip("av", reason="PyAV is not installed (extra demo)")
    with av.open(str(path), "w", options=container or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("size_hw", [(1, 160), (160, 1), (2160, 3840), (640, 360)])
def test_clips_of_unusual_sizes(size_hw, tmp_path):
    path = tmp_path / "o.mov"
    encode(path, "png", "rgb24", [np.full((*size_hw, 3), (10, 60, 200), np.uint8)] * 3)
    frames = list(VideoFile(path))
    assert [frame.image.shape for frame in frames] == [(*size_hw, 3)] * 3
    assert np.abs(frames[-1].image[0, 0].astype(int) - (10, 60, 200)).max() < 4


@pytest.mark.parametrize("pix_fmt", ["gray", "bgra", "gray16le", "yuv444p10le"])
def test_grey_alpha_and_16_bit_clips(pix_fmt, tmp_path):
    path = tmp_path / "o.mkv"
    encode(path, "ffv1", pix_fmt, [np.full((40, 60, 3), 80, np.uint8)] * 3)
    frames = list(VideoFile(path))
    assert [frame.image.shape for frame in frames] == [(40, 60, 3)] * 3
    assert abs(int(frames[0].image.mean()) - 80) < 4


def test_a_clip_that_changes_size_in_the_middle(tmp_path):
    """Two recordings one after the other in one transport stream, as a camera that was switched
    over leaves them."""
    small, large = tmp_path / "a.ts", tmp_path / "b.ts"
    encode(small, "mpeg2video", "yuv420p", [np.full((120, 160, 3), 60, np.uint8)] * 20)
    encode(large, "mpeg2video", "yuv420p", [np.full((240, 320, 3), 180, np.uint8)] * 20)
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    source = VideoFile(both)
    frames = list(source)
    assert len(frames) >= 36  # a decoder may hold back a frame or two where it starts over
    assert frames[0].image.shape == (120, 160, 3)
    assert int(frames[-1].image.mean()) > 150
    assert (np.diff([frame.seconds for frame in frames]) > 0).all()
