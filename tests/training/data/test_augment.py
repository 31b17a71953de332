"""Augmentations keep image and labels together and depend on their generator alone."""

import numpy as np
import pytest

from training.data.augment import Augment, letterbox, letterbox_window, photometric
from training.data.labels import Boxes, Mask
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
    ("frame_hw", "size_hw", "window"),
    [
        ((720, 1280), (384, 640), (0.0, -12 / 360, 1.0, 372 / 360)),
        ((384, 640), (384, 640), (0.0, 0.0, 1.0, 1.0)),
        ((100, 50), (64, 64), (-0.5, 0.0, 1.5, 1.0)),
    ],
)
def test_letterbox_window(frame_hw, size_hw, window):
    assert letterbox_window(frame_hw, size_hw) == pytest.approx(window)


def test_letterbox_pads_with_grey():
    sample = letterbox(marked(72, 128), (96, 128))
    assert (sample.image[:12] == 114).all()
    assert (sample.labels["drivable"].mask[:12] == 255).all()
    assert (sample.labels["drivable"].mask[12:84] != 255).all()


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


def test_every_photometric_change_runs_and_keeps_the_format():
    image = np.random.default_rng(0).integers(0, 256, (48, 80, 3)).astype(np.uint8)
    for seed in range(30):
        changed = photometric(image, 6.0, np.random.default_rng(seed))
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8
