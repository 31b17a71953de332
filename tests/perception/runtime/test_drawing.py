import numpy as np
import pytest

from perception.classes import DRIVABLE, LANE_CATEGORIES, SEMANTIC
from perception.runtime.colours import COLOURS, colour, lookup, map_picture, vector_picture
from perception.runtime.drawing import chip, draw, shown_classes, text_height
from perception.runtime.runner import Runner
from perception.runtime.scene import Boxes, Labels, Map, Mask, Scene
from perception.runtime.view import LANE_BYTE, View

GREY = np.full((120, 200, 3), 100, np.uint8)
AREAS = View("mask", classes=DRIVABLE)
LANES = View("mask", encoding=LANE_BYTE, categories=LANE_CATEGORIES)


def scene_of(**outputs) -> Scene:
    return Scene(GREY.shape[:2], outputs)


def mask_of(view: View, background: int) -> np.ndarray:
    return np.full((60, 100), background, np.uint8)


def one_box(score: float = 0.9) -> Boxes:
    xyxy = np.array([[50, 40, 150, 100]], np.float32)
    return Boxes(xyxy, np.array([score], np.float32), np.array([0]), ("car",))


@pytest.mark.parametrize(
    "scene",
    [
        scene_of(),
        scene_of(a=Boxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), ("car",))),
        scene_of(a=Mask(mask_of(AREAS, 2), (120, 200), AREAS)),
        scene_of(a=Mask(mask_of(LANES, 255), (120, 200), LANES)),
        scene_of(a=Mask(mask_of(AREAS, 200), (120, 200), AREAS)),  # values no class explains
        scene_of(a=Labels({})),
        scene_of(a=one_box(0.1)),
    ],
)
def test_an_empty_scene_draws_nothing(scene):
    assert (draw(GREY, scene) == GREY).all()


def test_the_frame_is_not_modified():
    frame = GREY.copy()
    drawn = draw(frame, scene_of(a=one_box()))
    assert (frame == GREY).all()
    assert (drawn != GREY).any()


def test_a_mask_of_one_pixel_is_drawn():
    mask = Mask(np.zeros((1, 1), np.uint8), (120, 200), AREAS)
    assert (draw(GREY, scene_of(a=mask)) != GREY).any(axis=2).all()


def test_an_area_is_tinted_inside_only():
    small = mask_of(AREAS, 2)
    small[30:, :50] = 0
    drawn = draw(GREY, scene_of(a=Mask(small, (120, 200), AREAS))).astype(int)
    changed = (drawn != 100).any(axis=2)
    assert changed[70:, :90].all()
    assert not changed[:54].any()
    assert not changed[:, 108:].any()
    blue, green, red = drawn[90, 40]
    assert green > max(blue, red)  # a green tint for the own lane
    expected = 0.64 * 100 + 0.36 * np.array(colour("direct"))  # through which the road is seen
    np.testing.assert_allclose((blue, green, red), expected, atol=1)


@pytest.mark.parametrize("category", range(1, 8))
def test_a_line_has_the_colour_of_its_category(category):
    assert LANE_CATEGORIES[0] == "crosswalk"
    small = mask_of(LANES, 255)
    small[:, 40:44] = category
    drawn = draw(GREY, scene_of(a=Mask(small, (120, 200), LANES)))
    ink = np.array(colour(LANE_CATEGORIES[category]), int)
    assert np.abs(drawn[100, 83].astype(int) - ink).max() < 25
    assert (drawn[:, :70] == 100).all()
    assert (drawn[:, 100:] == 100).all()


def test_a_crosswalk_and_a_stop_line_are_areas():
    small = mask_of(LANES, 255)
    small[40:50, 20:60] = 0
    small[52:56, 20:60] = LANE_CATEGORIES.index("single white") | 32
    drawn = draw(GREY, scene_of(a=Mask(small, (120, 200), LANES)))
    assert (drawn[82:98, 44:116] != 100).all()
    assert (drawn[106:110, 44:116] > 100).all()
    assert (drawn[:70] == 100).all()


def test_a_mark_one_pixel_wide_is_visible():
    small = mask_of(LANES, 255)
    small[:, 40] = 6
    drawn = draw(GREY, scene_of(a=Mask(small, (120, 200), LANES)))
    assert drawn[90, 78:86].max() > 150


def test_hidden_outputs_are_not_drawn():
    scene = scene_of(a=one_box(), b=Labels({"g": {"day": 0.9}}))
    assert (draw(GREY, scene, hidden={"a", "b"}) == GREY).all()
    only_labels = draw(GREY, scene, hidden={"a"})
    assert (only_labels[40:] == 100).all()
    assert (only_labels[:40] != 100).any()


