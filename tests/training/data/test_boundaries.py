"""Signs, limits and axes of the labels by hand: what a change of one of them would make of them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from training.data import examine as checks
from training.data.bdd_names import lane_bits
from training.data.builder import Builder
from training.data.cityscapes import to_metres
from training.data.class_lookup import _boxes
from training.data.dataset import Dataset
from training.data.formats.run_lengths import mask_of_runs, runs_of_text
from training.data.frames import draw, select, whole
from training.data.labels import WHOLE, Boxes, Distance, Mask, Normals, crop_image
from training.data.masks import read_mask
from training.data.nyuv2 import to_unit
from training.data.outlines import _path
from training.data.sample import Sample
from training.data.sources import open_dataset
from training.data.voc import shown


def boxes(*xyxy: tuple[float, ...], size_hw: tuple[int, int] = (50, 100), ignore=()) -> Boxes:
    return Boxes(np.array(xyxy), np.arange(len(xyxy)), size_hw, np.array(ignore, bool))


def test_a_box_with_a_side_of_one_and_a_half_pixels_stays():
    given = boxes(
        (10, 10, 11.5, 30), (10, 10, 11.375, 30), (10, 10, 30, 11.5), (10, 10, 30, 11.375)
    )
    assert given.window(WHOLE, (50, 100)).classes.tolist() == [0, 2]


def test_padding_moves_boxes_by_column_and_row():
    padded = boxes((1, 2, 3, 4)).pad((10, 20), (80, 140))
    assert padded.xyxy.tolist() == [[21, 12, 23, 14]]
    assert padded.size_hw == (80, 140)


def test_distances_shrink_with_the_smaller_side_of_a_window():
    far = Distance(np.full((40, 40), 8, np.float32))
    assert (far.window((0, 0, 0.5, 0.25), (40, 40)).map == 2).all()
    assert (far.window((0, 0, 0.25, 0.5), (40, 40)).map == 2).all()
    assert (far.window((-0.5, -0.5, 1.5, 1.5), (40, 40)).map[20, 20]) == 8


def test_a_mirrored_normal_points_to_the_other_side():
    normals = np.zeros((3, 1, 2), np.float32)
    normals[:, 0, 0], normals[:, 0, 1] = (0.6, 0.8, 0), (0, 0, 1)
    flipped = Normals(normals).flip().normals
    assert flipped[:, 0, 1].tolist() == pytest.approx([-0.6, 0.8, 0])
    assert flipped[:, 0, 0].tolist() == [0, 0, 1]


def test_an_image_shrinks_by_averages_and_grows_by_lines():
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, 3::4] = 200
    assert (crop_image(stripes, WHOLE, (2, 2)) == 50).all()
    edge = np.zeros((1, 2, 3), np.uint8)
    edge[:, 1] = 200
    assert crop_image(edge, WHOLE, (1, 4))[0, :, 0].tolist() == [0, 50, 150, 200]


@pytest.mark.parametrize(
    ("xyxy", "fine"),
    [
        ((-2, 0, 10, 10), True),
        ((-2.25, 0, 10, 10), False),
        ((0, -2, 10, 10), True),
        ((0, -2.25, 10, 10), False),
        ((60, 10, 102, 20), True),
        ((60, 10, 102.25, 20), False),
        ((10, 10, 20, 52), True),
        ((10, 10, 20, 52.25), False),
    ],
)
def test_a_box_may_stand_two_pixels_outside(tmp_path: Path, xyxy, fine: bool):
    builder = Builder(tmp_path)
    builder.box(builder.frame("a.png", size_hw=(50, 100)), "car", xyxy, "file")
    assert (builder.problems == []) == fine


@pytest.mark.parametrize(("right", "fine"), [(1.01, True), (1.0125, False)])
def test_a_box_in_fractions_may_stand_a_hundredth_outside(tmp_path: Path, right: float, fine: bool):
    builder = Builder(tmp_path, relative=True)
    builder.box(builder.frame("a.png"), "car", (0.5, 0.5, right, 0.75), "file")
    assert (builder.problems == []) == fine
    if fine:
        assert builder.columns["box_xyxy"].tolist() == [0.5, 0.5, 1, 0.75]


@pytest.mark.parametrize(
    ("attributes", "bits"),
    [
        ({"laneStyle": "solid", "laneDirection": "parallel"}, 0),
        ({"laneStyle": "dashed", "laneDirection": "parallel"}, 16),
        ({"laneStyle": "solid", "laneDirection": "vertical"}, 32),
        ({"style": "dashed", "direction": "vertical"}, 48),
        ({"laneStyle": "dashed"}, 128),
        ({"laneStyle": "dotted", "laneDirection": "vertical"}, 128),
    ],
)
def test_bits_of_a_lane(attributes: dict[str, str], bits: int):
    """4: style, 5: direction, 7: not annotated."""
    assert lane_bits(attributes) == bits


@pytest.mark.parametrize(
    ("encoding", "values", "meanings"),
    [
        ("drivable-panoptic", [0, 1, 2, 127, 128, 254, 255], [2, 0, 1, 1, 1, 0, 0]),
        ("drivable-2018", [0, 1, 2, 255], [2, 0, 1, 255]),
        ("lane-panoptic", [0, 1, 2, 255], [255, 255, 192, 192]),
        ("lane", [0, 6, 7, 8, 15, 16, 32, 255], [0, 6, 7, 255, 255, 16, 32, 255]),
        ("ade20k", [0, 1, 150], [255, 0, 149]),
        ("cityscapes", [0, 6, 7, 8, 33, 34, 255], [255, 255, 0, 1, 18, 255, 255]),
    ],
)
def test_what_the_values_of_masks_mean(tmp_path: Path, encoding: str, values, meanings):
    path = tmp_path / "mask.png"
    assert cv2.imwrite(str(path), np.array([values], np.uint8))
    assert read_mask(path, encoding)[0].tolist() == meanings


def test_disparity_below_a_pixel_is_unknown():
    """Stored as 256 times the pixels, plus 1."""
    found = to_metres(np.array([0, 1, 256, 257, 513], np.uint16), 400.0)
    assert np.isnan(found[:3]).all()
    assert found[3:].tolist() == [400, 200]


def test_normals_of_a_tenth_are_unknown():
    found = to_unit(np.array([[[0, 0, 0.09], [0, 0, 0.11], [0, 3, 4]]], np.float32))
    assert np.isnan(found[:, 0, 0]).all()
    assert found[:, 0, 1].tolist() == [0, 0, 1]
    assert found[:, 0, 2].tolist() == pytest.approx([0, 0.6, 0.8])


def test_a_class_of_voc_is_difficult_only_where_all_its_objects_are():
    found = shown(Boxes(np.zeros((3, 4)), np.array([4, 4, 7]), (50, 100), np.array([0, 1, 1])))
    assert found.labels.tolist() == [0, 0, 0, 0, 1, 0, 0, 2, *[0] * 12]


@pytest.mark.parametrize(
    ("types", "codes"),
    [
        ("LLL", [1, 2, 2]),
        ("CCCL", [1, 4, 4, 4]),
        ("LCCC", [1, 4, 4, 4]),
        ("LCCCCCC", [1, 4, 4, 4, 4, 4, 4]),
        ("LCCCLCCC", [1, 4, 4, 4, 2, 4, 4, 4]),
        ("LLCC", [1, 2, 2, 2]),  # too short for a curve
    ],
)
def test_three_vertices_from_a_c_on_are_a_curve(types: str, codes: list[int]):
    """matplotlib's codes: 1 move, 2 line, 4 cubic Bezier, 79 close."""
    vertices, curve = np.zeros((len(types), 2)), np.array([letter == "C" for letter in types])
    assert _path(vertices, curve, closed=False).codes.tolist() == codes
    assert _path(vertices, curve, closed=True).codes.tolist() == [*codes, 79]


