"""Frames from sensor_msgs/Image and CompressedImage, of a subscription or of a bag."""

from typing import Any

import cv2
import numpy as np

from perception.errors import UserError
from perception.images import decode
from perception.runtime.letterbox import as_bgr

# Encoding of sensor_msgs/Image: bytes per value, values per pixel, and OpenCV's conversion to BGR.
ENCODINGS: dict[str, tuple[int, int, int | None]] = {
    "bgr8": (1, 3, None),
    "rgb8": (1, 3, cv2.COLOR_RGB2BGR),
    "bgra8": (1, 4, cv2.COLOR_BGRA2BGR),
    "rgba8": (1, 4, cv2.COLOR_RGBA2BGR),
    "mono8": (1, 1, cv2.COLOR_GRAY2BGR),
    "mono16": (2, 1, cv2.COLOR_GRAY2BGR),
    "8UC1": (1, 1, cv2.COLOR_GRAY2BGR),
    "8UC3": (1, 3, None),
    "bayer_rggb8": (1, 1, cv2.COLOR_BayerRGGB2BGR),
    "bayer_bggr8": (1, 1, cv2.COLOR_BayerBGGR2BGR),
    "bayer_gbrg8": (1, 1, cv2.COLOR_BayerGBRG2BGR),
    "bayer_grbg8": (1, 1, cv2.COLOR_BayerGRBG2BGR),
    "uyvy": (1, 2, cv2.COLOR_YUV2BGR_UYVY),
    "yuv422": (1, 2, cv2.COLOR_YUV2BGR_UYVY),
    "yuyv": (1, 2, cv2.COLOR_YUV2BGR_YUYV),
    "yuv422_yuy2": (1, 2, cv2.COLOR_YUV2BGR_YUYV),
}


def to_bgr(message: Any) -> np.ndarray:
    """uint8 (H, W, 3) BGR of either message.

    Raises UserError on an unsupported encoding, and on data that do not decode or do not fit.
    """
    if hasattr(message, "encoding"):
        return _raw(message)
    try:
        return as_bgr(decode(np.frombuffer(message.data, np.uint8)))
    except ValueError as error:
        raise UserError(f"compressed image ({message.format!r:.40}) {error}") from None


def _raw(message: Any) -> np.ndarray:
    """Rows may be padded at their end (`step`)."""
    height, width, step = message.height, message.width, message.step
    if message.encoding not in ENCODINGS:
        raise UserError(
            f"image encoding {message.encoding!r:.40}: supported: {', '.join(ENCODINGS)}"
        )
    size, channels, code = ENCODINGS[message.encoding]
    data = np.frombuffer(message.data, np.uint8)
    row = width * channels * size
    if not (height and width) or step < row or len(data) < height * step:
        raise UserError(
            f"image of {width}x{height} {message.encoding} with step {step}: its {len(data)} bytes "
            "do not fit"
        )
    rows = np.ascontiguousarray(data[: height * step].reshape(height, step)[:, :row])
    if size == 2:
        rows = rows[:, ::2] if message.is_bigendian else rows[:, 1::2]  # the high byte
    pixels = np.ascontiguousarray(rows).reshape(height, width, channels)
    try:
        return as_bgr(pixels if code is None else cv2.cvtColor(pixels, code))
    except cv2.error:  # such as YUV of an odd width
        raise UserError(f"image of {width}x{height} {message.encoding}: not convertible") from None
