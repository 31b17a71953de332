"""Assignment on small grids; losses of boxes and of scores against numbers worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from perception.tasks.det_training import (
    Assigner,
    Candidates,
    Grid,
    Positives,
    distribution_loss,
    find_candidates,
    iou,
    quality_focal_loss,
)

STRIDES = (4, 8)
GRID = Grid(((16, 16), (8, 8)), STRIDES)  # a 64x64 image, 256 + 64 points
POINTS = GRID.points(torch.device("cpu"))


def scene(*boxes: tuple[float, float, float, float], classes: list[int]) -> tuple[Tensor, Tensor]:
    return torch.tensor([boxes], dtype=torch.float32), torch.tensor([classes])


def predictions(fill: float = -4.0) -> tuple[Tensor, Tensor]:
    """Two classes, low scores; every point predicts a box of 3 strides around itself."""
    half = POINTS[:, 2:] * 1.5
    boxes = torch.cat([POINTS[:, :2] - half, POINTS[:, :2] + half], 1)
    return torch.full((1, len(POINTS), 2), fill), boxes[None]


def assign(topk: int, logits: Tensor, boxes: Tensor, truth: Tensor, classes: Tensor) -> Positives:
    found = find_candidates(truth, classes >= 0, GRID)
    frame = torch.arange(len(truth))[:, None, None]
    score = logits[frame, found.point, classes.clamp(min=0)[:, :, None]].sigmoid()
    overlap = iou(boxes[frame, found.point], truth[:, :, None])
    return Assigner(topk)(found, score, overlap)


def allowed_points(candidates: Candidates, box: int) -> Tensor:
    return candidates.point[0, box][candidates.allowed[0, box]]


def test_points_are_cell_centres_level_by_level() -> None:
    assert POINTS.shape == (320, 3)
    assert POINTS[0].tolist() == [2, 2, 4]
    assert POINTS[17].tolist() == [6, 6, 4]
    assert POINTS[256].tolist() == [4, 4, 8]


def test_candidates_lie_inside_the_box_on_every_level() -> None:
    truth, classes = scene((20, 22, 41, 37), classes=[0])
    found = find_candidates(truth, classes >= 0, GRID)
    xy = POINTS[allowed_points(found, 0)]
    assert set(xy[:, 2].tolist()) == {4, 8}
    # Two cells around the centre's: 5 x 3 of stride 4 (x 22 to 38, y 26 to 34), 2 x 2 of stride 8.
    assert len(xy) == 15 + 4
    assert ((xy[:, 0] > 20) & (xy[:, 0] < 41) & (xy[:, 1] > 22) & (xy[:, 1] < 37)).all()
    assert ((found.near > 0) & (found.near <= 1)).all()


def test_candidates_of_a_box_at_the_border_stay_on_the_grid() -> None:
    truth, classes = scene((-10, -10, 6, 6), (58, 58, 80, 80), classes=[0, 1])
    found = find_candidates(truth, classes >= 0, GRID)
    assert found.point.min() >= 0
    assert found.point.max() < len(POINTS)
    for box in range(2):
        kept = allowed_points(found, box)
        assert len(kept) == len(set(kept.tolist())) > 0


def test_a_box_between_all_points_still_gets_points() -> None:
    truth, classes = scene((7.5, 7.5, 8.5, 8.5), classes=[0])
    logits, boxes = predictions()
    positives = assign(1, logits, boxes, truth, classes)
    assert len(positives.point) == 1
    assert POINTS[positives.point[0], 2] == 4


def test_the_best_points_by_score_and_overlap_are_chosen() -> None:
    truth, classes = scene((20, 20, 40, 40), classes=[1])
    logits, boxes = predictions()
    wanted = [7 * 16 + 7, 6 * 16 + 7]
    boxes[0, wanted] = truth[0, 0]
    logits[0, wanted[0], 1] = 3.0
    logits[0, wanted[1], 1] = 1.0
    one = assign(1, logits, boxes, truth, classes)
    assert one.point.tolist() == wanted[:1]
    two = assign(2, logits, boxes, truth, classes)
    assert sorted(two.point.tolist()) == sorted(wanted)
    # The score of another class does not count.
    logits[0, wanted[1], 0] = 9.0
    assert assign(1, logits, boxes, truth, classes).point.tolist() == wanted[:1]


def test_quality_is_the_overlap_for_the_best_and_less_for_the_others() -> None:
    truth, classes = scene((20, 20, 40, 40), classes=[0])
    logits, boxes = predictions()
    best, second = 7 * 16 + 7, 6 * 16 + 7
    boxes[0, best] = torch.tensor([20.0, 20, 40, 36])  # IoU 0.8
    boxes[0, second] = torch.tensor([20.0, 20, 40, 34])  # IoU 0.7
    positives = assign(2, logits, boxes, truth, classes)
    quality = dict(zip(positives.point.tolist(), positives.quality.tolist(), strict=True))
    assert quality[best] == pytest.approx(0.8)
    assert quality[second] == pytest.approx(0.8 * (0.7 / 0.8) ** Assigner.beta, rel=1e-4)


def test_a_point_belongs_to_one_box_and_the_other_takes_its_next() -> None:
    truth, classes = scene((20, 20, 40, 40), (20, 20, 40, 42), classes=[0, 0])
    logits, boxes = predictions()
    shared = 7 * 16 + 7
    boxes[0, shared] = truth[0, 0]
    positives = assign(1, logits, boxes, truth, classes)
    assert sorted(positives.box.tolist()) == [0, 1]
    assert len(set(positives.point.tolist())) == 2
    assert positives.point[positives.box == 0].item() == shared


def test_equal_boxes_get_different_points() -> None:
    truth, classes = scene((20, 20, 40, 40), (20, 20, 40, 40), classes=[0, 0])
    logits, boxes = predictions()
    for topk in (1, 10):
        positives = assign(topk, logits, boxes, truth, classes)
        assert set(positives.box.tolist()) == {0, 1}
        assert len(set(positives.point.tolist())) == len(positives.point)


def test_frames_do_not_mix() -> None:
    logits, boxes = predictions()
    truth = torch.tensor([[[20.0, 20, 40, 40]], [[0, 0, 0, 0]], [[20, 20, 40, 40]]])
    classes = torch.tensor([[0], [-1], [1]])
    positives = assign(1, logits.expand(3, -1, -1), boxes.expand(3, -1, -1), truth, classes)
    assert positives.frame.tolist() == [0, 2]
    assert positives.point[0] == positives.point[1]


@pytest.mark.parametrize("boxes", [0, 3])
def test_no_box_gives_no_positive(boxes: int) -> None:
    logits, predicted = predictions()
    truth, classes = torch.zeros(1, boxes, 4), torch.full((1, boxes), -1)
    positives = assign(10, logits, predicted, truth, classes)
    assert len(positives.point) == len(positives.quality) == 0


def test_padding_changes_nothing() -> None:
    truth, classes = scene((20, 20, 40, 40), (3, 3, 12, 9), classes=[0, 1])
    logits, boxes = predictions()
    padded = torch.cat([truth, torch.zeros(1, 5, 4)], 1)
    padded_classes = torch.cat([classes, torch.full((1, 5), -1)], 1)
    plain = assign(10, logits, boxes, truth, classes)
    other = assign(10, logits, boxes, padded, padded_classes)
    assert torch.equal(plain.point, other.point)
    assert torch.equal(plain.quality, other.quality)


def test_a_crowd_of_small_boxes_all_get_a_point() -> None:
    centres = torch.cartesian_prod(torch.arange(6, 60, 6.0), torch.arange(6, 60, 6.0))
    truth = torch.cat([centres - 2.5, centres + 2.5], 1)[None]
    classes = torch.zeros(1, truth.shape[1], dtype=torch.int64)
    logits, boxes = predictions()
    positives = assign(1, logits, boxes, truth, classes)
    assert len(positives.box.unique()) >= 0.95 * truth.shape[1]
    assert len(positives.point.unique()) == len(positives.point)


def test_iou_by_hand() -> None:
    a = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 5, 5]])
    b = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [5, 5, 5, 5]])
    torch.testing.assert_close(iou(a, b), torch.tensor([1, 1 / 3, 0, 0]))


def test_distribution_loss_is_least_where_the_two_nearest_bins_share() -> None:
    value = torch.tensor([0.5, -9.0])  # five bins -2 -1 0 1 2: halfway, and beyond the end
    ideal = torch.tensor([[0.0, 0, 0.5, 0.5, 0], [1, 0, 0, 0, 0]]).clamp(min=1e-9).log()
    expected = torch.tensor([math.log(2), 0])
    torch.testing.assert_close(distribution_loss(ideal, value, 2.0), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        distribution_loss(torch.zeros(2, 5), value, 2.0), torch.full((2,), math.log(5))
    )


def test_quality_focal_loss_is_zero_at_the_target_quality() -> None:
    quality = torch.tensor([0.0, 0.3, 0.9])
    logits = torch.tensor([-30.0, *torch.logit(quality[1:]).tolist()])
    assert quality_focal_loss(logits, quality).abs().max() < 1e-6
    assert (quality_focal_loss(logits + 1, quality)[1:] > 0).all()