def test_a_box_is_drawn_as_an_outline():
    drawn = draw(GREY, scene_of(a=one_box()))
    assert np.abs(drawn[70, 50].astype(int) - colour("car")).max() < 40
    assert (drawn[60:90, 60:140] == 100).all()


def test_maps_and_masks_without_background_are_insets():
    small = np.full((60, 100), 10, np.uint8)
    whole = Mask(small, (120, 200), View("mask", classes=SEMANTIC))
    depth = Map(np.full((60, 100), 5, np.float32), (120, 200), View("map", range=(0, 10)))
    alone = draw(GREY, scene_of(a=whole))
    assert (alone != 100).any(axis=2).mean() > 0.95
    together = draw(GREY, scene_of(a=Mask(mask_of(AREAS, 2), (120, 200), AREAS), b=whole, c=depth))
    assert (together[60:] == 100).all()
    assert (together[8:30, 100:] != 100).any()


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 300), (300, 1), (8, 8), (17, 400)])
def test_all_kinds_draw_on_frames_of_any_size(size_hw, tiny_onnx):
    frame = np.full((*size_hw, 3), 250, np.uint8)
    scene = Runner(tiny_onnx, "cpu", 1)(frame)
    drawn = draw(frame, scene)
    assert drawn.shape == frame.shape


def test_an_unknown_class_has_a_fixed_colour():
    assert colour("zebra") == colour("zebra") != colour("giraffe")
    assert colour("car") == COLOURS["car"]
    assert all(0 <= value <= 255 for value in colour("zebra"))


def test_lane_bytes_outside_are_clear_and_dashes_lighter():
    _, opacity = lookup(LANES)
    assert opacity[255] == opacity[8] == 0
    assert opacity[6] == 1
    assert 0 < opacity[6 | 16] < 1
    assert opacity[6 | 128] == 0  # no official byte


def test_maps_as_pictures():
    values = np.array([[1.0, 40.0, np.nan]])
    picture = map_picture(values, (0, 80))
    assert picture[0, 0, 2] > picture[0, 1, 2]  # near is warmer
    assert tuple(picture[0, 2]) == (0, 0, 0)
    assert map_picture(np.full((2, 2), np.nan), ()).max() == 0
    assert map_picture(np.full((2, 2), 3.0), ()).shape == (2, 2, 3)
    up = np.zeros((3, 1, 1), np.float32)
    up[1] = 1
    assert tuple(vector_picture(up)[0, 0]) == (127, 255, 127)


def test_text_stays_inside_and_is_bounded_in_size():
    image = GREY.copy()
    chip(image, "hello", (190, 115), 12)
    assert (image[95:, 120:] != 100).any()
    assert text_height((1, 4000)) == 8
    assert text_height((4320, 7680)) == 40


def test_the_rim_of_an_area_is_at_the_middle_of_its_last_pixels():
    """At twice the size the middle of column 49 is at 99, that of row 30 at 61."""
    small = mask_of(AREAS, 2)
    small[30:, :50] = 0
    drawn = draw(GREY, scene_of(a=Mask(small, (120, 200), AREAS))).astype(int)
    assert drawn[90, 80:, 2].argmin() + 80 == 99  # darker than the tint
    assert drawn[:80, 40, 2].argmin() == 61


def test_the_name_of_a_box_stands_above_it():
    changed = (draw(GREY, scene_of(a=one_box())) != 100).any(axis=2)[:, 60:90]
    assert changed[26:40].all()
    assert not changed[44:96].any()


@pytest.mark.parametrize(("paper", "dark"), [((30, 26, 24), False), ((220, 240, 230), True)])
def test_letters_are_light_on_dark_paper_and_dark_on_light(paper, dark):
    image = GREY.copy()
    chip(image, "MMM", (20, 40), 20, paper, 1.0)
    written = image[40:75, 20:80]
    assert (written.min() < 20) == dark
    assert (written.max() > 240) == (not dark)


@pytest.mark.parametrize(
    ("view", "background", "values", "names"),
    [
        (LANES, 255, {6: 94, 2: 6}, ["double white", "single white"]),  # more than 5 % of the lines
        (LANES, 255, {6: 95, 2: 5}, ["single white"]),
        (AREAS, 2, {0: 13, 1: 12}, ["direct"]),  # more than 0.2 % of 6000 pixels
    ],
)
def test_the_legend_has_the_classes_that_cover_enough(view, background, values, names):
    small = mask_of(view, background)
    place = 0
    for value, count in values.items():
        small.ravel()[place : place + count] = value
        place += count
    assert shown_classes(Mask(small, (120, 200), view)) == names
