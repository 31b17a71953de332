"""Mosaic and mixup: every label kind by hand, then through collation and loss for every task."""

import numpy as np
import pytest
import torch

from perception.classes import IGNORE, LANE_IGNORE
from perception.tasks import TASKS
from perception.tasks.base import total_loss
from training.config import DataArgs
from training.data.cached import KINDS as CACHED_KINDS
from training.data.labels import Boxes, Labels, LaneMask, Map, Mask, Normals
from training.data.mosaic import KINDS, Mixing, corners, make_mixing, mixup, mosaic
from training.data.sample import Sample, collate
from training.data.sampling import TransformedFrames

SIZE_HW = (8, 12)
MIDDLE = (0.5, 0.5)  # the corners are 4x6 pixels


def frame(value, **labels):
    return Sample(np.full((*SIZE_HW, 3), value, np.uint8), labels, f"f{value}")


def plain(value, dtype=np.uint8):
    return np.full(SIZE_HW, value, dtype)


def test_every_kind_that_can_be_stored_can_be_mixed():
    assert set(KINDS) == set(CACHED_KINDS.values())


def test_the_image_is_four_corners_each_at_its_place():
    images = np.random.default_rng(0).integers(0, 256, (4, *SIZE_HW, 3), np.uint8)
    mixed = mosaic([Sample(image, {}, str(i)) for i, image in enumerate(images)], (0.25, 0.75))
    np.testing.assert_array_equal(mixed.image[:2, :9], images[0, :2, :9])
    np.testing.assert_array_equal(mixed.image[:2, 9:], images[1, :2, 9:])
    np.testing.assert_array_equal(mixed.image[2:, :9], images[2, 2:, :9])
    np.testing.assert_array_equal(mixed.image[2:, 9:], images[3, 2:, 9:])
    assert mixed.name == "0+1+2+3"
    assert mixed.labels == {}


@pytest.mark.parametrize(
    ("kind", "key", "values", "unknown"),
    [
        (lambda v: Mask(plain(v)), "mask", (0, 1, 2), IGNORE),
        (lambda v: LaneMask(plain(v)), "lane", (6, 255, 192), LANE_IGNORE),
        (lambda v: Map(plain(v, np.float32)), "map", (1.5, 20, np.nan), np.nan),
    ],
)
def test_pixels_come_from_their_frame_and_are_unknown_where_it_has_none(kind, key, values, unknown):
    parts = [frame(i, task=kind(value)) for i, value in enumerate(values)]
    found = mosaic([*parts, frame(9)], MIDDLE).labels["task"].arrays()[key]
    expected = [*values, unknown]
    for region, value in zip(corners(SIZE_HW, MIDDLE), expected, strict=True):
        np.testing.assert_array_equal(found[region], np.full((4, 6), value))
    assert found.dtype == parts[0].labels["task"].arrays()[key].dtype


def test_normals_keep_their_axes():
    up = np.zeros((3, *SIZE_HW), np.float32)
    up[1] = -1
    found = mosaic([frame(0), frame(1, n=Normals(up)), frame(2), frame(3)], MIDDLE).labels["n"]
    assert found.normals.shape == (3, *SIZE_HW)
    np.testing.assert_array_equal(found.normals[:, :4, 6:], up[:, :4, 6:])
    assert np.isnan(found.normals[:, :, :6]).all()
    assert np.isnan(found.normals[:, 4:]).all()


def test_boxes_are_cut_at_the_seams():
    # Whole in its corner; cut to half; a tenth left; gone.
    xyxy = [[1, 1, 4, 3], [3, 0, 9, 4], [4, 2, 14, 4], [7, 5, 11, 8]]
    first = Boxes(np.array(xyxy), np.array([2, 3, 4, 5]), SIZE_HW)
    none = Boxes(np.zeros((0, 4)), np.zeros(0), SIZE_HW)
    crowd = Boxes(np.array([[6, 2, 12, 8]]), np.array([0]), SIZE_HW, ignore=np.array([True]))
    found = mosaic(
        [frame(0, det=first), frame(1, det=crowd), frame(2, det=none), frame(3, det=none)], MIDDLE
    ).labels["det"]
    expected = [[1, 1, 4, 3], [3, 0, 6, 4], [4, 2, 6, 4], [6, 2, 12, 4]]
    np.testing.assert_array_equal(found.xyxy, np.array(expected, np.float32))
    assert found.classes.tolist() == [2, 3, 4, 0]
    # What shows a fifth of a bus is neither an example of one nor of no bus.
    assert found.ignore.tolist() == [False, False, True, True]
    assert found.size_hw == SIZE_HW


