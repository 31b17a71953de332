import torch

from perception.tasks.centreline import centreline, cldice_loss


def road(rows: slice = slice(4, 36), width: int = 4) -> torch.Tensor:
    mask = torch.zeros(1, 40, 24)
    mask[:, rows, 10 : 10 + width] = 1
    return mask


def test_the_centre_line_is_thin_and_as_long_as_the_line() -> None:
    line = centreline(road())[0]
    assert line[8:32].sum(1).max() <= 2
    assert (line[8:32].sum(1) > 0).all()
    assert line[:, :9].sum() == 0


def test_truth_costs_nothing_and_a_gap_costs_more_than_a_thin_line() -> None:
    truth, known = road(), torch.ones(1, 40, 24, dtype=torch.bool)
    gap = truth.clone()
    gap[:, 14:24] = 0
    thin = road(width=3)
    assert cldice_loss(truth, truth, known) < 1e-6
    assert cldice_loss(gap, truth, known) > 3 * cldice_loss(thin, truth, known)
    assert cldice_loss(torch.zeros_like(truth), truth, known) > 0.9


def test_pixels_that_are_not_annotated_do_not_count_and_gradients_flow() -> None:
    truth, known = road(), torch.ones(1, 40, 24, dtype=torch.bool)
    known[:, :20] = False
    wrong = truth.clone()
    wrong[:, :18, 2:5] = 1
    assert cldice_loss(wrong, truth, known) < 1e-6
    logits = (road(width=2) * 4 - 2).requires_grad_()
    cldice_loss(logits.sigmoid(), truth, known).backward()
    assert logits.grad is not None
    assert logits.grad[:, 21:30].abs().sum() > 0
    assert logits.grad[:, :15].abs().sum() == 0
