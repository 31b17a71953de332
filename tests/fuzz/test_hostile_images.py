"""Pictures made to do harm: each is refused in one line that names it, and none takes memory."""

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo.sources import open_source
from perception import images
from perception.errors import UserError
from perception.files import read_bounded


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int = 8, colour: int = 0) -> bytes:
    """A whole, valid PNG: black pixels of any number compress to almost nothing."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
        + chunk(b"IEND", b"")
    )


def tiff(**tags: int) -> bytes:
    numbers = {"width": 256, "height": 257, "bits": 258, "channels": 277, "tile_width": 322,
               "tile_height": 323}  # fmt: skip
    entries = b"".join(
        struct.pack("<HHII", numbers[name], 4, 1, value) for name, value in tags.items()
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def jpeg(width: int, height: int, before: bytes = b"") -> bytes:
    frame = struct.pack(">BHHB", 8, height, width, 1) + bytes((1, 0x11, 0))
    return b"\xff\xd8" + before + b"\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame


BOMBS = {
    "png 100,000 x 100,000": png(100_000, 100_000),
    "png 30,000 x 30,000, below OpenCV's own bound": png(30_000, 30_000),
    "png of one endless line": png(2_000_000_000, 1),
    "jpeg": jpeg(65_000, 65_000),
    "jpeg whose header stands far behind": jpeg(
        65_000, 65_000, (b"\xff\xe1" + struct.pack(">H", 65_000) + bytes(64_998)) * 3
    ),
    "bmp": b"BM" + bytes(12) + struct.pack("<IiiHH", 40, 60_000, -60_000, 1, 24) + bytes(24),
    "webp": b"RIFF\x64\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff\x3f\0\xff\x3f\0",
    "tiff": tiff(width=50_000, height=50_000, bits=8, channels=3),
    "tiff with small picture and large tile": tiff(
        width=8, height=8, bits=8, channels=3, tile_width=60_000, tile_height=60_000
    ),
    "tiff of a thousand channels": tiff(width=5000, height=5000, bits=64, channels=1000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_the_size_of_an_image_is_bounded_before_decoding(name, tmp_path, monkeypatch):
    from perception.images import read_image, read_pixels
    from training.data.masks import ENCODINGS, read_mask

    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    path = tmp_path / "bomb.png"
    path.write_bytes(BOMBS[name])
    readers = [read_image, read_pixels, *(lambda p, e=e: read_mask(p, e) for e in ENCODINGS)]
    for read in readers:
        with pytest.raises(UserError, match=r"bomb\.png.* more than 67 million pixels"):
            read(path)
    source = open_source(str(path))
    assert list(source) == []
    assert "million pixels" in source.problems[0]


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".png", ()), (".jpg", ()), (".jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)), (".bmp", ()),
     (".webp", ()), (".webp", (cv2.IMWRITE_WEBP_QUALITY, 101)), (".tif", ())],
)  # fmt: skip
def test_the_size_in_the_header_is_read(suffix, options):
    for shape in ((7, 13), (40, 24, 3)):
        pixels = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
        data = cv2.imencode(suffix, pixels, list(options))[1]
        assert images.size_of(data) == shape[:2]
        assert images.decode(data).shape[:2] == shape[:2]


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"BM", b"RIFF", b"II*\0", b"GIF89a", b"\xff" * 99]
)
def test_a_file_without_a_size_is_no_image(data):
    with pytest.raises(ValueError, match="does not decode"):
        images.decode(data)


def test_a_jpeg_of_a_million_markers_is_refused():
    assert images.size_of(b"\xff\xd8" + b"\xff\xd0" * 1_000_000 + jpeg(8, 8)[2:]) is None


def test_files_are_read_up_to_a_limit_and_pipes_are_refused(tmp_path):
    large = tmp_path / "large.jpg"
    with open(large, "wb") as file:
        file.truncate(4 << 30)
    with pytest.raises(UserError, match=r"large\.jpg: 4096 MB, at most 1 are read"):
        read_bounded(large, 1 << 20)
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("pipe.jpg", "none.jpg", "."):
        with pytest.raises(UserError, match=r"not a plain file|cannot be read"):
            read_bounded(tmp_path / name, 10)
    with pytest.raises(UserError, match=r"null.*not a plain file"):
        read_bounded(Path("/dev/null"), 10)