def test_a_corner_without_box_labels_is_an_ignored_region():
    box = Boxes(np.array([[1, 1, 4, 3]]), np.array([2]), SIZE_HW)
    found = mosaic([frame(0, det=box), frame(1), frame(2), frame(3)], MIDDLE).labels["det"]
    assert found.classes.tolist() == [2, -1, -1, -1]
    assert found.ignore.tolist() == [False, True, True, True]
    regions = [[6, 0, 12, 4], [0, 4, 6, 8], [6, 4, 12, 8]]
    np.testing.assert_array_equal(found.xyxy[1:], np.array(regions, np.float32))


def test_attributes_count_where_all_agree():
    parts = [frame(i, scene=Labels(np.array([2, 3, 1 - (i == 3)]))) for i in range(4)]
    assert mosaic(parts, MIDDLE).labels["scene"].labels.tolist() == [2, 3, -1]
    assert "scene" not in mosaic([*parts[:3], frame(3)], MIDDLE).labels
    apart = [frame(i, scene=Labels(np.array([i]))) for i in range(4)]
    assert "scene" not in mosaic(apart, MIDDLE).labels


def test_mixup_by_hand():
    box = Boxes(np.array([[1, 1, 4, 3]]), np.array([2]), SIZE_HW)
    left, right = plain(0), plain(2)
    left[:, 6:] = 2
    line, other = plain(255), plain(255)
    line[:, 2], other[:, 5], other[0] = 6, 192, LANE_IGNORE
    first = frame(
        100,
        det=box,
        drivable=Mask(left),
        lane=LaneMask(line),
        scene=Labels(np.array([1, 2])),
        depth=Map(plain(3, np.float32)),
    )
    second = frame(
        200,
        det=box.flip(),
        drivable=Mask(right),
        lane=LaneMask(other),
        scene=Labels(np.array([1, 3])),
        depth=Map(plain(3, np.float32)),
    )
    mixed = mixup(first, second, 0.25)
    assert (mixed.image == 175).all()
    assert set(mixed.labels) == {"det", "drivable", "lane", "scene"}  # no depth through glass
    np.testing.assert_array_equal(mixed.labels["det"].xyxy, [[1, 1, 4, 3], [8, 1, 11, 3]])
    assert (mixed.labels["drivable"].mask[:, :6] == IGNORE).all()
    assert (mixed.labels["drivable"].mask[:, 6:] == 2).all()
    lane = mixed.labels["lane"].lane
    assert lane[1].tolist() == [255, 255, 6, 255, 255, 192, *[255] * 6]
    assert lane[0].tolist() == [254, 254, 6, *[254] * 9]
    assert mixed.labels["scene"].labels.tolist() == [1, -1]


def test_mixup_with_an_unlabelled_frame():
    box = Boxes(np.array([[1, 1, 4, 3]]), np.array([2]), SIZE_HW)
    line = plain(255)
    line[:, 2] = 6
    said = frame(
        0, det=box, drivable=Mask(plain(0)), lane=LaneMask(line), scene=Labels(np.array([1]))
    )
    for pair in ((said, frame(1)), (frame(1), said)):
        mixed = mixup(*pair, 0.5)
        assert set(mixed.labels) == {"det", "lane"}
        assert sorted(mixed.labels["det"].classes.tolist()) == [-1, 2]
        whole = mixed.labels["det"].xyxy[mixed.labels["det"].ignore]
        np.testing.assert_array_equal(whole, [[0, 0, 12, 8]])
        assert set(np.unique(mixed.labels["lane"].lane)) == {6, LANE_IGNORE}


class Numbers:
    """TransformedFrames of one brightness each."""

    tasks = ("drivable",)

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return frame(index * 10, drivable=Mask(plain(index % 3)))


def untouched(sample, rng):
    rng.random()
    return sample


def test_mixing_depends_on_the_key_alone_and_ends_at_the_set_epoch():
    frames = TransformedFrames(Numbers(), untouched, 3, Mixing(1.0, 0.0, epochs=2))
    for key in [(0, 4), (1, 4), (1, 4, 2)]:
        np.testing.assert_array_equal(frames[key].image, frames[key].image)
        assert frames[key].name.count("+") == 3
        assert "f40" in frames[key].name.split("+")  # the frame that was asked for is in it
    assert frames[0, 4].name != frames[1, 4].name
    assert frames[2, 4].name == "f40"
    names = [
        TransformedFrames(Numbers(), untouched, 3, Mixing(0.5, 0.5, 1))[0, i].name
        for i in range(10)
    ]
    assert {name.count("+") for name in names} >= {0, 1, 3}


