"""Areas of a mask as polygons, on a mask of half the frame's size."""

import cv2
import numpy as np
import pytest

from perception.runtime.scene import Mask
from perception.runtime.shapes import outlines
from perception.runtime.view import View


def found(small: np.ndarray) -> list[list[list[float]]]:
    """The corners of each polygon, sorted."""
    mask = Mask(small, (2 * small.shape[0], 2 * small.shape[1]), View("mask", classes=("a", "b")))
    return [sorted(outline.tolist()) for outline in outlines(mask, 1)]


def test_polygons_follow_the_edges_of_their_pixels():
    small = np.zeros((10, 20), np.uint8)
    small[2:5, 3:9] = 1
    assert found(small) == [[[6, 4], [6, 10], [18, 4], [18, 10]]]


def test_an_area_of_one_pixel_is_left_out():
    small = np.zeros((10, 20), np.uint8)
    small[2, 3] = small[6, 10] = small[6, 11] = 1
    assert found(small) == [[[20, 12], [20, 14], [24, 12], [24, 14]]]


def test_a_hole_is_cut_open_to_the_outline():
    small = np.zeros((10, 20), np.uint8)
    small[1:9, 1:9] = 1
    small[3:7, 3:7] = 0
    mask = Mask(small, (20, 40), View("mask", classes=("a", "b")))
    (outline,) = outlines(mask, 1)
    # 64 - 16 pixels of 2 x 2; the hole's corners are cut off.
    assert cv2.contourArea(outline.astype(np.float32)) == pytest.approx(4 * 48, abs=3)
