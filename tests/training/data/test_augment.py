"""Augmentations keep image and labels together and depend on their generator alone."""

from itertools import product

import cv2
import numpy as np
import pytest

from perception.errors import UserError
from perception.runtime.letterbox import Letterbox
from training.config import DataArgs
from training.data.augment import (
    AUGMENTATIONS,
    Augment,
    cast_shadow,
    make_augmentation,
    photometric,
)
from training.data.labels import Boxes, LaneMask, Map, Mask, Normals
from training.data.sample import Sample


def marked(height, width):
    """A frame with one bright square, its box and its mask."""
    image = np.zeros((height, width, 3), np.uint8)
    mask = np.full((height, width), 2, np.uint8)
    y, x, side = height // 2, width // 3, height // 4
    image[y : y + side, x : x + side] = 255
    mask[y : y + side, x : x + side] = 0
    boxes = Boxes(np.array([[x, y, x + side, y + side]]), np.array([2]), (height, width))
    return Sample(image, {"det": boxes, "drivable": Mask(mask)}, "square")


@pytest.mark.parametrize(
    ("frame_hw", "size_hw", "sides"),
    [
        ((720, 1280), (384, 640), (1.0, 384 / 360)),
        ((384, 640), (384, 640), (1.0, 1.0)),
        ((100, 50), (64, 64), (2.0, 1.0)),
    ],
)
def test_without_zoom_the_window_is_as_large_as_the_letterbox(frame_hw, size_hw, sides):
    augment = Augment(size_hw, zoom=(1.0, 1.0), aspect=0.0)
    for seed in range(5):
        left, top, right, bottom = augment._window(marked(*frame_hw), np.random.default_rng(seed))
        assert (right - left, bottom - top) == pytest.approx(sides)
        assert left <= 1e-9
        assert top <= 1e-9
        assert right >= 1 - 1e-9
        assert bottom >= 1 - 1e-9


def test_letterbox_pads_with_grey():
    sample = marked(72, 128).letterbox((96, 128))
    assert (sample.image[:12] == 114).all()
    assert (sample.labels["drivable"].mask[:12] == 255).all()
    assert (sample.labels["drivable"].mask[12:84] != 255).all()


FRAMES_HW = ((720, 1280), (1024, 2048), (1080, 1920), (1200, 1920), (375, 1242), (480, 640),
             (288, 384), (384, 640), (333, 777))  # fmt: skip
SIZES_HW = ((384, 640), (128, 224), (192, 320), (256, 512), (512, 512))


