"""Outlines drawn: drivable areas as the toolkit draws them, lanes at their stated width."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.data.formats.bdd100k import BDD100K
from training.data.outlines import TOOLKIT_LINE, TRAINING_LINE, paint

GENUINE = Path(__file__).parents[4] / "shared/data/bdd100k-2018"
SIZE_HW = (720, 1280)


def area(frame_number: int, vertices, types: str):
    return {
        "name": f"{frame_number}.jpg",
        "labels": [
            {
                "id": "0",
                "category": "direct",
                "poly2d": [{"vertices": vertices, "types": types, "closed": True}],
            }
        ],
    }


def by_toolkit(frames, folder, task: str = "drivable") -> list[np.ndarray]:
    pytest.importorskip("bdd100k", reason="pip install 'pvt-hydranet[bdd]'")
    from training.evaluation import toolkit

    parsed = toolkit.named(frames, task)  # loads the toolkit
    from bdd100k.label import to_mask

    draw = {"drivable": to_mask.drivable_to_masks, "lane_mark": to_mask.lanemark_to_masks}[task]
    with toolkit.quiet():
        draw(parsed, str(folder), toolkit.config(task).scalabel, nproc=1)
    names = [frame["name"].replace(".jpg", ".png") for frame in frames]
    return [cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED) for name in names]


def fill(vertices, types: str) -> np.ndarray:
    curve = np.array([letter == "C" for letter in types])
    return paint([(0, np.array(vertices, float), curve)], SIZE_HW, 2)


def test_the_toolkit_draws_polygons(tmp_path):
    vertices = [[100, 100], [300, 100], [300, 200], [100, 200]]
    (mask,) = by_toolkit([area(0, vertices, "LLLL")], tmp_path)
    assert mask.shape == SIZE_HW
    assert (mask[110:190, 110:290] == 0).all()
    assert mask[50, 50] == 2


@pytest.mark.slow
def test_random_outlines_equal_the_toolkits(tmp_path):
    """Self-crossing, beyond every border, thin and curved ones."""
    rng = np.random.default_rng(5)
    frames = []
    for number in range(24):
        corners = int(rng.integers(3, 9))
        scale, shift = (rng.uniform(2, 60), 300) if number % 3 == 0 else (1500, -100)
        vertices = (rng.random((corners, 2)) * scale + shift).tolist()
        types = "L" * corners
        if corners > 4:
            at = int(rng.integers(1, corners - 2))
            types = types[:at] + "CCC" + types[at + 3 :]
        frames.append(area(number, vertices, types))
    for frame, expected in zip(frames, by_toolkit(frames, tmp_path), strict=True):
        polygon = frame["labels"][0]["poly2d"][0]
        assert np.array_equal(fill(polygon["vertices"], polygon["types"]), expected)


@pytest.mark.slow
def test_real_2018_areas_equal_the_toolkits(tmp_path):
    path = GENUINE / "labels/bdd100k_labels_images_train.json"
    if not path.is_file():
        pytest.skip(f"no {path} here")
    frames = json.loads(path.read_text())
    for frame in frames:
        frame["labels"] = [
            label | {"category": label["attributes"]["areaType"]}
            for label in frame["labels"]
            if label["category"] == "drivable area"
        ]
    frames = [frame for frame in frames if frame["labels"]]
    dataset = BDD100K(GENUINE, "train", ("drivable",))
    ours = {sample.name: sample.labels["drivable"].mask for sample in dataset}
    for frame, expected in zip(frames, by_toolkit(frames, tmp_path), strict=True):
        assert np.array_equal(ours[Path(frame["name"]).stem], expected), frame["name"]


def test_random_lanes_equal_the_toolkits(tmp_path):
    """Straight, bent and curved lines, also beyond the borders and across each other."""
    rng = np.random.default_rng(6)
    frames, lines = [], []
    for number in range(12):
        labels, ours = [], []
        for index in range(int(rng.integers(1, 6))):
            types = str(rng.choice(["LL", "LLL", "LCCC", "LLCCCL"]))
            vertices = (rng.random((len(types), 2)) * [1500, 500] + [-100, 250]).round(6)
            polygon = {"vertices": vertices.tolist(), "types": types, "closed": False}
            kind = {"laneDirection": "vertical", "laneStyle": "dashed"}
            label = {"id": str(index), "category": "single white", "poly2d": [polygon]}
            labels.append(label | {"attributes": kind})
            curve = np.array([letter == "C" for letter in types])
            ours.append((6 | 1 << 4 | 1 << 5, vertices, curve))
        frames.append({"name": f"{number}.jpg", "labels": labels})
        lines.append(ours)
    drawn = by_toolkit(frames, tmp_path, "lane_mark")
    for ours, expected in zip(lines, drawn, strict=True):
        assert np.array_equal(paint(ours, SIZE_HW, 255, TOOLKIT_LINE), expected)


@pytest.mark.slow
def test_real_2018_lanes_are_scored_at_the_toolkits_width(tmp_path):
    path = GENUINE / "labels/bdd100k_labels_images_train.json"
    if not path.is_file():
        pytest.skip(f"no {path} here")
    frames = json.loads(path.read_text())
    for frame in frames:
        frame["labels"] = [
            label | {"category": label["attributes"]["laneType"].removeprefix("lane/")}
            for label in frame["labels"]
            if label["category"] == "lane"
        ]
    dataset = BDD100K(GENUINE, "train", ("lane",))
    dataset._labels.train = False  # as wide as for val, which the genuine excerpt lacks
    drawn = by_toolkit(frames, tmp_path, "lane_mark")
    expected = {Path(f["name"]).stem: mask for f, mask in zip(frames, drawn, strict=True)}
    for sample in dataset:
        assert np.array_equal(sample.labels["lane"].lane, expected[sample.name]), sample.name


def test_an_area_without_extent_sets_nothing():
    for vertices in ([[5, 5], [5, 5], [5, 5]], [[5, 5], [90, 5]], [[-9, -9], [-5, -9], [-5, -4]]):
        assert (fill(vertices, "L" * len(vertices)) == 2).all()


def training_line(vertices, size_hw: tuple[int, int], types: str = "") -> np.ndarray:
    """1 where a line for training is, else 0."""
    curve = np.array([letter == "C" for letter in types or "L" * len(vertices)])
    return paint([(1, np.array(vertices, float), curve)], size_hw, 0, TRAINING_LINE)


@pytest.mark.parametrize("stop", [(400, 100), (400, 300), (150, 420), (100, 400), (400, 400)])
def test_lanes_for_training_are_8_pixels_wide(stop):
    mask = training_line([(100, 100), stop], (500, 500))
    assert mask.sum() / np.hypot(stop[0] - 100, stop[1] - 100) == pytest.approx(8, rel=0.05)


def test_lanes_end_where_their_points_do():
    mask = training_line([[10, 10], [20, 10], [30, 10]], (20, 40))
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 13, 10, 29)
    assert len(rows) == 8 * 20


def test_a_bent_lane_has_no_gap_and_no_spike():
    mask = training_line([[20, 150], [100, 40], [180, 150]], (200, 200))
    assert cv2.connectedComponents(mask)[0] == 2
    assert mask[40, 100] == 1
    assert np.nonzero(mask)[0].min() >= 35


def test_curves_may_be_marked_either_way():
    vertices = np.array([[0, 0], [30, 0], [60, 30], [60, 60], [80, 80]], float)
    first = training_line(vertices, (100, 100), "CCCLL")
    second = training_line(vertices, (100, 100), "LCCCL")
    assert np.array_equal(first, second)
    middle = vertices[:4].T @ np.array([1, 3, 3, 1]) / 8
    assert first[int(middle[1]), int(middle[0])] == 1
    straight = training_line(vertices, (100, 100))
    assert straight[15, 45] == 1  # between the second and the third vertex
    assert straight.sum() != first.sum()


def test_a_lane_beyond_the_frame_is_cut():
    mask = training_line([[-40, 25], [90, 25]], (50, 50))
    assert mask.sum() == 8 * 50


def test_a_lane_that_leaves_aslant_is_whole_at_the_border():
    whole = training_line([[0, 0], [99, 99]], (100, 100))
    assert np.array_equal(training_line([[-30, -30], [99, 99]], (100, 100))[20:], whole[20:])
    assert training_line([[-30, -30], [99, 99]], (100, 100))[0, 3] == 1
    just_outside = training_line([[52, 0], [52, 49]], (50, 50))
    assert just_outside[25].nonzero()[0].tolist() == [48, 49]
