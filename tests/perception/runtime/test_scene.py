import numpy as np
import pytest

from perception.runtime.letterbox import Letterbox
from perception.runtime.scene import KINDS, Boxes, Labels, Map, Mask, Scene, read_scene
from perception.runtime.view import Group, View

BOX = Letterbox((100, 200), (48, 80))  # inner 40x80, 4 rows of padding above and below
VIEW = View("boxes", classes=("car", "bus"))


def read_output(array, view, box):
    return KINDS[view.kind].read(array, view, box)


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        (None, 0),
        ((8, 14, 40, 34, 0.9, 0), 1),
        ((8, 14, 40, 34, 0.9, 1), 1),
        ((8, 14, 40, 34, 0.9, 2), 0),  # no such class
        ((8, 14, 40, 34, 0.9, -1), 0),
        ((np.nan, 14, 40, 34, 0.9, 0), 0),
        ((8, 14, np.inf, 34, 0.9, 0), 0),
        ((40, 14, 8, 34, 0.9, 0), 0),  # x2 < x1
        ((8, 14, 8, 34, 0.9, 0), 0),
        ((0, 0, 80, 4, 0.9, 0), 0),  # wholly in the padding
        ((8, 14, 40, 34, 0.9, 1e30), 0),
    ],
)
def test_invalid_boxes_are_dropped(row, kept):
    rows = np.zeros((0, 6), np.float32) if row is None else np.array([row], np.float32)
    assert len(read_output(rows, VIEW, BOX)) == kept


def test_boxes_are_in_frame_pixels_and_can_be_selected():
    rows = np.array([(8, 14, 40, 34, 0.9, 0), (0, 4, 80, 44, 0.2, 1)], np.float32)
    boxes = read_output(rows, VIEW, BOX)
    np.testing.assert_allclose(boxes.xyxy, [[20, 25, 100, 75], [0, 0, 200, 100]], atol=1e-4)
    assert [boxes.name(i) for i in range(2)] == ["car", "bus"]
    boxes.track_ids = np.array([4, 5])
    best = boxes.above(0.5)
    assert (len(best), best.name(0), best.track_ids.tolist()) == (1, "car", [4])


def test_a_mask_is_cropped_and_enlarged_on_request():
    array = np.full((48, 80), 2, np.uint8)
    array[:4], array[44:] = 77, 77
    array[4:24] = 1
    mask = read_output(array, View("mask", classes=("a", "b", "c")), BOX)
    assert mask.small.shape == (40, 80)
    assert mask.full.shape == (100, 200)
    assert (mask.full[:50] == 1).all()
    assert (mask.full[50:] == 2).all()
    assert mask.full is mask.full  # once


def test_labels_leave_out_the_padding():
    groups = (Group("light", ("day", "night")), Group("sky", ("a", "b", "c")), Group("none", ()))
    array = np.array([[0.3, 0.7, 0], [0.5, 0.2, 0.3], [0, 0, 0]], np.float32)
    labels = read_output(array, View("label", groups=groups), BOX)
    assert {k: len(v) for k, v in labels.groups.items()} == {"light": 2, "sky": 3, "none": 0}
    best = labels.best()
    assert best["light"] == ("night", pytest.approx(0.7))
    assert best["sky"][0] == "a"
    assert "none" not in best


def test_maps_and_vectors():
    depth = read_output(np.full((48, 80), 7, np.float32), View("map"), BOX)
    assert depth.full.shape == (100, 200)
    assert (depth.full == 7).all()
    vectors = np.zeros((3, 48, 80), np.float32)
    vectors[0, :, :40], vectors[1, :, 40:] = 1, 1
    way = read_output(vectors, View("normals"), BOX)
    assert way.full.shape == (3, 100, 200)
    np.testing.assert_allclose(np.linalg.norm(way.full, axis=0), 1, atol=1e-5)


def test_outputs_are_selected_by_kind():
    boxes = read_output(np.zeros((0, 6), np.float32), VIEW, BOX)
    labels = Labels({})
    scene = Scene((100, 200), {"b": boxes, "l": labels})
    assert list(scene.of(Boxes)) == [("b", boxes)]
    assert list(scene.of(Labels)) == [("l", labels)]
    assert list(scene.of(Mask)) == list(scene.of(Map)) == []


def test_boxes_are_selected_by_a_score_per_class():
    xyxy = np.array([[0, 0, 9, 9]] * 3, np.float32)
    boxes = Boxes(xyxy, np.array([0.5, 0.5, 0.9]), np.array([0, 1, 1]), ("car", "bus"))
    assert boxes.above((0.4, 0.6)).classes.tolist() == [0, 1]
    assert len(boxes.above(0.6)) == 1
    assert len(boxes.above(0.9)) == 1  # at least this score
    assert boxes.above((0.5, 0.6)).classes.tolist() == [0, 1]


def test_outputs_are_arrays_at_the_size_of_the_frame_or_the_model():
    views = {"boxes": View("boxes", classes=("a", "b")), "mask": View("mask", classes=("a", "b"))}
    views |= {"label": View("label", groups=(Group("x", ("p", "q")), Group("y", ("r",))))}
    views |= {"way": View("normals")}
    arrays = {
        "boxes": np.array([[0, 4, 8, 24, 0.9, 1], [0, 0, 80, 4, 0.9, 1]], np.float32),
        "mask": np.ones((48, 80), np.uint8),
        "label": np.array([[0.2, 0.8, 0], [1, 0, 0]], np.float32),
        "way": np.full((3, 48, 80), 2, np.float32),
    }
    outputs = read_scene(arrays, views, BOX).outputs
    assert outputs["boxes"].array().tolist() == [[0, 0, 20, 50, pytest.approx(0.9), 1]]
    assert outputs["mask"].array().shape == (100, 200)
    assert outputs["mask"].array(native=False).shape == (40, 80)
    assert outputs["label"].array() == pytest.approx(np.array([[0.2, 0.8], [1, 0]]))
    assert np.linalg.norm(outputs["way"].array(), axis=0) == pytest.approx(1)
    assert outputs["way"].array(native=False).shape == (3, 40, 80)


def test_a_lowest_score_per_class():
    boxes = Boxes(np.zeros((3, 4)), np.array([0.5, 0.5, 0.2]), np.array([0, 1, 1]), ("a", "b"))
    assert len(boxes.above(0.3)) == 2
    assert boxes.above((0.6, 0.1)).classes.tolist() == [1, 1]
    assert len(Boxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), ("a",)).above((0.5,))) == 0
