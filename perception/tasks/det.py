"""Object detection that needs no NMS outside the exported graph.

Dual assignment of YOLOv10 (arXiv 2405.14458) with one task-aligned metric for both. The box branch
is shared, so deployment costs one score tower and one box tower. Deployed are the one-to-many
scores with duplicates merged inside the graph: they rank better than the one-to-one scores
(docs/ablations.md).
"""

import math
from collections.abc import Sequence
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import complete_box_iou_loss

from perception.classes import COCO, DETECTION, VOC_OBJECTS
from perception.layers import ConvBlock, SeparableBlock
from perception.metrics.base import Metric
from perception.metrics.detection import DetectionMetric
from perception.runtime.view import View
from perception.tasks.base import LossPart, Raw, Target, Task
from perception.tasks.det_training import (
    Assigner,
    Candidates,
    Grid,
    Positives,
    distribution_loss,
    find_candidates,
    ignored_points,
    iou,
    score_loss,
    trainable_classes,
)
from perception.tasks.duplicates import cluster_nms

MAX_BOXES: Final = 300  # as in the panoptic driving protocol; BDD100K's takes 100 per class
CANDIDATES: Final = 600  # before duplicates are merged
# Points per box in the two assignments. Both choose by score * IoU^3 (Assigner's defaults).
ASSIGNERS: Final = {"many": Assigner(10), "one": Assigner(1)}
# Initial score of every point (arXiv 1708.02002, section 4.1).
PRIOR: Final = 0.01
# Initial size of every box, in strides: about the median object of each level.
START_SIZE: Final = 3.0
# Positives are weighted by (most frequent class / own class count)^RARITY, at most RARITY_LIMIT.
RARITY: Final = 0.3
RARITY_LIMIT: Final = 5.0
# Each number of a box is the mean of a distribution over BINS values in +-SPAN.
BINS: Final = 16
SPAN: Final = 3.0
BOX_WEIGHT: Final = 2.0


