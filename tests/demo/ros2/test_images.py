"""Frames from ROS images."""

from array import array

import cv2
import numpy as np
import pytest

from demo.car.ros2.images import to_bgr
from perception.errors import UserError


def some_frame(shape=(60, 100, 3)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("padding", [0, 1, 13])
@pytest.mark.parametrize(
    ("encoding", "code"),
    [
        ("bgr8", None),
        ("rgb8", cv2.COLOR_BGR2RGB),
        ("bgra8", cv2.COLOR_BGR2BGRA),
        ("rgba8", cv2.COLOR_BGR2RGBA),
        ("8UC3", None),
    ],
)
def test_colours_and_padding(encoding, code, padding, picture):
    frame = some_frame()
    sent = frame if code is None else cv2.cvtColor(frame, code)
    got = to_bgr(picture(sent, encoding, padding))
    np.testing.assert_array_equal(got, frame)
    assert got.flags["C_CONTIGUOUS"]


def test_grey(picture):
    grey = some_frame((7, 5))
    expected = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(to_bgr(picture(grey, "mono8", 3)), expected)
    wide = grey.astype("<u2") << 8 | 0x55
    np.testing.assert_array_equal(to_bgr(picture(wide, "mono16", 3)), expected)
    swapped = picture(wide.astype(">u2"), "mono16")
    swapped.is_bigendian = 1
    np.testing.assert_array_equal(to_bgr(swapped), expected)


def test_a_bayer_pattern_is_interpolated(picture):
    colour = np.empty((8, 8, 3), np.uint8)
    colour[:] = (10, 120, 240)
    raw = np.empty((8, 8), np.uint8)
    raw[0::2, 0::2], raw[1::2, 1::2] = 240, 10  # RGGB
    raw[0::2, 1::2] = raw[1::2, 0::2] = 120
    np.testing.assert_array_equal(to_bgr(picture(raw, "bayer_rggb8")), colour)


@pytest.mark.parametrize(("encoding", "order"), [("uyvy", (1, 0)), ("yuv422_yuy2", (0, 1))])
def test_yuv(encoding, order, picture):
    luma = np.full((4, 6), 150, np.uint8)
    chroma = np.full((4, 6), 128, np.uint8)
    sent = np.stack([(luma, chroma)[i] for i in order], axis=-1)
    got = to_bgr(picture(sent, encoding))
    assert np.ptp(got) <= 1  # grey
    assert abs(int(got[0, 0, 0]) - 156) <= 2  # (150 - 16) * 255 / 219


def test_bytes_after_the_last_row_are_allowed(picture):
    sent = picture(some_frame())
    sent.data.extend(b"more")
    np.testing.assert_array_equal(to_bgr(sent), some_frame())


BAD = {
    "encoding": ({"encoding": "32FC1"}, "32FC1"),
    "step": ({"step": 299}, "step 299"),
    "short": ({"height": 61}, "100x61"),
    "empty": ({"height": 0}, "100x0"),
    "huge": ({"height": 2**32 - 1}, "do not fit"),
    "odd": ({"encoding": "uyvy", "width": 99}, "99x60"),
}


@pytest.mark.parametrize("case", BAD)
def test_an_invalid_image_is_a_user_error(case, picture):
    changes, text = BAD[case]
    sent = picture(some_frame())
    for name, value in changes.items():
        setattr(sent, name, value)
    with pytest.raises(UserError, match=text):
        to_bgr(sent)


@pytest.mark.parametrize("cut", [0, 10, 100])
def test_a_compressed_image_cut_short_is_a_user_error(cut, msg):
    data = cv2.imencode(".png", some_frame())[1].tobytes()[:cut]
    sent = msg.CompressedImage(format="png", data=array("B", data))
    with pytest.raises(UserError, match="'png'"):
        to_bgr(sent)
