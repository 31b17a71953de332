"""Frames from disk: their true size from the header, their pixels decoded no larger than needed."""

import struct
from pathlib import Path

import cv2
import numpy as np

from perception.errors import UserError

# JPEG start-of-frame markers: the segment that carries the size.
_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def read_image(
    path: Path, wanted_hw: tuple[int, int] | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    """(uint8 (h, w, 3) BGR, native size_hw). Raises UserError naming the file and the mend.

    With `wanted_hw`, a JPEG is decoded at a half or a quarter where the frame, scaled to fit into
    that size, still has all its pixels: the decoder then skips most of its work.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); restore the file") from None
    native = jpeg_size(data)
    reduction = 1 if native is None or wanted_hw is None else _reduction(native, wanted_hw)
    try:
        image = cv2.imdecode(data, _FLAGS[reduction] | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None or truncated_jpeg(data):
        raise UserError(f"{path}: image does not decode; restore the file or delete it")
    return image, native or (image.shape[0], image.shape[1])


_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
}


def _reduction(native_hw: tuple[int, int], wanted_hw: tuple[int, int]) -> int:
    scale = min(wanted_hw[0] / native_hw[0], wanted_hw[1] / native_hw[1])
    for reduction in (4, 2):
        if scale * reduction <= 1 + 1e-9:
            return reduction
    return 1


def truncated_jpeg(data: np.ndarray) -> bool:
    """Whether a JPEG lacks its end marker: OpenCV fills what is missing with grey, silently.

    Searched in the second half: the first may hold a thumbnail, which is a JPEG of its own.
    """
    if len(data) < 4 or data[0] != 0xFF or data[1] != 0xD8:
        return False
    return b"\xff\xd9" not in data[len(data) // 2 :].tobytes()


def jpeg_size(data: np.ndarray) -> tuple[int, int] | None:
    """(height, width) from a JPEG's header; None where it is none or the header is broken."""
    head = data[:65536].tobytes()
    if head[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 9 < len(head) and head[position] == 0xFF:
        marker = head[position + 1]
        if marker in _SIZE_MARKERS:
            height, width = struct.unpack(">HH", head[position + 5 : position + 9])
            return (height, width) if height and width else None
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        position += 2 + struct.unpack(">H", head[position + 2 : position + 4])[0]
    return None
