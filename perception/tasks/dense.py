"""Parts of dense heads: a small tower on the stride-4 map, and losses over annotated pixels."""

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.classes import IGNORE
from perception.layers import SeparableBlock
from perception.tasks.base import LossPart

MAX_COMPARED: Final = 4  # classes up to which comparing sub-pixels is faster than ArgMax


class Tower(nn.Sequential):
    """Two separable blocks at one stride; the first with a 5x5 kernel, for thin structures."""

    def __init__(self, channels: int) -> None:
        first, second = (SeparableBlock(channels, channels, kernel) for kernel in (5, 3))
        super().__init__(first, second)


def enlarge(logits: Tensor, factor: int) -> Tensor:
    """Bilinear upsampling of (B, C, h, w) to (B, C, h*factor, w*factor)."""
    if factor == 1:
        return logits
    return F.interpolate(logits, scale_factor=float(factor), mode="bilinear", align_corners=False)


def enlarged_argmax(logits: Tensor, factor: int) -> Tensor:
    """`enlarge(logits, factor).argmax(1)` as uint8 (B, h*factor, w*factor).

    Faster for few classes: bilinear upsampling by a whole factor is a 3x3 convolution to factor^2
    sub-pixels per class, and classes are compared before they are at full resolution.
    """
    classes = logits.shape[1]
    if factor == 1 or classes > MAX_COMPARED:
        return enlarge(logits, factor).argmax(1).to(torch.uint8)
    # From NumPy, so that the tracer of the ONNX export sees a constant.
    kernel = torch.from_numpy(_bilinear_kernel(classes, factor)).to(logits.device, logits.dtype)
    padded = F.pad(logits, (1, 1, 1, 1), mode="replicate")
    best, *others = F.conv2d(padded, kernel).split(factor**2, 1)
    found: Tensor | None = None
    for index, other in enumerate(others, start=1):
        better = other > best
        found = better.to(best.dtype) if found is None else torch.where(better, float(index), found)
        best = torch.maximum(best, other)
    assert found is not None
    return F.pixel_shuffle(found, factor).squeeze(1).to(torch.uint8)


def _bilinear_kernel(classes: int, factor: int) -> np.ndarray:
    """float32 (classes * factor^2, classes, 3, 3): weights of a cell and its neighbours for each
    sub-pixel of the cell, each class by itself."""
    offset = (np.arange(factor) + 0.5) / factor - 0.5  # of a sub-pixel's centre, in cells
    line = np.stack([np.maximum(-offset, 0), 1 - np.abs(offset), np.maximum(offset, 0)], 1)
    cell = (line[:, None, :, None] * line[None, :, None, :]).reshape(-1, 3, 3)
    kernel = np.einsum("ij,phw->ipjhw", np.eye(classes), cell)
    return kernel.reshape(-1, classes, 3, 3).astype(np.float32)


def cross_entropy(
    logits: Tensor, classes: Tensor, known: Tensor, weight: Tensor | None = None, scale: float = 1.0
) -> LossPart:
    """Cross entropy of (B, C, ...) summed over the positions where `known`, times `scale`.

    The count is the number of known positions, or the sum of their class weights.
    """
    safe = torch.where(known, classes, torch.zeros_like(classes)).long()
    losses = F.cross_entropy(logits.float(), safe, weight, reduction="none")
    per_class = known.float() if weight is None else weight[safe] * known
    return LossPart(scale * (losses * known).sum(), per_class.sum().detach())


def mask_loss(logits: Tensor, mask: Tensor) -> dict[str, LossPart]:
    """Cross entropy and half of the Dice loss of (B, C, H, W) against a class mask (B, H, W).

    Cross entropy is a mean over annotated pixels; Dice is a mean over the classes of a frame and
    then over frames, which gives more weight to small classes. Per-class sums are scattered rather
    than computed from one-hot masks, which would not fit in memory for 150 classes.
    """
    known = (mask != IGNORE).flatten(1)  # (B, P)
    log_p = logits.float().log_softmax(1).flatten(2)  # (B, C, P)
    truth = mask.flatten(1).long() * known  # (B, P), 0 where unknown
    log_p_truth = log_p.gather(1, truth[:, None]).squeeze(1) * known  # (B, P)
    p_truth = log_p_truth.exp() * known
    zeros = log_p.new_zeros(log_p.shape[:2])  # (B, C)
    hits = zeros.scatter_add(1, truth, p_truth)
    shown = zeros.scatter_add(1, truth, known.to(zeros.dtype))
    predicted = (log_p.exp() * known[:, None]).sum(2)  # (B, C)
    dice = 2 * hits / (shown + predicted).clamp(min=1e-6)
    present = shown > 0
    per_frame = ((1 - dice) * present).sum(1) / present.sum(1).clamp(min=1)  # (B,)
    return {
        "cross_entropy": LossPart(-log_p_truth.sum(), known.sum()),
        "overlap": LossPart(0.5 * per_frame.sum(), known.any(1).sum()),
    }


def tversky(
    probability: Tensor, truth: Tensor, known: Tensor, alpha: float, beta: float
) -> LossPart:
    """1 - Tversky index of each frame (arXiv 1706.05721), summed over frames with known pixels.

    All (B, H, W). `alpha` weights false positives, `beta` false negatives; 0.5 and 0.5 is Dice.
    """
    probability, truth = (probability * known).flatten(1), (truth * known).flatten(1)
    hits = (probability * truth).sum(1)  # (B,)
    false_positives, misses = probability.sum(1) - hits, truth.sum(1) - hits
    index = (hits + 1) / (hits + alpha * false_positives + beta * misses + 1)
    return LossPart((1 - index).sum(), known.flatten(1).any(1).sum())
