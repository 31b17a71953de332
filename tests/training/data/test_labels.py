"""Every label kind under window, flip and collate; the first case is always the empty one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.classes import IGNORE, LANE_BACKGROUND, LANE_IGNORE
from training.data.cached import pack, unpack
from training.data.labels import WHOLE, Boxes, Distance, Labels, LaneMask, Map, Mask, Normals
from training.data.sample import Sample, collate


def every_kind(height=12, width=20):
    rng = np.random.default_rng(0)
    normals = rng.standard_normal((3, height, width)).astype(np.float32)
    return {
        "none": Boxes(np.zeros((0, 4)), np.zeros(0), (height, width)),
        "boxes": Boxes(
            np.array([[2, 3, 8, 9], [10, 0, 20, 12]]), np.array([2, 8]), (height, width)
        ),
        "mask": Mask(rng.integers(0, 3, (height, width)).astype(np.uint8)),
        "lane": LaneMask(rng.choice([255, 255, 6, 23], (height, width)).astype(np.uint8)),
        "map": Map(rng.random((height, width)).astype(np.float32)),
        "distance": Distance(rng.random((height, width)).astype(np.float32)),
        "normals": Normals(normals / np.linalg.norm(normals, axis=0)),
        "labels": Labels(np.array([2, -1, 0])),
    }


def assert_same(left, right):
    for key, array in left.arrays().items():
        np.testing.assert_array_equal(array, right.arrays()[key], err_msg=key)


@pytest.mark.parametrize("kind", every_kind())
def test_flip_twice_and_whole_window_change_nothing(kind):
    label = every_kind()[kind]
    assert_same(label.flip().flip(), label)
    assert_same(label.window(WHOLE, (12, 20)), label)


def test_flip_mirrors():
    kinds = every_kind()
    np.testing.assert_array_equal(kinds["boxes"].flip().xyxy[0], [12, 3, 18, 9])
    assert kinds["normals"].flip().normals[0, 0, 0] == -kinds["normals"].normals[0, 0, -1]
    assert kinds["mask"].flip().mask[0, 0] == kinds["mask"].mask[0, -1]


def test_pixels_outside_the_frame_are_not_annotated():
    kinds, window = every_kind(), (-0.5, 0.0, 0.5, 1.0)
    assert (kinds["mask"].window(window, (12, 20)).mask[:, :10] == IGNORE).all()
    assert (kinds["lane"].window(window, (12, 20)).lane[:, :10] == LANE_IGNORE).all()
    assert np.isnan(kinds["map"].window(window, (12, 20)).map[:, :10]).all()
    assert np.isnan(kinds["normals"].window(window, (12, 20)).normals[:, :, :10]).all()


def test_boxes_move_are_clipped_and_dropped():
    seen = every_kind()["boxes"].window((0.0, 0.0, 0.5, 0.5), (12, 20))
    # The first is half inside and clipped; the second lies outside.
    np.testing.assert_array_equal(seen.xyxy, [[4, 6, 16, 12]])
    assert seen.classes.tolist() == [2]


def test_the_rest_of_a_cut_box_is_ignored_and_an_ignored_region_stays():
    boxes = Boxes(
        np.array([[0, 0, 10, 10], [8, 0, 18, 10], [0, 0, 30, 30]]),
        np.array([2, 3, 0]),
        (40, 40),
        ignore=np.array([False, False, True]),
    )
    seen = boxes.window((0.2, 0.0, 0.7, 0.5), (20, 20))
    # A fifth of the first is left, all of the second, most of the region.
    assert seen.classes.tolist() == [2, 3, 0]
    assert seen.ignore.tolist() == [True, False, True]


@pytest.mark.parametrize(("left", "ignored"), [(13, False), (15, True)])
def test_a_box_is_ignored_with_less_than_three_tenths_in_the_window(left, ignored):
    boxes = Boxes(np.array([[0, 0, 20, 10]]), np.array([2]), (40, 40))
    seen = boxes.window((left / 40, 0.0, 1.0, 1.0), (40, 40))
    assert seen.ignore.tolist() == [ignored]


@given(st.integers(4, 160), st.integers(0, 79), st.integers(20, 160), st.booleans())
def test_a_line_of_one_pixel_survives_any_reduction(height, place, width, level):
    lane = np.full((80, 160), LANE_BACKGROUND, np.uint8)
    lane[(place, slice(None)) if level else (slice(None), place)] = 23
    seen = LaneMask(lane).window(WHOLE, (height, width)).lane
    assert (seen == 23).any(axis=0 if level else 1).all()
    assert set(np.unique(seen)) <= {23, LANE_BACKGROUND}


@pytest.mark.parametrize(("row", "rows", "expected"), [(3, 48, [2]), (0, 48, [0]), (63, 48, [47])])
def test_a_row_of_one_pixel_is_kept_where_it_falls(row, rows, expected):
    """Of 64 rows to 48, row 3 is skipped by nearest: the rows before it take it over."""
    lane = np.full((64, 8), LANE_BACKGROUND, np.uint8)
    lane[row] = 6
    seen = LaneMask(lane).window(WHOLE, (rows, 8)).lane
    assert np.flatnonzero((seen == 6).all(axis=1)).tolist() == expected


def test_half_size_is_or_pooling():
    lane = np.full((4, 4), LANE_BACKGROUND, np.uint8)
    lane[1, 1], lane[2, 3] = 6, 192
    seen = LaneMask(lane).window(WHOLE, (2, 2)).lane
    np.testing.assert_array_equal(seen, [[6, 255], [255, 192]])


@pytest.mark.parametrize(("kind", "in_half_the_window"), [(Distance, 5.0), (Map, 10.0)])
def test_only_distances_shrink_in_an_enlarged_crop(kind, in_half_the_window):
    flat = kind(np.full((12, 20), 10.0, np.float32))
    assert (flat.window((0.25, 0.25, 0.75, 0.75), (12, 20)).map == in_half_the_window).all()
    assert (flat.window(WHOLE, (6, 10)).map == 10).all()
    # The larger of both enlargements counts.
    assert (flat.window((0.25, 0.0, 0.75, 1.0), (12, 20)).map == in_half_the_window).all()


def test_collate_keeps_the_rows_that_have_the_label():
    image = np.zeros((12, 20, 3), np.uint8)
    kinds = every_kind()
    batch = collate(
        [
            Sample(image, {"det": kinds["none"]}, "a"),
            Sample(image, {"det": kinds["boxes"], "lane": kinds["lane"]}, "b"),
            Sample(image, {}, "c"),
        ]
    )
    assert batch.rows["det"].tolist() == [0, 1]
    assert batch.rows["lane"].tolist() == [1]
    assert batch.targets["det"]["classes"].tolist() == [[-1, -1], [2, 8]]
    assert batch.targets["lane"]["lane"].shape == (1, 12, 20)
    assert collate([Sample(image, {}, "c")]).targets == {}


def test_pack_and_unpack_are_inverse():
    sample = Sample(np.ones((12, 20, 3), np.uint8), every_kind(), "ä/b.jpg")
    again = unpack(pack(sample))
    assert again.name == sample.name
    np.testing.assert_array_equal(again.image, sample.image)
    for task, label in sample.labels.items():
        assert type(again.labels[task]) is type(label)
        assert_same(again.labels[task], label)
