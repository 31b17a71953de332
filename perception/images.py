"""Images from disk. Their size is read from the header and bounded before they are decoded.

A header of a few bytes can claim gigabytes, and OpenCV's own limit is 2^30 pixels of any depth.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from perception.errors import UserError
from perception.files import read_bounded

# The one limit on pictures. With 16 bits and four channels such an image takes 537 MB.
MAX_PIXELS: Final = 8192 * 8192
MAX_BYTES: Final = 256 << 20
# Suffixes of the formats that `decode` reads.
IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

_REDUCED: Final = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
}
_JPEG: Final = b"\xff\xd8"
_START_OF_FRAME: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE: Final = frozenset((0x01, *range(0xD0, 0xD8)))  # markers without a length
_TIFF_WIDTHS: Final = {1: "B", 3: "H", 4: "I"}


def read_image(
    path: Path, wanted_hw: tuple[int, int] | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    """(uint8 (h, w, 3) BGR, native size_hw), upright as the EXIF orientation says. Raises UserError
    naming the file and the fix.

    With `wanted_hw`, a JPEG is decoded at 1/2 or 1/4 of its size where the frame, scaled to fit
    into `wanted_hw`, is still no larger than that: the decoder then skips most of its work.
    """
    data = np.frombuffer(read_bounded(path, MAX_BYTES), np.uint8)
    native_hw = size_of(data) if data[:2].tobytes() == _JPEG else None
    reduction = 1
    if native_hw is not None and wanted_hw is not None:
        ways = (native_hw, native_hw[::-1])  # it may be turned by 90 degrees
        scale = max(min(wanted_hw[0] / one[0], wanted_hw[1] / one[1]) for one in ways)
        reduction = next((r for r in (4, 2) if scale * r <= 1 + 1e-9), 1)
    try:
        image = decode(data, _REDUCED[reduction])
        # OpenCV fills what a truncated JPEG lacks with grey, silently. The end marker is searched
        # for in the second half: the first may hold a thumbnail, which is a JPEG of its own.
        if data[:2].tobytes() == _JPEG and b"\xff\xd9" not in data[len(data) // 2 :].tobytes():
            raise ValueError("does not decode: it is cut off")
    except ValueError as error:
        raise UserError(f"{path}: image {error}; restore the file or delete it") from None
    height, width = image.shape[:2]
    if native_hw is None:
        return image, (height, width)
    turned = (height - width) * (native_hw[0] - native_hw[1]) < 0
    return image, native_hw[::-1] if turned else native_hw


def read_pixels(path: Path, size_hw: tuple[int, int] | None = None) -> np.ndarray:
    """A mask or map, 8 or 16 bits per channel, upright as photos are.

    Raises UserError where it does not decode or is not of its frame's size.
    """
    try:
        flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
        pixels = decode(read_bounded(path, MAX_BYTES), flags)
    except ValueError as error:
        raise UserError(f"{path}: mask {error}; restore the file or delete it") from None
    if size_hw is not None and pixels.shape[:2] != size_hw:
        raise UserError(
            f"{path}: mask is {pixels.shape[1]}x{pixels.shape[0]}, "
            f"its frame {size_hw[1]}x{size_hw[0]}; draw it again at the frame's size"
        )
    return pixels


def decode(data: bytes | np.ndarray, flags: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    """Pixels of a PNG, JPEG, BMP, WebP or TIFF. Raises ValueError with the reason."""
    array = np.frombuffer(data, np.uint8)
    size_hw = size_of(array)
    if size_hw is None:
        raise ValueError("does not decode: no PNG, JPEG, BMP, WebP or TIFF, or without a size")
    height, width = size_hw
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"is {width}x{height}, more than {MAX_PIXELS / 1e6:.0f} million pixels; make it smaller"
        )
    try:
        pixels = cv2.imdecode(array, flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ValueError("does not decode")
    return pixels


def size_of(data: bytes | np.ndarray) -> tuple[int, int] | None:
    """(height, width) from the header alone; None if the header is missing or inconsistent."""
    view = np.frombuffer(data, np.uint8).data
    head = bytes(view[:30])
    for start, read in HEADERS.items():
        if head.startswith(start):
            try:
                height, width = read(view)
            except (struct.error, IndexError, ValueError):
                return None
            return (height, width) if height > 0 and width > 0 else None
    return None


def _png(view: memoryview) -> tuple[int, int]:
    """Requires every chunk to be in the file: OpenCV allocates what a chunk's length claims."""
    width, height = struct.unpack_from(">II", view, 16)
    at, chunks = 8, 0
    while at < len(view) and chunks < 100_000:
        length, kind = struct.unpack_from(">I4s", view, at)
        at, chunks = at + 12 + length, chunks + 1
        if kind == b"IEND":
            break
    whole = at <= len(view) and chunks < 100_000
    return (height, width) if whole and bytes(view[12:16]) == b"IHDR" else (0, 0)