@pytest.mark.parametrize(("frame_hw", "size_hw"), list(product(FRAMES_HW, SIZES_HW)))
def test_validation_sees_the_pixels_that_the_car_sees(frame_hw, size_hw):
    rng = np.random.default_rng(0)
    height, width = frame_hw
    frame = cv2.resize(
        rng.integers(0, 256, (height // 4, width // 4, 3), np.uint8), (width, height)
    )
    corners = np.array([[0, 0, width, height], [width * 0.2, height * 0.3, width * 0.7, height]])
    mask = (frame[..., 0] > 128).astype(np.uint8)
    labels = {
        "det": Boxes(corners, np.zeros(2), frame_hw),
        "drivable": Mask(mask),
        "lane": LaneMask(np.where(mask, np.uint8(6), np.uint8(255))),
        "map": Map(mask.astype(np.float32)),
        "normals": Normals(np.stack([mask] * 3).astype(np.float32)),
    }
    sample = Sample(frame, labels, "frame").letterbox(size_hw)
    geometry = Letterbox(frame_hw, size_hw)
    np.testing.assert_array_equal(sample.image, geometry.apply(frame))
    found = {name: label.arrays() for name, label in sample.labels.items()}
    boxes = found["det"]["boxes_xyxy"]
    np.testing.assert_allclose(geometry.boxes_to_frame(boxes), corners, rtol=1e-5, atol=1e-3)
    inside = np.zeros(size_hw, bool)
    inside[geometry.inner] = True
    for name, known in {
        "mask": found["drivable"]["mask"] != 255,
        "lane": found["lane"]["lane"] != 254,
        "map": np.isfinite(found["map"]["map"]),
        "normals": np.isfinite(found["normals"]["normals"][0]),
    }.items():
        np.testing.assert_array_equal(known, inside, err_msg=name)


def test_validation_sees_averages_of_pixels_in_the_middle_of_a_grey_frame():
    """By hand: 128x256 into 96x128 is a half, 16 rows of 114 above and below."""
    frame = np.random.default_rng(0).integers(0, 256, (128, 256, 3), np.uint8)
    mask = np.repeat(np.repeat(frame[::2, ::2, 0] % 3, 2, 0), 2, 1)
    boxes = Boxes(np.array([[20, 30, 60, 90]]), np.array([0]), (128, 256))
    sample = Sample(frame, {"det": boxes, "drivable": Mask(mask)}, "frame")
    seen = make_augmentation(DataArgs(size=(96, 128), augment="none"))(
        sample, np.random.default_rng(0)
    )
    means = frame.reshape(64, 2, 128, 2, 3).mean((1, 3))
    assert np.abs(seen.image[16:80] - means).max() <= 0.5
    assert (seen.image[:16] == 114).all()
    assert (seen.image[80:] == 114).all()
    np.testing.assert_array_equal(seen.labels["drivable"].mask[16:80], mask[::2, ::2])
    np.testing.assert_array_equal(seen.labels["det"].xyxy, [[10, 31, 30, 61]])


@pytest.mark.parametrize("seed", range(20))
def test_image_box_and_mask_stay_together(seed):
    augment = Augment((96, 160), strength=0.0)
    sample = augment(marked(180, 320), np.random.default_rng(seed))
    bright = (sample.image > 200).all(-1)
    inside = sample.labels["drivable"].mask == 0
    assert (bright ^ inside).mean() < 0.02
    for x1, y1, x2, y2 in sample.labels["det"].xyxy:
        rows, columns = np.nonzero(inside)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose([x1, y1, x2, y2], found, atol=1.6)


def test_same_generator_same_sample():
    augment = Augment((96, 160))
    first, second, other = (
        augment(marked(180, 320), np.random.default_rng((5, 0, seed))) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.image, second.image)
    assert (first.image != other.image).any()


@pytest.mark.parametrize("size_hw", [(384, 640), (64, 96)])
def test_shadows_darken_the_lower_part_by_at_most_the_gain(size_hw):
    image = np.full((*size_hw, 3), 200, np.uint8)
    darkest = []
    for seed in range(20):
        shaded = cast_shadow(image, np.random.default_rng(seed))
        assert (shaded[: int(0.1 * size_hw[0])] == 200).all()
        darkest.append(int(shaded.min()))
    assert min(darkest) >= 40  # gain 0.2
    assert sum(value < 130 for value in darkest) > 10
    again = cast_shadow(image, np.random.default_rng(19))
    assert np.array_equal(again, shaded)


def test_every_photometric_change_runs_and_keeps_the_format():
    image = np.random.default_rng(0).integers(0, 256, (48, 80, 3)).astype(np.uint8)
    for seed in range(30):
        changed = photometric(image, 6.0, np.random.default_rng(seed))
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_augmentation_is_a_function_of_sample_and_generator(name: str) -> None:
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (90, 160, 3), np.uint8)
    sample = Sample(image, {"drivable": Mask(image[..., 0] % 3)}, "frame")
    transform = make_augmentation(DataArgs(size=(64, 96), zoom=(0.8, 1.5), augment=name))
    first, second = (transform(sample, np.random.default_rng(4)) for _ in range(2))
    assert first.image.shape == (64, 96, 3)
    assert first.labels["drivable"].mask.shape == (64, 96)
    np.testing.assert_array_equal(first.image, second.image)
    others = [transform(sample, np.random.default_rng(seed)).image for seed in range(5, 15)]
    assert any((image != first.image).any() for image in others) == (name != "none")


def test_an_unknown_augmentation_is_named() -> None:
    with pytest.raises(UserError, match="did you mean 'geometry'"):
        make_augmentation(DataArgs(augment="geometri"))


class Drawn:
    """A generator that draws `random` always, and uniform numbers at `share` of their range; the
    rest, and without `share` these too, as numpy's."""

    def __init__(self, share: float | None = None, random: float = 0.99) -> None:
        self.rng, self.share, self.fixed = np.random.default_rng(0), share, random

    def uniform(self, low: float, high: float, size: int | None = None) -> float | np.ndarray:
        if self.share is None:
            return self.rng.uniform(low, high, size)
        value = low + self.share * (high - low)
        return value if size is None else np.full(size, value)

    def random(self) -> float:
        return self.fixed

    def __getattr__(self, name: str) -> object:
        return getattr(self.rng, name)


@pytest.mark.parametrize(
    ("share", "zoom", "aspect", "expected"),
    [
        # Zoom 2, the geometric mean of 1 and 4, into the middle: columns 50-150, rows 25-75.
        (0.5, (1.0, 4.0), 0.0, (60, 40, 120, 80)),
        # A window 1.25 as wide and 1 / 1.25 as high, its left and bottom at the frame's.
        (1.0, (1.0, 1.0), np.log(1.25), (64, 31.25, 88, 56.25)),
    ],
)
def test_zoom_and_stretch_are_logarithmic(share, zoom, aspect, expected):
    boxes = Boxes(np.array([[80, 45, 110, 65]]), np.array([0]), (100, 200))
    sample = Sample(np.zeros((100, 200, 3), np.uint8), {"det": boxes}, "frame")
    augment = Augment((100, 200), zoom=zoom, aspect=aspect, flip=0.0, strength=0.0)
    found = augment(sample, Drawn(share)).labels["det"].xyxy[0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(("strength", "hue"), [(0.0, 60), (1.0, 63), (2.0, 67)])
def test_the_hue_turns_by_two_percent_of_the_circle(strength, hue):
    """3.6 of OpenCV's 180 steps at strength 1: green is 60."""
    green = np.zeros((8, 8, 3), np.uint8)
    green[..., 1] = 255
    turned = cv2.cvtColor(photometric(green, strength, Drawn(1.0)), cv2.COLOR_BGR2HSV)
    assert turned[0, 0].tolist() == [hue, 255, 255]


@pytest.mark.parametrize(
    ("strength", "drawn", "changed"),
    [
        (1.0, 0.14, True),
        (1.0, 0.16, False),
        (0.5, 0.07, True),
        (0.5, 0.08, False),
        (2.0, 0.29, True),
    ],
)
def test_the_chance_of_a_change_grows_with_the_strength(strength, drawn, changed):
    """The most frequent changes have a chance of 15 % at strength 1."""
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    plain = photometric(image, strength, Drawn(random=1.0))
    found = photometric(image, strength, Drawn(random=drawn))
    assert (found != plain).any() == changed


def test_the_noise_has_a_deviation_of_14_at_most():
    """Of the changes, compression and noise have a chance of more than 14.5 %."""
    grey = np.full((200, 200, 3), 128, np.uint8)
    assert photometric(grey, 1.0, Drawn(1.0, random=0.145)).std() == pytest.approx(14, rel=0.1)
