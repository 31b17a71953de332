"""Frames from disk: their true size from the header, their pixels decoded no larger than needed."""

from pathlib import Path

import cv2
import numpy as np

from perception.errors import UserError
from perception.files import read_bounded
from perception.images import MAX_BYTES, decode, size_of


def read_image(
    path: Path, wanted_hw: tuple[int, int] | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    """(uint8 (h, w, 3) BGR, native size_hw). Raises UserError naming the file and the fix.

    With `wanted_hw`, a JPEG is decoded at a half or a quarter where the frame, scaled to fit into
    that size, still has all its pixels: the decoder then skips most of its work.
    """
    data = np.frombuffer(read_bounded(path, MAX_BYTES), np.uint8)
    native = jpeg_size(data)
    reduction = 1 if native is None or wanted_hw is None else _reduction(native, wanted_hw)
    try:
        image = decode(data, _FLAGS[reduction] | cv2.IMREAD_IGNORE_ORIENTATION)
        if truncated_jpeg(data):
            raise ValueError("does not decode")
    except ValueError as error:
        raise UserError(f"{path}: image {error}; restore the file or delete it") from None
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
    return size_of(data) if data[:2].tobytes() == b"\xff\xd8" else None
