"""Merging the duplicates of detected boxes, as part of the exported graph."""

from typing import Final

import torch
from torch import Tensor

from perception.tasks.det_training import EPS

DUPLICATE_IOU: Final = 0.5  # above it, two boxes of one class are duplicates
SAME_OBJECT_IOU: Final = 0.9  # above it, two boxes of any classes are duplicates
SUPPRESSION_ROUNDS: Final = 3
SUPPRESSED: Final = 1e-4  # factor on the score of a duplicate


def cluster_nms(boxes: Tensor, scores: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted cluster NMS (arXiv 2005.03572) of (B, N, 4) boxes, best first, in fixed shapes.

    Returns boxes (B, N, 4), each the mean of its duplicates and itself weighted by score * (IoU -
    DUPLICATE_IOU), and scores (B, N), times SUPPRESSED for a duplicate of a better kept box (not 0,
    so that the order stays defined) and times exp(-IoU^2) for a smaller overlap with one of its
    class. Equals NMS for chains of up to SUPPRESSION_ROUNDS overlapping boxes: a box that only a
    duplicate overlaps is kept.
    """
    # Coordinate by coordinate: ONNX Runtime is slow at broadcasting along a last axis of two.
    sides = boxes.unbind(2)  # each (B, N)
    x1, y1, x2, y2 = sides
    area = (x2 - x1) * (y2 - y1)
    width = torch.minimum(x2[:, :, None], x2[:, None]) - torch.maximum(x1[:, :, None], x1[:, None])
    height = torch.minimum(y2[:, :, None], y2[:, None]) - torch.maximum(y1[:, :, None], y1[:, None])
    shared = width.clamp(min=0) * height.clamp(min=0)  # (B, N, N)
    overlap = shared / (area[:, :, None] + area[:, None] - shared).clamp(min=EPS)
    rank = torch.arange(boxes.shape[1], device=boxes.device)
    better = rank[:, None] > rank[None]  # column j is better than row i
    same = label[:, :, None] == label[:, None]
    alike = (overlap > DUPLICATE_IOU) & same
    duplicates = ((alike | (overlap > SAME_OBJECT_IOU)) & better).to(boxes.dtype)
    kept = torch.ones_like(area)
    for _ in range(SUPPRESSION_ROUNDS):
        kept = 1 - (duplicates * kept[:, None]).amax(2)
    near = (overlap * (same & better) * kept[:, None]).amax(2)
    # Continuous at the threshold: a rounding error changes a mean only slightly.
    weight = (overlap - DUPLICATE_IOU).clamp(min=0) * same * scores[:, None]
    total = weight.sum(2).clamp(min=EPS)
    # Means of shifts, not of coordinates: bf16 has 8 bits of precision, coordinates need more.
    shifts = [(weight * (x[:, None] - x[:, :, None])).sum(2) / total for x in sides]
    factor = (kept + SUPPRESSED * (1 - kept)) * (-near.square()).exp()
    return boxes + torch.stack(shifts, 2), scores * factor