def _jpeg(view: memoryview) -> tuple[int, int]:
    """Searches the frame header as libjpeg does: bytes that are no marker are skipped."""
    data, at = bytes(view), 2
    for _ in range(10_000):  # a photograph has a few dozen segments
        at = data.index(b"\xff", at)
        marker = data[at + 1]
        if marker in (0x00, 0xFF):
            at += 1
        elif marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return height, width
        elif marker in (0xD9, 0xDA):  # the end, or pixels without a frame
            break
        else:
            at += 2 if marker in _ALONE else 2 + struct.unpack_from(">H", data, at + 2)[0]
    return 0, 0


def _bmp(view: memoryview) -> tuple[int, int]:
    words = struct.unpack_from("<I", view, 14)[0] == 12
    width, height = struct.unpack_from("<HH" if words else "<ii", view, 18)
    return abs(height), abs(width)


def _webp(view: memoryview) -> tuple[int, int]:
    kind = bytes(view[8:16])
    if kind == b"WEBPVP8X":
        width, height = (int.from_bytes(view[at : at + 3], "little") + 1 for at in (24, 27))
        return height, width
    if kind == b"WEBPVP8L":
        bits = struct.unpack_from("<I", view, 21)[0]
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"WEBPVP8 ":
        width, height = struct.unpack_from("<HH", view, 26)
        return height & 0x3FFF, width & 0x3FFF
    return 0, 0


def _tiff(view: memoryview) -> tuple[int, int]:
    """Reads the first directory. A tile counts as an image, and depth beyond 4 x 16 bits as height:
    the decoder allocates both."""
    order = "<" if view[0] == 0x49 else ">"
    start = struct.unpack_from(order + "I", view, 4)[0]
    tags: dict[int, int] = {}
    for entry in range(struct.unpack_from(order + "H", view, start)[0]):
        tag, kind, count = struct.unpack_from(order + "HHI", view, start + 2 + 12 * entry)
        at = start + 10 + 12 * entry
        if tag == 258 and kind == 3 and count > 2:  # bits of each channel, stored elsewhere
            at = struct.unpack_from(order + "I", view, at)[0]
        if tag in (256, 257, 258, 277, 322, 323):
            if kind not in _TIFF_WIDTHS:
                return 0, 0
            value = struct.unpack_from(order + _TIFF_WIDTHS[kind], view, at)[0]
            tags[tag] = max(tags.get(tag, 0), value)
    bits = tags.get(258, 1) * tags.get(277, 1)
    height = max(tags[257], tags.get(323, 0)) if 257 in tags else 0
    width = max(tags[256], tags.get(322, 0)) if 256 in tags else 0
    return height * max(1, -(-bits // 64)), width


HEADERS: Final[dict[bytes, Callable[[memoryview], tuple[int, int]]]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    _JPEG: _jpeg,
    b"BM": _bmp,
    b"RIFF": _webp,
    b"II*\0": _tiff,
    b"MM\0*": _tiff,
}
