"""Photos as phones write them: turned by EXIF, large, cut off."""

import cv2
import numpy as np
import pytest

from perception.errors import UserError
from perception.images import read_image, read_pixels
from perception.runtime.letterbox import as_bgr

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def photo(path, orientation: int, size_hw=(96, 160)):
    """A picture whose upper left quarter, as it is stored, is bright."""
    pixels = np.full((*size_hw, 3), 30, np.uint8)
    pixels[: size_hw[0] // 2, : size_hw[1] // 2] = 220
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


# Where the stored upper left quarter is when the picture is upright: (lower half, right half).
BRIGHT = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".png"])
@pytest.mark.parametrize("orientation", BRIGHT)
def test_a_photo_is_upright(orientation, suffix, tmp_path):
    path = photo(tmp_path / f"p{suffix}", orientation)
    image, size_hw = read_image(path)
    expected = cv2.imread(str(path))
    assert image.shape == expected.shape
    np.testing.assert_array_equal(image, expected)
    assert size_hw == image.shape[:2]
    if suffix == ".jpg":
        assert size_hw == ((160, 96) if orientation > 4 else (96, 160))
        below, right = BRIGHT[orientation]
        quarter = image[below * size_hw[0] // 2 :, right * size_hw[1] // 2 :][:20, :20]
        assert quarter.min() > 150


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_photo_decoded_smaller_has_the_size_of_the_whole(orientation, tmp_path):
    path = photo(tmp_path / "p.jpg", orientation, (384, 640))
    image, size_hw = read_image(path, (96, 160))
    upright = (640, 384) if orientation == 6 else (384, 640)
    assert size_hw == upright
    # The displayed frame, scaled to fit, is no larger than what was decoded.
    scale = min(96 / upright[0], 160 / upright[1])
    assert image.shape[0] >= scale * upright[0]
    assert (image.shape[0] > image.shape[1]) == (upright[0] > upright[1])


@pytest.mark.parametrize(
    ("wanted", "decoded"),
    [((96, 160), (96, 160)), ((100, 160), (96, 160)), ((192, 320), (192, 320)),
     ((97, 162), (192, 320)), ((240, 400), (384, 640))],
)  # fmt: skip
def test_a_photo_is_decoded_no_smaller_than_it_is_shown(wanted, decoded, tmp_path):
    """At a quarter of 384x640, a half, or the whole."""
    image, _ = read_image(photo(tmp_path / "p.jpg", 1, (384, 640)), wanted)
    assert image.shape[:2] == decoded


def test_a_mask_fits_the_upright_picture(tmp_path):
    _, size_hw = read_image(photo(tmp_path / "p.jpg", 6))
    cv2.imwrite(str(tmp_path / "upright.png"), np.zeros((160, 96), np.uint8))
    cv2.imwrite(str(tmp_path / "as-stored.png"), np.zeros((96, 160), np.uint8))
    assert read_pixels(tmp_path / "upright.png", size_hw).shape == (160, 96)
    with pytest.raises(UserError, match="mask is 160x96, its frame 96x160"):
        read_pixels(tmp_path / "as-stored.png", size_hw)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_photo_that_is_cut_off_is_one_line(share, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.jpg")
    data = (tmp_path / "p.jpg").read_bytes()
    (tmp_path / "p.jpg").write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=r"p\.jpg: image does not decode"):
        read_image(tmp_path / "p.jpg")


def test_one_limit_on_pixels(tmp_path):
    """A phone's 50 million pixels; `Runner` takes them from memory as well."""
    cv2.imwrite(str(tmp_path / "p.png"), np.zeros((6048, 8064), np.uint8))
    image, _ = read_image(tmp_path / "p.png")
    assert as_bgr(image).shape == (6048, 8064, 3)
