"""What trains a detection head: assignment of points to boxes, and losses.

Assignment is task-aligned (TOOD, arXiv 2108.07755). Candidates are the points around a box's centre
on every level, found by index arithmetic, so the cost grows with the number of boxes and not with
points times boxes. Losses are computed in float32 under autocast too.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from perception.tasks.base import Target

# Candidates per level: (2 * REACH + 1)^2 around the point that holds the box's centre.
REACH: Final = 2
# Overlap credited to the nearest candidate of a box that no prediction touches yet.
TOUCH: Final = 0.01
EPS: Final = 1e-7


@dataclass(frozen=True)
class Grid:
    """The points of all levels in one row: level by level, row by row, at the cells' centres."""

    sizes_hw: tuple[tuple[int, int], ...]
    strides: tuple[int, ...]

    def points(self, device: torch.device) -> Tensor:
        """(A, 3) float32: x, y and stride of each point, in pixels."""
        levels = []
        for (height, width), stride in zip(self.sizes_hw, self.strides, strict=True):
            y, x = torch.meshgrid(
                torch.arange(height, device=device, dtype=torch.float32),
                torch.arange(width, device=device, dtype=torch.float32),
                indexing="ij",
            )
            xy = (torch.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride
            levels.append(torch.cat([xy, torch.full_like(xy[:, :1], stride)], 1))
        return torch.cat(levels)


@dataclass(frozen=True)
class Candidates:
    """N points near each of M boxes in B frames."""

    point: Tensor  # (B, M, N) int64
    near: Tensor  # (B, M, N) float32 in (0, 1], 1 at the box's centre
    allowed: Tensor  # (B, M, N) bool: on the grid and inside the box
    points: int  # of the grid


@dataclass(frozen=True)
class Positives:
    """P chosen (frame, point, box) triples and the score each point should reach."""

    frame: Tensor  # (P,) int64
    point: Tensor  # (P,) int64
    box: Tensor  # (P,) int64, index into the frame's boxes
    quality: Tensor  # (P,) float32 in (0, 1]


@dataclass(frozen=True)
class Assigner:
    """Gives each box its `topk` best candidates by score^alpha * IoU^beta.

    A point wanted by several boxes goes to the one it fits best; a box left with none chooses
    again among the free points, at most `rounds` times.
    """

    topk: int
    alpha: float = 1.0
    beta: float = 3.0
    rounds: int = 3

    @torch.no_grad()
    def __call__(self, candidates: Candidates, score: Tensor, overlap: Tensor) -> Positives:
        """(B, M, N) scores in 0..1 of the box's class and IoU with the box at each candidate.

        Values of candidates that are not allowed are not used.
        """
        overlap = torch.maximum(overlap, TOUCH * candidates.near)
        fit = score.pow(self.alpha) * overlap.pow(self.beta)
        chosen = self._choose(fit, candidates)

        best_fit = (fit * chosen).amax(2, keepdim=True).clamp(min=1e-30)
        best_overlap = (overlap * chosen).amax(2, keepdim=True)
        quality = fit / best_fit * best_overlap
        frame, box, index = chosen.nonzero(as_tuple=True)
        place = frame, box, index
        return Positives(frame, candidates.point[place], box, quality[place])

    def _choose(self, fit: Tensor, candidates: Candidates) -> Tensor:
        """(B, M, N) bool: at most topk per box, at most one box per point."""
        batch, boxes, count = fit.shape
        chosen = torch.zeros_like(candidates.allowed)
        if boxes == 0:
            return chosen
        slots = batch * candidates.points
        first = torch.arange(batch, device=fit.device)[:, None, None] * candidates.points
        slot = candidates.point + first
        # Whether a point is taken: by scatter, which unlike a boolean index needs no host sync.
        taken = slot.new_zeros(slots)
        for _ in range(self.rounds):
            waiting = ~chosen.any(2, keepdim=True)
            wanted = fit.masked_fill(~(candidates.allowed & waiting & (taken[slot] == 0)), -1.0)
            value, order = wanted.topk(min(self.topk, count), dim=2)
            won = (value >= 0) & _wins(value, slot.gather(2, order), slots)
            chosen = chosen | torch.zeros_like(chosen).scatter(2, order, won)
            taken = taken.scatter_reduce(0, slot.flatten(), chosen.flatten().long(), "amax")
        return chosen


def find_candidates(truth_xyxy: Tensor, valid: Tensor, grid: Grid) -> Candidates:
    """Points near the centre of each box (B, M, 4); only those inside a valid box are allowed.

    A box smaller than the finest cells is widened to one cell on each side; otherwise a distant
    traffic light could be between all points and never be learned.
    """
    device = truth_xyxy.device
    step = torch.arange(-REACH, REACH + 1, device=device)
    dy, dx = (d.reshape(-1) for d in torch.meshgrid(step, step, indexing="ij"))
    centre = (truth_xyxy[..., :2] + truth_xyxy[..., 2:]) / 2  # (B, M, 2)
    finest = min(grid.strides)
    half = ((truth_xyxy[..., 2:] - truth_xyxy[..., :2]) / 2).clamp(min=finest)
    index, near, allowed, start = [], [], [], 0
    for (height, width), stride in zip(grid.sizes_hw, grid.strides, strict=True):
        cell = (centre / stride).floor().long()
        ix, iy = cell[..., :1] + dx, cell[..., 1:] + dy  # (B, M, 25)
        away = (torch.stack([ix, iy], -1) + 0.5) * stride - centre[:, :, None]
        inside = (away.abs() < half[:, :, None]).all(-1) & valid[..., None]
        on_grid = (ix >= 0) & (ix < width) & (iy >= 0) & (iy < height)
        index.append(start + iy.clamp(0, height - 1) * width + ix.clamp(0, width - 1))
        near.append(1 / (1 + away.norm(dim=-1) / finest))
        allowed.append(inside & on_grid)
        start += height * width
    return Candidates(torch.cat(index, 2), torch.cat(near, 2), torch.cat(allowed, 2), start)


def _wins(value: Tensor, slot: Tensor, slots: int) -> Tensor:
    """(B, M, K) bool: the claim with the highest value on its slot; the first of equals."""
    best = value.new_full((slots,), -1.0).scatter_reduce(0, slot.flatten(), value.flatten(), "amax")
    top = value == best[slot]
    order = torch.arange(value.shape[1], device=value.device)[None, :, None].expand_as(slot)
    last = value.shape[1]
    first = order.new_full((slots,), last).scatter_reduce(
        0, slot.flatten(), torch.where(top, order, last).flatten(), "amin"
    )
    return top & (order == first[slot])


def trainable_classes(target: Target) -> Tensor:
    """The classes (B, M), -1 also where a box is ignored or has no area."""
    size = target["boxes_xyxy"][..., 2:] - target["boxes_xyxy"][..., :2]
    return torch.where(~target["ignore"] & (size > 0).all(-1), target["classes"], -1)


def ignored_points(target: Target, points: Tensor, classes: int) -> Tensor | None:
    """(B, A, classes) bool: points in ignored boxes, where the box's class is no false positive."""
    frame, box = target["ignore"].nonzero(as_tuple=True)
    if len(frame) == 0:
        return None
    xyxy, label = target["boxes_xyxy"][frame, box].float(), target["classes"][frame, box]
    xy = points[:, :2]
    inside = ((xy > xyxy[:, None, :2]) & (xy < xyxy[:, None, 2:])).all(-1)  # (I, A)
    # An ignored box without a class covers all classes.
    named = label[:, None] == torch.arange(classes, device=xyxy.device)
    hit = inside[:, :, None] & (named | (label < 0)[:, None])[:, None, :]  # (I, A, classes)
    covered = xyxy.new_zeros(len(target["ignore"]), *hit.shape[1:])
    return covered.index_put((frame,), hit.float(), accumulate=True) > 0


def score_loss(
    logits: Tensor, positives: Positives, label: Tensor, rarity: Tensor, ignored: Tensor | None
) -> Tensor:
    """Quality focal loss summed over all points and classes; positives weighted by rarity.

    The loss for quality 0 is computed everywhere and replaced at the few positives.
    """
    logits = logits.float()
    background = logits.sigmoid().square() * F.softplus(logits)
    if ignored is not None:
        background = background.masked_fill(ignored, 0.0)
    place = positives.frame, positives.point, label
    at_positives = rarity[label] * quality_focal_loss(logits[place], positives.quality)
    return background.sum() + (at_positives - background[place]).sum()


def iou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Elementwise IoU of broadcastable boxes (..., 4) -> (...); 0 for an empty box."""
    a, b = a_xyxy.float(), b_xyxy.float()
    wh = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(0)
    overlap = wh[..., 0] * wh[..., 1]
    return overlap / (_area(a) + _area(b) - overlap).clamp(min=EPS)


def quality_focal_loss(logits: Tensor, quality: Tensor, gamma: float = 2.0) -> Tensor:
    """Elementwise |quality - p|^gamma * BCE (arXiv 2006.04388), for soft targets."""
    logits, quality = logits.float(), quality.float()
    focus = (quality - logits.sigmoid()).abs().pow(gamma)
    return focus * F.binary_cross_entropy_with_logits(logits, quality, reduction="none")


def distribution_loss(logits: Tensor, value: Tensor, span: float) -> Tensor:
    """Distribution focal loss (arXiv 2006.04388): (..., bins) and (...) -> (...).

    The bins are evenly spaced values in +-span; the target is split between the two around `value`.
    Values outside the span are clamped to it.
    """
    bins = logits.shape[-1]
    place = (value.float().clamp(-span, span) + span) * ((bins - 1) / (2 * span))
    low = place.floor().long().clamp(max=bins - 2)[..., None]
    near, far = logits.float().log_softmax(-1).gather(-1, torch.cat([low, low + 1], -1)).unbind(-1)
    part = place - low[..., 0]
    return -(near * (1 - part) + far * part)


def _area(xyxy: Tensor) -> Tensor:
    wh = (xyxy[..., 2:] - xyxy[..., :2]).clamp(0)
    return wh[..., 0] * wh[..., 1]
