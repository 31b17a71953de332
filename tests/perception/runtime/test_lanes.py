import numpy as np
import pytest

from perception.classes import LANE_CATEGORIES, LANE_DIRECTION_BIT, LANE_STYLE_BIT
from perception.runtime.lanes import lane_lines
from perception.runtime.scene import Mask
from perception.runtime.view import LANE_BYTE, View

VIEW = View("mask", encoding=LANE_BYTE, categories=LANE_CATEGORIES)
WHITE, YELLOW = LANE_CATEGORIES.index("single white"), LANE_CATEGORIES.index("single yellow")


def empty() -> np.ndarray:
    return np.full((100, 160), 255, np.uint8)


def band(byte, x_of_y, values, half=4, rows=range(40, 100)):
    """Draws a band around x(y), `half` to each side, with values(y)."""
    for y in rows:
        x = round(x_of_y(y))
        byte[y, max(x - half, 0) : x + half + 1] = values(y)
    return byte


def lines(byte):
    return lane_lines(Mask(byte, (200, 320), VIEW))


def test_no_lines():
    assert lines(empty()) == []
    byte = empty()
    byte[50, 50] = WHITE  # a speck
    byte[70:75, 20:120] = WHITE | LANE_DIRECTION_BIT  # a stop line
    byte[80:90, 20:120] = LANE_CATEGORIES.index("crosswalk")
    assert lines(byte) == []


def test_a_wide_band_becomes_its_centre_with_the_width_of_a_marking():
    (line,) = lines(band(empty(), lambda y: 60 - (y - 40) / 2, lambda y: WHITE))
    y = line.points[:, 1] / 2 - 0.5
    np.testing.assert_allclose(line.points[:, 0] / 2 - 0.5, 60 - (y - 40) / 2, atol=1)
    assert (np.diff(line.widths) >= 0).all()  # nearer is wider
    assert line.widths[-1] > 2 * line.widths[0]
    assert line.widths.max() < 2 * 9  # narrower than the band
    assert (line.category, line.dashed) == ("single white", False)


def test_a_line_has_one_category_although_its_pixels_have_two():
    mixed = band(empty(), lambda y: 50, lambda y: YELLOW if y % 3 else WHITE)
    (line,) = lines(mixed)
    assert line.category == "single yellow"


def test_a_gap_and_a_change_of_class_in_one_line():
    byte = band(
        empty(), lambda y: 50 + y / 4, lambda y: WHITE | LANE_STYLE_BIT, rows=range(60, 100)
    )
    band(byte, lambda y: 50 + y / 4, lambda y: YELLOW, rows=range(40, 54))
    far, near = lines(byte)
    assert far.points[-1, 1] < near.points[0, 1]
    assert far.category == near.category == "single white"
    assert far.dashed
    assert near.dashed


def test_two_lines_that_meet_keep_their_own_classes():
    byte = band(empty(), lambda y: 80 - (y - 40), lambda y: YELLOW)
    band(byte, lambda y: 80 + (y - 40), lambda y: WHITE)
    found = {line.category: line for line in lines(byte)}
    assert set(found) == {"single yellow", "single white"}
    assert found["single yellow"].points[-1, 0] < 160 < found["single white"].points[-1, 0]


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (3, 3)])
def test_masks_of_any_size(shape):
    for line in lane_lines(Mask(np.full(shape, WHITE, np.uint8), (9, 9), VIEW)):
        assert np.isfinite(line.points).all()
