"""Task-aligned assignment (TOOD, arXiv 2108.07755): which points of the pyramid learn which box.

Candidates are the points around a box's centre on every level, found by index arithmetic, so the
cost grows with the number of boxes and not with points times boxes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from perception.tasks.box_losses import iou

# Points looked at on each level: (2 * REACH + 1)^2 around the one that holds the box's centre.
REACH = 2
# A box that no prediction touches yet still needs points: the overlap they are credited with.
TOUCH = 0.01


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
    def __call__(
        self,
        logits: Tensor,
        boxes: Tensor,
        truth_xyxy: Tensor,
        classes: Tensor,
        grid: Grid,
    ) -> Positives:
        """logits (B, A, C), boxes (B, A, 4) xyxy; truth (B, M, 4), classes (B, M), -1 = no box."""
        point, near, allowed = candidates(truth_xyxy, classes >= 0, grid)  # (B, M, N)
        overlap = iou(_take(boxes, point), truth_xyxy[:, :, None])
        overlap = torch.maximum(overlap, TOUCH * near)
        score = _take_class(logits, point, classes).float().sigmoid()
        fit = score.pow(self.alpha) * overlap.pow(self.beta)
        chosen = self._choose(fit, point, allowed, logits.shape[1])

        best_fit = (fit * chosen).amax(2, keepdim=True).clamp(min=1e-30)
        best_overlap = (overlap * chosen).amax(2, keepdim=True)
        quality = fit / best_fit * best_overlap
        frame, box, index = chosen.nonzero(as_tuple=True)
        return Positives(frame, point[frame, box, index], box, quality[frame, box, index])

    def _choose(self, fit: Tensor, point: Tensor, allowed: Tensor, points: int) -> Tensor:
        """(B, M, N) bool: at most topk a box, at most one box a point."""
        batch, boxes, count = fit.shape
        chosen = torch.zeros_like(allowed)
        if boxes == 0:
            return chosen
        slot = point + torch.arange(batch, device=fit.device)[:, None, None] * points
        taken = fit.new_zeros(batch * points, dtype=torch.bool)
        for _ in range(self.rounds):
            waiting = ~chosen.any(2, keepdim=True)
            wanted = fit.masked_fill(~(allowed & waiting & ~taken[slot]), -1.0)
            value, order = wanted.topk(min(self.topk, count), dim=2)
            won = (value >= 0) & _wins(value, slot.gather(2, order), batch * points)
            chosen = chosen | torch.zeros_like(chosen).scatter(2, order, won)
            taken = taken.index_fill(0, slot[chosen], True)
        return chosen


def candidates(truth_xyxy: Tensor, valid: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """Points near each box's centre: index (B, M, N), nearness in (0, 1], and whether allowed.

    Allowed are points inside the box; a box smaller than the finest cells is widened to them,
    otherwise the far traffic light would fall between all points and never be learned.
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
    return torch.cat(index, 2), torch.cat(near, 2), torch.cat(allowed, 2)


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


def _take(values: Tensor, point: Tensor) -> Tensor:
    """values (B, A, D) at point (B, M, N) -> (B, M, N, D)."""
    frame = torch.arange(values.shape[0], device=values.device)[:, None, None]
    return values[frame, point]


def _take_class(logits: Tensor, point: Tensor, classes: Tensor) -> Tensor:
    """The logit of each box's own class at its candidates: (B, M, N)."""
    frame = torch.arange(logits.shape[0], device=logits.device)[:, None, None]
    return logits[frame, point, classes.clamp(min=0)[:, :, None]]