class Det(Task):
    """Boxes of the ten BDD100K classes, on every level of the neck."""

    view = View(kind="boxes", classes=DETECTION)
    score = "mAP50"
    loss_parts = ("many_score", "many_box", "one_score", "one_box")
    counters = ("seen",)
    seen: Tensor  # (classes,) labels seen in training

    def __init__(self, channels: int, strides: tuple[int, ...], view: View | None = None) -> None:
        super().__init__(channels, strides, view)
        classes = len(self.view.classes)
        # (width, blocks) of the towers; narrower at stride 4, which has most of the points
        shapes = [(max(channels // 2, 8), 1) if s == 4 else (channels, 2) for s in strides]
        prior = math.log(PRIOR / (1 - PRIOR))
        self.one = _branch(channels, shapes, classes, prior)
        self.many = _branch(channels, shapes, classes, prior)
        self.box = _branch(channels, shapes, 4 * BINS, 0.0)
        self.last: nn.ModuleList | None = None  # of the box towers, after for_inference
        self.register_buffer("seen", torch.full((classes,), 100.0))

    def class_rows(self, view: View) -> dict[str, tuple[str, ...]]:
        rows = {"seen": view.classes}
        for name, towers in {"one": self.one, "many": self.many}.items():
            for level, tower in enumerate(towers):
                last = f"{name}.{level}.{len(cast(nn.Sequential, tower)) - 1}"
                rows |= {f"{last}.weight": view.classes, f"{last}.bias": view.classes}
        return rows

    def forward(self, features: Sequence[Tensor]) -> Raw:
        """For each stride s: one{s} and many{s} (B, classes, h, w) logits, box{s} (B, 64, h, w).

        A box is its centre offset and log size, 16 logits each; their expected value is decoded
        (generalised focal loss, arXiv 2006.04388).
        """
        raw = {}
        for stride, x, one, many, box in zip(
            self.strides, features, self.one, self.many, self.box, strict=True
        ):
            raw[f"one{stride}"], raw[f"many{stride}"] = one(x), many(x)
            raw[f"box{stride}"] = box(x)
        return raw

    def loss(self, raw: Raw, target: Target) -> dict[str, LossPart]:
        """Score and box loss of both assignments. Ignored boxes contribute no loss.

        Each is normalised by the summed quality of its positives, at least 1 per frame.
        """
        grid = self._grid(raw)
        points = grid.points(target["classes"].device)
        truth, classes = target["boxes_xyxy"].float(), trainable_classes(target)
        candidates = find_candidates(truth, classes >= 0, grid)
        box = self._channels_first(raw, "box")  # (B, 4 * BINS, A)
        overlap = _overlaps(box, candidates, truth, points)
        rarity = (self.seen.max() / self.seen).pow(RARITY).clamp(max=RARITY_LIMIT)
        ignored = ignored_points(target, points, len(rarity))
        logits = {head: self._channels_first(raw, head).transpose(1, 2) for head in ASSIGNERS}
        chosen = {
            head: assign(candidates, _class_scores(logits[head], candidates, classes), overlap)
            for head, assign in ASSIGNERS.items()
        }
        box_losses = _box_losses(box, list(chosen.values()), truth, points)
        losses = {}
        for (head, positives), box_loss in zip(chosen.items(), box_losses, strict=True):
            label = classes[positives.frame, positives.box]
            share = positives.quality * rarity[label]
            per_frame = share.new_zeros(len(truth)).index_add(0, positives.frame, share)
            count = per_frame.clamp(min=1).sum()
            score = score_loss(logits[head], positives, label, rarity, ignored)
            losses[f"{head}_score"] = LossPart(score, count)
            losses[f"{head}_box"] = LossPart(BOX_WEIGHT * (box_loss * share).sum(), count)
        if self.training:
            self.seen += torch.bincount(classes[classes >= 0], minlength=len(rarity))
        return losses

    def decode(self, raw: Raw) -> Tensor:
        """(B, 300, 6): x1 y1 x2 y2 score class, best first.

        Duplicates are merged by one comparison of all pairs inside the graph: consumers need no
        NMS.
        """
        logits = self._channels_first(raw, "many").float()
        points = self._grid(raw).points(logits.device)
        count = min(CANDIDATES, logits.shape[2])
        # The best (point, class) pairs lie on as many points with the best classes: two small sorts
        # instead of one over all pairs.
        _, point = logits.amax(1).topk(count)  # (B, 600)
        logits = _at(logits, point)
        best, pair = logits.flatten(1).topk(count)
        row = torch.div(pair, logits.shape[2], rounding_mode="trunc")
        label = (pair - row * logits.shape[2]).to(best.dtype)
        point = point.gather(1, row)
        boxes = _to_xyxy(_expected(self._box_at(raw, point).float()), points[point])
        edge = (points[:, :2] + points[:, 2:] / 2).amax(0)  # width, height, also in a traced graph
        boxes = boxes.clamp(min=0).minimum(edge.repeat(2))
        boxes, scores = cluster_nms(boxes, best.sigmoid(), label)
        scores, order = scores.topk(min(MAX_BOXES, count))  # (B, 300)
        found = torch.cat([boxes, label[..., None]], 2)
        found = found.gather(1, order[..., None].expand(-1, -1, 5))
        found = torch.cat([found[..., :4], scores[..., None], found[..., 4:]], 2)
        return F.pad(found, (0, 0, 0, max(MAX_BOXES - count, 0)))

    @classmethod
    def metric(cls, view: View) -> Metric:
        return DetectionMetric(view.classes)

    def _grid(self, raw: Raw) -> Grid:
        sizes = tuple((raw[f"box{s}"].shape[2], raw[f"box{s}"].shape[3]) for s in self.strides)
        return Grid(sizes, self.strides)

    def for_inference(self) -> None:
        """The last layers of the box towers are computed at the chosen points only."""
        self.last = nn.ModuleList(cast(nn.Sequential, tower).pop(-1) for tower in self.box)

    def _box_at(self, raw: Raw, point: Tensor) -> Tensor:
        """(B, N, 64) logits of the boxes at points (B, N)."""
        if self.last is None:
            return _at(self._channels_first(raw, "box"), point)
        start, found = 0, torch.zeros(())
        for stride, last in zip(self.strides, self.last, strict=True):
            feature = raw[f"box{stride}"].flatten(2)
            count = feature.shape[2]
            own = (point - start).clamp(0, count - 1)
            logits = last(_at(feature, own).transpose(1, 2)[..., None])[..., 0].transpose(1, 2)
            found = torch.where((point >= start)[..., None], logits, found) if start else logits
            start += count
        return found

    def _channels_first(self, raw: Raw, head: str) -> Tensor:
        """(B, outputs, A) of all levels."""
        return torch.cat([raw[f"{head}{s}"].flatten(2) for s in self.strides], 2)


class DetCOCO(Det):
    """Boxes of the 80 classes of COCO."""

    view = View(kind="boxes", classes=COCO)


class DetVOC(Det):
    """Boxes of the 20 classes of Pascal VOC."""

    view = View(kind="boxes", classes=VOC_OBJECTS)


def _at(maps: Tensor, point: Tensor) -> Tensor:
    """(B, outputs, A) at points (B, N) -> (B, N, outputs)."""
    return maps.gather(2, point[:, None].expand(-1, maps.shape[1], -1)).transpose(1, 2)


def _branch(
    channels: int, shapes: Sequence[tuple[int, int]], outputs: int, bias: float
) -> nn.ModuleList:
    """One tower of (width, blocks) per level; its `outputs` channels start at `bias`."""
    towers = nn.ModuleList()
    for width, blocks in shapes:
        layers: list[nn.Module] = [] if width == channels else [ConvBlock(channels, width)]
        layers += [SeparableBlock(width, width) for _ in range(blocks)]
        last = nn.Conv2d(width, outputs, 1)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.constant_(last.bias, bias)  # type: ignore[arg-type]
        towers.append(nn.Sequential(*layers, last))
    return towers


def _expected(deltas: Tensor) -> Tensor:
    """Means of the distributions: (..., 4 * BINS) -> (..., 4)."""
    values = torch.linspace(-SPAN, SPAN, BINS, device=deltas.device)
    return (deltas.unflatten(-1, (4, BINS)).softmax(-1) * values).sum(-1)


def _to_xyxy(deltas: Tensor, points: Tensor) -> Tensor:
    """Centre offset and log size, in strides -> corners in pixels.

    Centre and size instead of four distances: a box smaller than a cell may contain no point.
    """
    xy, stride = points[..., :2], points[..., 2:]
    centre = xy + deltas[..., :2] * stride
    half = deltas[..., 2:].clamp(-5, 5).exp() * stride * (START_SIZE / 2)
    return torch.cat([centre - half, centre + half], -1)


def _to_deltas(xyxy: Tensor, points: Tensor) -> Tensor:
    """The inverse of _to_xyxy."""
    xy, stride = points[..., :2], points[..., 2:]
    centre, size = (xyxy[..., :2] + xyxy[..., 2:]) / 2, xyxy[..., 2:] - xyxy[..., :2]
    return torch.cat([(centre - xy) / stride, (size / (stride * START_SIZE)).log()], -1)


def _deltas(box: Tensor, frame: Tensor, point: Tensor) -> Tensor:
    """(K, 4 * BINS) float32 of the box outputs (B, 4 * BINS, A) at K (frame, point) pairs.

    They have 64 numbers at each of 20,400 points, of which assignment and loss need a few hundred.
    """
    return box.transpose(1, 2)[frame, point].float()


@torch.no_grad()
def _overlaps(box: Tensor, candidates: Candidates, truth: Tensor, points: Tensor) -> Tensor:
    """(B, M, N) IoU of the predictions at the allowed candidates with their boxes."""
    frame, row, index = candidates.allowed.nonzero(as_tuple=True)
    point = candidates.point[frame, row, index]
    boxes = _to_xyxy(_expected(_deltas(box, frame, point)), points[point])
    overlap = torch.zeros_like(candidates.near)
    overlap[frame, row, index] = iou(boxes, truth[frame, row])
    return overlap


def _box_losses(
    box: Tensor, chosen: Sequence[Positives], truth: Tensor, points: Tensor
) -> Sequence[Tensor]:
    """(P,) CIoU and distribution loss of each assignment's positives, gathered once."""
    frame, point, row = (
        torch.cat([getattr(positives, name) for positives in chosen])
        for name in ("frame", "point", "box")
    )
    wanted, deltas = truth[frame, row], _deltas(box, frame, point)
    boxes = _to_xyxy(_expected(deltas), points[point])
    loss = complete_box_iou_loss(boxes, wanted)  # arXiv 1911.08287
    offset = _to_deltas(wanted, points[point])
    loss = loss + distribution_loss(deltas.unflatten(-1, (4, BINS)), offset, SPAN).mean(-1) / 4
    return loss.split([len(positives.frame) for positives in chosen])


def _class_scores(logits: Tensor, candidates: Candidates, classes: Tensor) -> Tensor:
    """The score of each box's own class at its candidates: (B, M, N)."""
    frame = torch.arange(len(logits), device=logits.device)[:, None, None]
    chosen = logits.detach()[frame, candidates.point, classes.clamp(min=0)[:, :, None]]
    return chosen.float().sigmoid()
