"""Losses of boxes and of scores against numbers worked out by hand."""

import math

import torch

from perception.tasks.box_losses import (
    ciou_loss,
    distribution_loss,
    iou,
    quality_focal_loss,
)


def test_iou_by_hand() -> None:
    a = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 5, 5]])
    b = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [5, 5, 5, 5]])
    torch.testing.assert_close(iou(a, b), torch.tensor([1, 1 / 3, 0, 0]))
    # Same shape: only the centres' distance squared over the hull's diagonal squared is added.
    expected = torch.tensor([0, 2 / 3 + 25 / 325, 1 + 800 / 1800])
    torch.testing.assert_close(ciou_loss(a, b)[:3], expected)


def test_ciou_charges_for_the_wrong_shape() -> None:
    square, wide = torch.tensor([[5.0, 0, 15, 10]]), torch.tensor([[0.0, 2.5, 20, 7.5]])
    aspect = 4 / math.pi**2 * (math.atan(4) - math.atan(1)) ** 2
    expected = 2 / 3 + aspect**2 / (2 / 3 + aspect)
    torch.testing.assert_close(ciou_loss(square, wide), torch.tensor([expected]))


def test_ciou_pulls_a_distant_wrong_shape_towards_the_truth() -> None:
    box = torch.tensor([[40.0, 40, 80, 50]], requires_grad=True)
    truth = torch.tensor([[10.0, 10, 20, 30]])
    ciou_loss(box, truth).sum().backward()
    moved = box.detach() - 10 * box.grad
    assert ciou_loss(moved, truth) < ciou_loss(box.detach(), truth)


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