@pytest.mark.parametrize("columns", [(0, 3, 60), (10, 11, 12), (59, 58, 2)])
def test_run_lengths_of_coco_are_those_that_pycocotools_writes(columns: tuple[int, ...]):
    """Runs that shrink are stored as negative differences, of up to three letters."""
    mask = np.zeros((200, 61), np.uint8)
    for number, column in enumerate(columns):
        mask[number * 7 : 150 - 60 * number, column] = 1
    mask[5, 20:50] = 1
    text = coco.encode(np.asfortranarray(mask))["counts"].decode()
    assert np.array_equal(mask_of_runs(runs_of_text(text), mask.shape, "F"), mask)


def test_classes_that_are_not_annotated_are_ignored_in_the_whole_frame():
    found = _boxes(boxes((1, 2, 3, 4)), np.array([2]), np.array([0, 1]))
    assert found.xyxy.tolist() == [[1, 2, 3, 4], [0, 0, 100, 50], [0, 0, 100, 50]]
    assert found.classes.tolist() == [2, 0, 1]
    assert found.ignore.tolist() == [False, True, True]


def test_flags_of_boxes(tmp_path: Path):
    sides = "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"
    objects = "".join(
        f"<object><name>cone</name><{flag}>1</{flag}>{sides}</object>"
        for flag in ("difficult", "occluded", "truncated")
    )
    (tmp_path / "a.xml").write_text(f"<annotation>{objects}</annotation>")
    assert cv2.imwrite(str(tmp_path / "a.png"), np.zeros((48, 80, 3), np.uint8))
    found = open_dataset(f"voc:{tmp_path}", "val")[0].labels["det"]
    assert isinstance(found, Boxes)
    assert found.ignore.tolist() == [True, False, False]
    assert found.occluded.tolist() == [False, True, False]
    assert found.truncated.tolist() == [False, False, True]


class Numbered(Dataset):
    """Blank frames, of which the first `labelled` have a label."""

    tasks = ("drivable",)

    def __init__(self, count: int, labelled: int) -> None:
        self.count, self.labelled = count, labelled

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        image = np.random.default_rng(index).integers(0, 255, (8, 8, 3), np.uint8)
        return Sample(image, {"drivable": Mask(np.zeros((8, 8), np.uint8))}, str(index))

    def presence(self) -> dict[str, np.ndarray]:
        return {"drivable": np.arange(self.count) < self.labelled}


@pytest.mark.parametrize(("labelled", "missing"), [(2, 0), (3, 1), (4, 0)])
def test_a_label_is_expected_where_more_than_half_have_it(
    monkeypatch: pytest.MonkeyPatch, labelled: int, missing: int
):
    splits = {"train": Numbered(4, labelled)}
    monkeypatch.setattr(checks, "_splits", lambda *_: splits.items())
    report, _ = checks.examine("set")
    assert [found.kind for found in report.findings].count("missing label") == missing


@pytest.mark.parametrize(("share", "kept"), [(0.5, 3), (0.4, 2), (0.41, 3), (1.0, 5)])
def test_a_share_of_frames_is_rounded_up(share: float, kept: int):
    (found,) = select([whole(Numbered(5, 5))], {}, share, 0)
    assert len(found.rows) == kept


def test_every_frame_may_be_the_one_that_is_drawn():
    drawn = [int(draw(np.ones(4), np.random.default_rng(seed), 1)[0]) for seed in range(40)]
    assert set(drawn) == {0, 1, 2, 3}
