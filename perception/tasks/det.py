"""Detection without NMS: a one-to-many head teaches, a one-to-one head is deployed.

Dual assignment of YOLOv10 (arXiv 2405.14458) with one task-aligned metric for both. The box branch
is shared, so the deployed head costs one score tower and one box tower.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from perception.classes import DETECTION
from perception.layers import ConvBlock, SeparableBlock
from perception.runtime.description import View
from perception.tasks.assign import Assigner, Grid, Positives
from perception.tasks.base import Metric, Raw, Target, Task
from perception.tasks.box_losses import ciou_loss, quality_focal_loss

MAX_BOXES = 100
# Score every point starts with: few points are objects, and the first steps should not be spent
# on learning that.
PRIOR = 0.01
# Size every box starts with, in strides: about the median object each level is responsible for.
START_SIZE = 3.0
BOX_WEIGHT = 2.0
# Rare classes weigh (most frequent / own count)^RARITY, at most RARITY_LIMIT times the common ones.
RARITY, RARITY_LIMIT = 0.3, 5.0


class Det(Task):
    """Ten BDD100K classes on every level of the neck."""

    view: ClassVar[View] = View(kind="boxes", classes=DETECTION)
    score: ClassVar[str] = "mAP50"

    def __init__(self, channels: int, strides: tuple[int, ...]) -> None:
        super().__init__(channels, strides)
        classes = len(self.view.classes)
        fine = max(channels // 2, 16)
        widths = [fine if stride == 4 else channels for stride in strides]
        blocks = [1 if stride == 4 else 2 for stride in strides]
        prior = math.log(PRIOR / (1 - PRIOR))
        self.one = _branch(channels, widths, blocks, classes, prior)
        self.many = _branch(channels, widths, blocks, classes, prior)
        self.box = _branch(channels, widths, blocks, 4, 0.0)
        self.assign_one, self.assign_many = Assigner(topk=1), Assigner(topk=10)
        self.register_buffer("seen", torch.full((classes,), 100.0))
        self.seen: Tensor

    def forward(self, features: Sequence[Tensor]) -> Raw:
        """For each stride s: one{s} and many{s} (B, classes, h, w) logits, box{s} (B, 4, h, w)."""
        raw = {}
        for stride, x, one, many, box in zip(
            self.strides, features, self.one, self.many, self.box, strict=True
        ):
            raw[f"one{stride}"] = one(x)
            raw[f"many{stride}"] = many(x)
            raw[f"box{stride}"] = box(x)
        return raw

    def loss(self, raw: Raw, target: Target) -> dict[str, Tensor]:
        """Score and box loss of both assignments. Ignored boxes neither teach nor punish."""
        grid = self._grid(raw)
        boxes = self._boxes(raw, grid)
        truth, classes = target["boxes_xyxy"].float(), target["classes"]
        size = truth[..., 2:] - truth[..., :2]
        known = (classes >= 0) & ~target["ignore"] & (size > 0).all(-1)
        classes = torch.where(known, classes, -1)
        quiet = _ignored(target, grid, len(self.view.classes))
        rarity = self._rarity(classes)

        losses = {}
        for head, assigner in (("many", self.assign_many), ("one", self.assign_one)):
            logits = self._flat(raw, head)
            positives = assigner(logits, boxes, truth, classes, grid)
            score, box = _losses(logits, boxes, truth, classes, positives, quiet, rarity)
            losses[f"{head}_score"], losses[f"{head}_box"] = score, BOX_WEIGHT * box
        return losses

    def decode(self, raw: Raw) -> Tensor:
        """(B, 100, 6): x1 y1 x2 y2 score class, best first, from the one-to-one head alone."""
        logits, deltas = self._flat(raw, "one").float(), self._flat(raw, "box").float()
        points = self._grid(raw).points(logits.device)
        count = min(MAX_BOXES, logits.shape[1])
        # The 100 best (point, class) pairs lie on the 100 points with the best classes: two small
        # sorts instead of one over all pairs.
        _, point = logits.amax(2).topk(count)  # (B, 100)
        logits = logits.gather(1, point[..., None].expand(-1, -1, logits.shape[2]))
        best, pair = logits.flatten(1).topk(count)
        row = torch.div(pair, logits.shape[2], rounding_mode="floor")
        label = (pair - row * logits.shape[2]).to(best.dtype)
        point = point.gather(1, row)
        deltas = deltas.gather(1, point[..., None].expand(-1, -1, 4))
        boxes = _to_xyxy(deltas, points[point])
        found = torch.cat([boxes, best.sigmoid()[..., None], label[..., None]], 2)
        return nn.functional.pad(found, (0, 0, 0, MAX_BOXES - count))

    def metric(self) -> Metric:
        from perception.metrics.detection import DetectionMetric

        return DetectionMetric(self.view.classes)

    def _grid(self, raw: Raw) -> Grid:
        sizes = tuple((raw[f"box{s}"].shape[2], raw[f"box{s}"].shape[3]) for s in self.strides)
        return Grid(sizes, self.strides)

    def _flat(self, raw: Raw, head: str) -> Tensor:
        """(B, A, outputs) of all levels."""
        return torch.cat([raw[f"{head}{s}"].flatten(2).transpose(1, 2) for s in self.strides], 1)

    def _boxes(self, raw: Raw, grid: Grid) -> Tensor:
        deltas = self._flat(raw, "box").float()
        return _to_xyxy(deltas, grid.points(deltas.device))

    def _rarity(self, classes: Tensor) -> Tensor:
        """(classes,) weights of positives; the counts are learned from the labels that pass by."""
        if self.training:
            present = classes[classes >= 0]
            self.seen += torch.bincount(present, minlength=len(self.seen)).to(self.seen.dtype)
        return (self.seen.max() / self.seen).pow(RARITY).clamp(max=RARITY_LIMIT)


def _branch(
    channels: int, widths: list[int], blocks: list[int], outputs: int, bias: float
) -> nn.ModuleList:
    """One tower a level, ending in `outputs` channels whose bias starts at `bias`."""
    towers = nn.ModuleList()
    for width, depth in zip(widths, blocks, strict=True):
        layers: list[nn.Module] = []
        if width != channels:
            layers.append(ConvBlock(channels, width))
        layers += [SeparableBlock(width, width) for _ in range(depth)]
        last = nn.Conv2d(width, outputs, 1)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.constant_(last.bias, bias)  # type: ignore[arg-type]
        towers.append(nn.Sequential(*layers, last))
    return towers


def _to_xyxy(deltas: Tensor, points: Tensor) -> Tensor:
    """Centre offset and log size, in strides -> corners in pixels.

    Centre and size rather than four distances: a box smaller than a cell may hold no point at all.
    """
    xy, stride = points[..., :2], points[..., 2:]
    centre = xy + deltas[..., :2] * stride
    half = deltas[..., 2:].clamp(-5, 5).exp() * stride * (START_SIZE / 2)
    return torch.cat([centre - half, centre + half], -1)


def _ignored(target: Target, grid: Grid, classes: int) -> Tensor | None:
    """(B, A, classes) bool: points in ignored boxes, where saying the box's class is no mistake."""
    frame, box = target["ignore"].nonzero(as_tuple=True)
    if len(frame) == 0:
        return None
    xyxy, label = target["boxes_xyxy"][frame, box].float(), target["classes"][frame, box]
    xy = grid.points(xyxy.device)[:, :2]
    inside = ((xy > xyxy[:, None, :2]) & (xy < xyxy[:, None, 2:])).all(-1)  # (I, A)
    # An ignored box without a class silences all of them.
    named = label[:, None] == torch.arange(classes, device=xyxy.device)
    hit = inside[:, :, None] & (named | (label < 0)[:, None])[:, None, :]  # (I, A, classes)
    quiet = xyxy.new_zeros(len(target["ignore"]), *hit.shape[1:])
    return quiet.index_put((frame,), hit.float(), accumulate=True) > 0


def _losses(
    logits: Tensor,
    boxes: Tensor,
    truth: Tensor,
    classes: Tensor,
    positives: Positives,
    quiet: Tensor | None,
    rarity: Tensor,
) -> tuple[Tensor, Tensor]:
    """Score and box loss of one head, both divided by the quality to be reached in all."""
    frame, point, quality = positives.frame, positives.point, positives.quality
    label = classes[frame, positives.box]
    wanted = torch.zeros_like(logits, dtype=torch.float32)
    wanted[frame, point, label] = quality
    weight = torch.ones_like(wanted)
    if quiet is not None:
        weight = weight.masked_fill(quiet, 0.0)
    weight[frame, point, label] = rarity[label]
    share = quality * rarity[label]
    total = share.sum().clamp(min=len(logits))  # frames without boxes must not shout
    score = (weight * quality_focal_loss(logits, wanted)).sum() / total
    miss = ciou_loss(boxes[frame, point], truth[frame, positives.box])
    return score, (miss * share).sum() / total
