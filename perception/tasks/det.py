"""Detection without NMS outside the graph.

Dual assignment of YOLOv10 (arXiv 2405.14458) with one task-aligned metric for both. The box branch
is shared, so whichever head is deployed costs one score tower and one box tower. That is the
one-to-many head, whose doubles go inside the graph: as trained so far it ranks better than the
one-to-one head (docs/ablations.md).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import torch
from torch import Tensor, nn

from perception.classes import DETECTION
from perception.layers import ConvBlock, SeparableBlock
from perception.runtime.description import View
from perception.tasks.assign import Assigner, Grid, Positives
from perception.tasks.base import Metric, Raw, Target, Task
from perception.tasks.box_losses import ciou_loss, distribution_loss, quality_focal_loss

MAX_BOXES: Final = 100
CANDIDATES: Final = 300  # looked at for doubles before the best 100 are given
# Two boxes of a class that overlap more than this are one object seen twice.
DOUBLE_IOU: Final = 0.5
# Two boxes of any classes that overlap more than this are one object named twice.
SAME_IOU: Final = 0.9
ROUNDS: Final = 3
DOUBLED: Final = 1e-4  # what is left of the second's score
# Score every point starts with: few points are objects, and the first steps should not be spent
# on learning that.
PRIOR: Final = 0.01
# Size every box starts with, in strides: about the median object each level is responsible for.
START_SIZE: Final = 3.0
# Rare classes weigh at most this many times the most frequent one.
RARITY_LIMIT: Final = 5.0
# Centre offsets (strides) and log sizes that a distribution over bins can express: +-SPAN.
SPAN: Final = 3.0


@dataclass(frozen=True)
class Design:
    """What ablations vary. A variant is a subclass of Det with another `design`, nothing more."""

    topk: int = 10  # points a box in the one-to-many assignment
    alpha: float = 1.0  # of the score and
    beta: float = 3.0  # of the overlap in the metric that both assignments share
    fine_width: float = 0.5  # of the towers at stride 4, as a share of the neck's channels
    fine_blocks: int = 1
    blocks: int = 2  # of the towers at the other strides
    detach_one: bool = False  # whether the one-to-one scores leave trunk and neck alone
    bins: int = 16  # of the distribution that each number of a box is; 0: the number itself
    gamma: float = 2.0  # of the focal factor of the one-to-many scores, and of the
    one_gamma: float = 2.0  # one-to-one scores: less of it presses harder on double boxes
    box_weight: float = 2.0
    many_weight: float = 1.0  # of the one-to-many assignment's losses; 0: one-to-one alone
    deployed: Literal["many", "one"] = "many"  # whose scores are decoded
    rarity: float = 0.3  # classes weigh (most frequent / own count)^rarity; 0: all alike


class Det(Task):
    """Ten BDD100K classes on every level of the neck."""

    view: ClassVar[View] = View(kind="boxes", classes=DETECTION)
    score: ClassVar[str] = "mAP50"
    design: ClassVar[Design] = Design()

    def __init__(self, channels: int, strides: tuple[int, ...]) -> None:
        super().__init__(channels, strides)
        classes, coarse = len(self.view.classes), (channels, self.design.blocks)
        fine = (max(round(channels * self.design.fine_width), 8), self.design.fine_blocks)
        shapes = [fine if stride == 4 else coarse for stride in strides]
        prior = math.log(PRIOR / (1 - PRIOR))
        self.one = _branch(channels, shapes, classes, prior)
        self.many = _branch(channels, shapes, classes, prior)
        self.box = _branch(channels, shapes, 4 * max(self.design.bins, 1), 0.0)
        self.register_buffer("seen", torch.full((classes,), 100.0))
        self.seen: Tensor

    def forward(self, features: Sequence[Tensor]) -> Raw:
        """For each stride s: one{s} and many{s} (B, classes, h, w) logits, box{s} (B, 64, h, w).

        Centre offset and log size, 16 logits each: the expected value is what is meant (generalised
        focal loss, arXiv 2006.04388).
        """
        raw = {}
        for stride, x, one, many, box in zip(
            self.strides, features, self.one, self.many, self.box, strict=True
        ):
            raw[f"one{stride}"] = one(x.detach() if self.design.detach_one else x)
            raw[f"many{stride}"] = many(x)
            raw[f"box{stride}"] = box(x)
        return raw

    def loss(self, raw: Raw, target: Target) -> dict[str, Tensor]:
        """Score and box loss of both assignments. Ignored boxes neither teach nor punish."""
        grid = self._grid(raw)
        points = grid.points(target["classes"].device)
        deltas = self._flat(raw, "box").float()
        boxes = _to_xyxy(self._expected(deltas), points)
        truth, classes = target["boxes_xyxy"].float(), _learnable(target)
        rarity = self._rarity(classes)
        quiet = _ignored(target, points, len(rarity))

        losses = {}
        design = self.design
        heads = [("one", 1, design.one_gamma, 1.0)]
        if design.many_weight:
            heads = [("many", design.topk, design.gamma, design.many_weight), *heads]
        for head, topk, gamma, weight in heads:
            logits = self._flat(raw, head)
            assign = Assigner(topk, design.alpha, design.beta)
            chosen = assign(logits, boxes, truth, classes, grid)
            label, wanted = classes[chosen.frame, chosen.box], truth[chosen.frame, chosen.box]
            share = chosen.quality * rarity[label]
            # Frames without boxes must not shout: at least one object a frame.
            total = share.sum().clamp(min=len(logits))
            score = _score_loss(logits, chosen, label, rarity, quiet, gamma)
            losses[f"{head}_score"] = weight * score / total
            miss = ciou_loss(boxes[chosen.frame, chosen.point], wanted)
            if design.bins:
                guess = deltas[chosen.frame, chosen.point].unflatten(-1, (4, -1))
                offset = _to_deltas(wanted, points[chosen.point])
                miss = miss + distribution_loss(guess, offset, SPAN).mean(-1) / 4
            losses[f"{head}_box"] = weight * design.box_weight * (miss * share).sum() / total
        return losses

    def decode(self, raw: Raw) -> Tensor:
        """(B, 100, 6): x1 y1 x2 y2 score class, best first, from the head that is deployed.

        Doubled boxes go by one comparison of all pairs inside the graph, so that no consumer needs
        NMS.
        """
        logits = self._flat(raw, self.design.deployed).float()
        deltas = self._flat(raw, "box").float()
        points = self._grid(raw).points(logits.device)
        count = min(CANDIDATES, logits.shape[1])
        # The best (point, class) pairs lie on as many points with the best classes: two small sorts
        # instead of one over all pairs.
        _, point = logits.amax(2).topk(count)  # (B, 300)
        logits = logits.gather(1, point[..., None].expand(-1, -1, logits.shape[2]))
        best, pair = logits.flatten(1).topk(count)
        row = torch.div(pair, logits.shape[2], rounding_mode="trunc")
        label = (pair - row * logits.shape[2]).to(best.dtype)
        point = point.gather(1, row)
        deltas = deltas.gather(1, point[..., None].expand(-1, -1, deltas.shape[2]))
        boxes = _to_xyxy(self._expected(deltas), points[point])
        edge = (points[:, :2] + points[:, 2:] / 2).amax(0)  # width, height, also in a traced graph
        boxes = boxes.clamp(min=0).minimum(edge.repeat(2))
        scores = best.sigmoid() * first_of_its_kind(boxes, label)
        scores, order = scores.topk(min(MAX_BOXES, count))  # (B, 100)
        found = torch.cat([boxes, label[..., None]], 2)
        found = found.gather(1, order[..., None].expand(-1, -1, 5))
        found = torch.cat([found[..., :4], scores[..., None], found[..., 4:]], 2)
        return nn.functional.pad(found, (0, 0, 0, max(MAX_BOXES - count, 0)))

    def metric(self) -> Metric:
        from perception.metrics.detection import DetectionMetric

        return DetectionMetric(self.view.classes)

    def _grid(self, raw: Raw) -> Grid:
        sizes = tuple((raw[f"box{s}"].shape[2], raw[f"box{s}"].shape[3]) for s in self.strides)
        return Grid(sizes, self.strides)

    def _flat(self, raw: Raw, head: str) -> Tensor:
        """(B, A, outputs) of all levels."""
        return torch.cat([raw[f"{head}{s}"].flatten(2).transpose(1, 2) for s in self.strides], 1)

    def _expected(self, deltas: Tensor) -> Tensor:
        """The box branch's outputs (..., 4 or 4 * bins) as four numbers."""
        if not self.design.bins:
            return deltas
        values = torch.linspace(-SPAN, SPAN, self.design.bins, device=deltas.device)
        return (deltas.unflatten(-1, (4, self.design.bins)).softmax(-1) * values).sum(-1)

    def _rarity(self, classes: Tensor) -> Tensor:
        """(classes,) weights of positives; the counts are learned from the labels that pass by."""
        if self.training:
            present = classes[classes >= 0]
            self.seen += torch.bincount(present, minlength=len(self.seen)).to(self.seen.dtype)
        return (self.seen.max() / self.seen).pow(self.design.rarity).clamp(max=RARITY_LIMIT)


