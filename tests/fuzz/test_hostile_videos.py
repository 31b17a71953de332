"""Films made to do harm: each is refused in one line that names it, and none takes memory."""

import os

import cv2
import numpy as np
import pytest

import demo.video
from demo.sources import open_source
from demo.video import VideoFile
from perception.errors import UserError


def test_a_video_whose_frames_grow_is_bounded(tmp_path, monkeypatch, write):
    """Two MJPEG frames of 64 x 32, then one of 640 x 320, with a bound between them."""
    monkeypatch.setitem(demo.video.FILE_OPTIONS, "max_pixels", str(100 * 100))
    small, large = (
        cv2.imencode(".jpg", np.full((32 * k, 64 * k, 3), 90, np.uint8))[1].tobytes()
        for k in (1, 10)
    )
    path = write(tmp_path / "v.mjpeg", small + small)
    assert len(list(VideoFile(path))) == 2
    path.write_bytes(small + small + large)
    assert all(frame.image.shape == (32, 64, 3) for frame in VideoFile(path))
    path.write_bytes(large + large)
    with pytest.raises(UserError, match=r"v\.mjpeg"):
        VideoFile(path)


def y4m(width: int, height: int) -> bytes:
    return f"YUV4MPEG2 W{width} H{height} F25:1 C420jpeg\nFRAME\n".encode() + bytes(5000)


def test_a_raw_video_cannot_request_gigabytes(tmp_path, write):
    path = write(tmp_path / "v.mp4", y4m(64, 32))
    assert len(list(VideoFile(path))) >= 1
    path.write_bytes(y4m(60_000, 60_000))
    with pytest.raises(UserError, match=r"v\.mp4"):
        VideoFile(path)


@pytest.mark.parametrize("kind", ["m3u8", "ffconcat", "sdp", "pipe"])
def test_playlists_are_refused(kind, video, tmp_path):
    """FFmpeg would open what it names: other files, the network."""
    texts = {
        "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{video}\n#EXT-X-ENDLIST\n",
        "ffconcat": f"ffconcat version 1.0\nfile {video.name}\n",
        "sdp": "v=0\nm=video 5004 RTP/AVP 96\nc=IN IP4 127.0.0.1\na=rtpmap:96 H264/90000\n",
    }
    for name in (f"list.{kind}", "video.mp4"):
        path = tmp_path / name
        if kind == "pipe":
            os.mkfifo(path)
        else:
            path.write_text(texts[kind])
        with pytest.raises(UserError, match=r"video that decodes|not a plain file"):
            open_source(str(path))
