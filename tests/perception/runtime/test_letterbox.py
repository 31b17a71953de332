import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.errors import UserError
from perception.runtime.letterbox import Letterbox, as_bgr
from perception.runtime.scene import Map, Mask, Normals
from perception.runtime.view import View

SIDES = st.integers(1, 700)
BOXES = Letterbox((720, 1280), (384, 640))


@st.composite
def letterboxes(draw):
    return Letterbox((draw(SIDES), draw(SIDES)), (draw(SIDES), draw(SIDES)))


def test_the_bdd100k_frame_is_halved_with_twelve_rows_above_and_below():
    assert BOXES.inner_hw == (360, 640)
    assert BOXES.top_left == (12, 0)
    image = BOXES.apply(np.full((720, 1280, 3), 200, np.uint8))
    assert image.shape == (384, 640, 3)
    assert (image[:12] == 114).all()
    assert (image[372:] == 114).all()
    assert (image[12:372] == 200).all()


@pytest.mark.parametrize(
    ("frame_hw", "inner_hw", "top_left"),
    [
        ((384, 640), (384, 640), (0, 0)),
        ((1280, 720), (384, 216), (0, 212)),  # portrait
        ((1, 640), (1, 640), (191, 0)),
        ((1, 5000), (1, 640), (191, 0)),
        ((3000, 1), (384, 1), (0, 319)),
        ((2160, 3840), (360, 640), (12, 0)),
        ((2, 2), (384, 384), (0, 128)),  # enlarged
    ],
)
def test_geometry(frame_hw, inner_hw, top_left):
    box = Letterbox(frame_hw, (384, 640))
    assert (box.inner_hw, box.top_left) == (inner_hw, top_left)
    assert box.apply(np.zeros((*frame_hw, 3), np.uint8)).shape == (384, 640, 3)


@given(letterboxes())
def test_the_frame_always_fits_and_is_centred(box: Letterbox):
    (top, left), (height, width) = box.top_left, box.inner_hw
    below, right = box.size_hw[0] - top - height, box.size_hw[1] - left - width
    assert min(top, left, below, right) >= 0
    assert 0 <= below - top <= 1
    assert 0 <= right - left <= 1
    assert height == box.size_hw[0] or width == box.size_hw[1]


@given(letterboxes(), st.data())
def test_boxes_return_to_their_place(box: Letterbox, data):
    height, width = box.frame_hw
    xs = data.draw(st.tuples(*[st.floats(0, width, width=32)] * 2))
    ys = data.draw(st.tuples(*[st.floats(0, height, width=32)] * 2))
    boxes = np.array([[min(xs), min(ys), max(xs), max(ys)]], np.float32)
    (top, left), (inner_h, inner_w) = box.top_left, box.inner_hw
    scale = np.array([inner_w / width, inner_h / height] * 2)
    inside = (boxes * scale + [left, top] * 2).astype(np.float32)
    back = box.boxes_to_frame(inside)
    # float32 in model pixels, magnified back: an error of one part in a million of the frame.
    np.testing.assert_allclose(back, boxes, atol=2e-6 * max(box.frame_hw) * 10 + 1e-4)


@given(letterboxes())
def test_the_whole_frame_is_the_whole_inner_part(box: Letterbox):
    height, width = box.frame_hw
    rows, columns = box.inner
    inner = np.array([[columns.start, rows.start, columns.stop, rows.stop]], np.float32)
    size = max(box.frame_hw)
    np.testing.assert_allclose(
        box.boxes_to_frame(inner), [[0, 0, width, height]], atol=2e-5 * size + 1e-4
    )


def test_boxes_in_the_padding_are_clipped_to_the_frame_and_none_stays_none():
    assert BOXES.boxes_to_frame(np.zeros((0, 4), np.float32)).shape == (0, 4)
    back = BOXES.boxes_to_frame(np.array([[-5, 0, 700, 384]], np.float32))
    np.testing.assert_allclose(back, [[0, 0, 1280, 720]])


@settings(max_examples=15)
@given(letterboxes())
def test_masks_and_maps_come_back_at_frame_size_without_padding(box: Letterbox):
    mask = np.full(box.size_hw, 9, np.uint8)  # 9 = padding, must never be seen
    mask[box.inner] = 3
    back = Mask.read(mask, View("mask"), box).full
    assert back.shape == box.frame_hw
    assert (back == 3).all()
    values = np.full((3, *box.size_hw), np.nan, np.float32)
    values[(slice(None), *box.inner)] = 0.5
    assert Normals.read(values, View("normals"), box).full.shape == (3, *box.frame_hw)
    assert (Map.read(values[0], View("map"), box).full == 0.5).all()


def test_a_mask_drawn_in_the_frame_returns_to_its_place():
    frame = np.zeros((720, 1280, 3), np.uint8)
    frame[100:300, 400:800] = 255
    inside = (BOXES.apply(frame)[..., 0] > 127).astype(np.uint8)
    back = Mask.read(inside, View("mask"), BOXES).full
    rows, columns = np.flatnonzero(back.any(1)), np.flatnonzero(back.any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (100, 299, 400, 799)


@pytest.mark.parametrize("width", [640, 833, 960, 1216, 1280, 1281, 1920, 2500, 3840])
def test_a_thin_line_is_seen_wherever_it_is(width):
    """Two pixels wide, it keeps at least half of what averaging by area would leave of it."""
    box = Letterbox((width * 9 // 16, width), (384, 640))
    by_area = 2 * 240 * 640 / width
    for x in range(width // 2, width // 2 + 20):
        frame = np.zeros((*box.frame_hw, 3), np.uint8)
        frame[:, x : x + 2] = 240
        assert box.apply(frame)[192, :, 0].sum() >= by_area / 2


def test_masks_mix_no_values():
    lane = np.full((384, 640), 255, np.uint8)
    lane[:, ::3] = 6
    assert set(np.unique(Mask.read(lane, View("mask"), BOXES).full)) <= {6, 255}


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        (np.full((4, 6), 7, np.uint8), (7, 7, 7)),
        (np.full((4, 6, 1), 7, np.uint8), (7, 7, 7)),
        (np.dstack([np.full((4, 6), 7, np.uint8), np.full((4, 6), 255, np.uint8)]), (7, 7, 7)),
        (np.tile(np.array([1, 2, 3, 0], np.uint8), (4, 6, 1)), (1, 2, 3)),
        (np.tile(np.array([1, 2, 3], np.uint8), (4, 6, 1)), (1, 2, 3)),
        (np.full((4, 6), 7 * 256 + 9, np.uint16), (7, 7, 7)),
    ],
)
def test_grey_alpha_and_16_bit_images_become_bgr(image, pixel):
    frame = as_bgr(image)
    assert frame.shape == (4, 6, 3)
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous
    assert tuple(frame[2, 2]) == pixel


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((4, 5, 3), np.float32),
        np.zeros((4, 5, 7), np.uint8),
        np.zeros(5, np.uint8),
        np.broadcast_to(np.uint8(0), (9000, 9000, 3)),
    ],
)
def test_arrays_that_are_no_image_are_refused(image):
    with pytest.raises(UserError):
        as_bgr(image)