def first_of_its_kind(boxes: Tensor, label: Tensor) -> Tensor:
    """1 for each of (B, N, 4) boxes, best first, that is no double of a better one.

    A double overlaps a box of its class, or is nearly the same as one of any class. It gets
    DOUBLED: nearly nothing, and not zero, so that the order stays defined.
    Cluster NMS (arXiv 2005.03572): fixed shapes, no loop. After as many rounds as a chain of
    overlapping boxes is long it is NMS itself; a box that a double overlaps is no double for that.
    """
    area = (boxes[..., 2:] - boxes[..., :2]).prod(2)  # (B, N)
    low = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    high = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    shared = (high - low).clamp(min=0).prod(3)  # (B, N, N)
    union = area[:, :, None] + area[:, None] - shared
    rank = torch.arange(boxes.shape[1], device=boxes.device)
    better = rank[:, None] > rank[None]  # column j is better than row i
    alike = (shared > DOUBLE_IOU * union) & (label[:, :, None] == label[:, None])
    doubles = ((alike | (shared > SAME_IOU * union)) & better).to(boxes.dtype)
    first = torch.ones_like(area)
    for _ in range(ROUNDS):
        first = 1 - (doubles * first[:, None]).amax(2)
    return first + DOUBLED * (1 - first)


def _branch(
    channels: int, shapes: Sequence[tuple[int, int]], outputs: int, bias: float
) -> nn.ModuleList:
    """One tower of (width, blocks) a level; its `outputs` channels start at `bias`."""
    towers = nn.ModuleList()
    for width, blocks in shapes:
        layers: list[nn.Module] = [] if width == channels else [ConvBlock(channels, width)]
        layers += [SeparableBlock(width, width) for _ in range(blocks)]
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