def test_without_mixing_nothing_is_drawn():
    def noisy(sample, rng):
        return frame(int(rng.integers(200)))

    assert (
        TransformedFrames(Numbers(), noisy, 3)[0, 4].name
        == TransformedFrames(Numbers(), noisy, 3, None)[0, 4].name
    )
    off = TransformedFrames(Numbers(), noisy, 3, Mixing(1.0, 1.0, epochs=0))
    assert off[0, 4].name == TransformedFrames(Numbers(), noisy, 3)[0, 4].name


def test_frames_that_are_never_drawn_are_in_no_mosaic():
    weights = np.array([1.0, 0, 0, 0, 0, 0, 0, 0, 2, 0])
    frames = TransformedFrames(Numbers(), untouched, 3, Mixing(1.0, 0.0, 99), weights)
    names = [name for epoch in range(20) for name in frames[epoch, 0].name.split("+")]
    assert set(names) == {"f0", "f80"}
    assert names.count("f80") > 20  # of the 60 drawn together with frame 0


@pytest.mark.parametrize(
    ("epochs", "share", "mixed"), [(30, 0.1, 27), (10, 0, 10), (4, 1, 0), (1, 0.1, 1), (3, 0.5, 2)]
)
def test_the_last_share_of_the_epochs_is_plain(epochs, share, mixed):
    assert make_mixing(DataArgs(mosaic=0.5, close_mosaic=share), epochs).epochs == mixed
    assert make_mixing(DataArgs(), epochs) is None


# A label of each task's kind, as a frame of 64x96 may have it.
def label_for(task, rng):
    size_hw = (64, 96)
    kind = task.view.kind
    if kind == "boxes":
        corner = rng.uniform(0, 40, (3, 2))
        xyxy = np.concatenate([corner, corner + rng.uniform(8, 24, (3, 2))], 1)
        return Boxes(xyxy, rng.integers(0, len(task.view.classes), 3), size_hw)
    if kind == "map":
        return Map(rng.uniform(2, 50, size_hw).astype(np.float32))
    if kind == "normals":
        normals = rng.standard_normal((3, *size_hw)).astype(np.float32)
        return Normals(normals / np.linalg.norm(normals, axis=0))
    if kind == "label":
        return Labels(np.array([rng.integers(len(group.classes)) for group in task.view.groups]))
    if task.view.encoding:
        return LaneMask(rng.choice([255, 255, 6, 23, 192, 254], size_hw).astype(np.uint8))
    return Mask(rng.integers(0, len(task.view.classes), size_hw).astype(np.uint8))


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("labelled", [4, 2])
def test_a_mixed_batch_teaches_every_task(name, labelled):
    torch.manual_seed(0)
    rng = np.random.default_rng(1)
    task = TASKS[name](16, (4, 8, 16, 32)).train()
    blank = np.zeros((64, 96, 3), np.uint8)
    samples = [
        Sample(blank, {name: label_for(task, rng)} if i < labelled else {}, str(i))
        for i in range(4)
    ]
    mixed = [mosaic(samples, (0.4, 0.6)), mixup(samples[0], samples[3], 0.5), samples[0]]
    batch = collate(mixed)
    assert 2 in batch.rows[name].tolist()
    features = [torch.randn(3, 16, 64 // s, 96 // s, requires_grad=True) for s in (4, 8, 16, 32)]
    rows = batch.rows[name]
    raw = task([feature[rows] for feature in features])
    loss = total_loss(task.loss(raw, batch.targets[name]))
    assert torch.isfinite(loss)
    loss.backward()
    seen = [feature.grad for feature in features if feature.grad is not None]
    assert seen
    assert all(torch.isfinite(grad).all() for grad in seen)


def test_corners_without_box_labels_contribute_no_detection_loss():
    torch.manual_seed(0)
    task = TASKS["det"](16, (4, 8, 16, 32)).eval()
    features = [torch.randn(1, 16, 64 // s, 96 // s) for s in (4, 8, 16, 32)]
    raw = {key: value.detach().requires_grad_() for key, value in task(features).items()}
    box = Boxes(np.array([[5.0, 5, 30, 25]]), np.array([2]), (64, 96))
    blank = np.zeros((64, 96, 3), np.uint8)
    samples = [Sample(blank, {"det": box} if i == 0 else {}, str(i)) for i in range(4)]
    batch = collate([mosaic(samples, (0.5, 0.5))])
    total_loss(task.loss(raw, batch.targets["det"])).backward()
    scores = raw["many4"].grad  # (1, 10, 16, 24)
    assert scores[0, :, :8, :12].abs().sum() > 0
    assert scores[0, :, 8:].abs().sum() == 0
    assert scores[0, :, :8, 12:].abs().sum() == 0
