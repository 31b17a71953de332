"""What dense heads share: a light tower on the stride-4 map and losses over annotated pixels."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.layers import SeparableBlock


class Tower(nn.Sequential):
    """`depth` separable blocks at one stride; a 5x5 depthwise kernel first, for thin things."""

    def __init__(self, channels: int, depth: int = 2) -> None:
        super().__init__(
            SeparableBlock(channels, channels, kernel=5),
            *(SeparableBlock(channels, channels) for _ in range(depth - 1)),
        )


def enlarge(logits: Tensor, factor: int) -> Tensor:
    """Bilinear enlargement of (B, C, h, w) to (B, C, h*factor, w*factor)."""
    if factor == 1:
        return logits
    return F.interpolate(logits, scale_factor=float(factor), mode="bilinear", align_corners=False)


def cross_entropy(
    logits: Tensor, classes: Tensor, known: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Mean cross entropy of (B, C, ...) over the positions where `known`; zero without any."""
    safe = torch.where(known, classes, torch.zeros_like(classes))
    losses = F.cross_entropy(logits.float(), safe.long(), weight, reduction="none")
    per_class = torch.ones_like(losses) if weight is None else weight[safe.long()]
    share = (per_class * known).sum().clamp(min=1e-6)
    return (losses * known).sum() / share


def tversky(probability: Tensor, truth: Tensor, known: Tensor, alpha: float, beta: float) -> Tensor:
    """1 - Tversky index over all pixels of the batch (arXiv 1706.05721).

    `alpha` weighs false positives, `beta` misses; 0.5/0.5 is Dice. Zero where nothing is known.
    """
    probability, truth = probability * known, truth * known
    hits = (probability * truth).sum()
    false_alarms, misses = (probability * (1 - truth)).sum(), ((1 - probability) * truth).sum()
    index = (hits + 1) / (hits + alpha * false_alarms + beta * misses + 1)
    return 1 - index