def _to_deltas(xyxy: Tensor, points: Tensor) -> Tensor:
    """The inverse of _to_xyxy."""
    xy, stride = points[..., :2], points[..., 2:]
    centre, size = (xyxy[..., :2] + xyxy[..., 2:]) / 2, xyxy[..., 2:] - xyxy[..., :2]
    return torch.cat([(centre - xy) / stride, (size / (stride * START_SIZE)).log()], -1)


def _learnable(target: Target) -> Tensor:
    """The classes (B, M) with -1 also where a box is ignored or has no area."""
    size = target["boxes_xyxy"][..., 2:] - target["boxes_xyxy"][..., :2]
    return torch.where(~target["ignore"] & (size > 0).all(-1), target["classes"], -1)


def _ignored(target: Target, points: Tensor, classes: int) -> Tensor | None:
    """(B, A, classes) bool: points in ignored boxes, where saying the box's class is no mistake."""
    frame, box = target["ignore"].nonzero(as_tuple=True)
    if len(frame) == 0:
        return None
    xyxy, label = target["boxes_xyxy"][frame, box].float(), target["classes"][frame, box]
    xy = points[:, :2]
    inside = ((xy > xyxy[:, None, :2]) & (xy < xyxy[:, None, 2:])).all(-1)  # (I, A)
    # An ignored box without a class silences all of them.
    named = label[:, None] == torch.arange(classes, device=xyxy.device)
    hit = inside[:, :, None] & (named | (label < 0)[:, None])[:, None, :]  # (I, A, classes)
    quiet = xyxy.new_zeros(len(target["ignore"]), *hit.shape[1:])
    return quiet.index_put((frame,), hit.float(), accumulate=True) > 0


def _score_loss(
    logits: Tensor,
    chosen: Positives,
    label: Tensor,
    rarity: Tensor,
    quiet: Tensor | None,
    gamma: float,
) -> Tensor:
    """Summed over all points: the chosen should reach their quality, the others zero."""
    wanted = torch.zeros_like(logits, dtype=torch.float32)
    wanted[chosen.frame, chosen.point, label] = chosen.quality
    weight = torch.ones_like(wanted)
    if quiet is not None:
        weight = weight.masked_fill(quiet, 0.0)
    weight[chosen.frame, chosen.point, label] = rarity[label]
    return (weight * quality_focal_loss(logits, wanted, gamma)).sum()
