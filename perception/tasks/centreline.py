"""clDice (arXiv 2003.07311): overlap of centre lines, so that a gap in a thin line costs."""

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, relu

THINNINGS = 3  # lines are up to about six pixels wide at model size


def cldice_loss(probability: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """1 - clDice of (B, H, W) probabilities against a 0/1 truth, over the known pixels.

    The share of the predicted centre line that lies on the truth, and of the true one that is
    predicted, joined like precision and recall.
    """
    probability, truth = probability * known, truth * known
    lines, true_lines = centreline(probability), centreline(truth)
    precision = ((lines * truth).sum() + 1) / (lines.sum() + 1)
    recall = ((true_lines * probability).sum() + 1) / (true_lines.sum() + 1)
    return 1 - 2 * precision * recall / (precision + recall)


def centreline(mask: Tensor) -> Tensor:
    """Soft skeleton of (B, H, W) values in 0..1: what opening takes away, thinning by thinning."""
    mask = mask[:, None]
    line = relu(mask - _opened(mask))
    for _ in range(THINNINGS):
        mask = _eroded(mask)
        rest = relu(mask - _opened(mask))
        line = line + relu(rest - line * rest)
    return line.squeeze(1)


def _eroded(mask: Tensor) -> Tensor:
    return torch.minimum(
        -max_pool2d(-mask, (3, 1), 1, (1, 0)), -max_pool2d(-mask, (1, 3), 1, (0, 1))
    )


def _opened(mask: Tensor) -> Tensor:
    return max_pool2d(_eroded(mask), 3, 1, 1)
