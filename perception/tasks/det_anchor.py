"""The baseline's detection head: YOLOv5-style anchors on three scales, made unique by NMS.

As YOLOP (arXiv 2108.11250) uses it: one 1x1 convolution a scale, objectness, class and CIoU.
"""

import math
from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import pad
from torchvision.ops import nms

from perception.classes import DETECTION
from perception.runtime.description import View
from perception.tasks.base import Metric, Raw, Target, Task
from perception.tasks.box_losses import ciou_loss

# Width and height by stride, from k-means over the log sizes of BDD100K's boxes in a frame 640
# pixels wide; 99.9 % of the boxes are within a factor of 4 of one of them.
ANCHORS: Final = {
    8: ((5.0, 6.0), (10.0, 6.0), (7.0, 13.0)),
    16: ((15.0, 11.0), (13.0, 29.0), (27.0, 18.0)),
    32: ((40.0, 35.0), (77.0, 60.0), (167.0, 138.0)),
}
ANCHOR_FRAME_WIDTH: Final = 640
# A box belongs to every anchor within this factor of its width and height.
REACH: Final = 4.0
# Weights of the scales' objectness: the fine scale has most of the points.
BALANCE: Final = {8: 4.0, 16: 1.0, 32: 0.4}
# YOLOv5's ratio of 1 : 0.05 : 0.5 * classes / 80, as a whole 30 times larger: about as large as
# the losses of the other tasks, so that neither drowns in the sum.
OBJECT_WEIGHT, BOX_WEIGHT, CLASS_WEIGHT = 30.0, 1.5, 1.9
MAX_BOXES: Final = 100
NMS_CANDIDATES: Final = 1000
NMS_IOU: Final = 0.6


class Matches(NamedTuple):
    """P (frame, anchor, cell) places of one scale that should show a box."""

    frame: Tensor  # (P,) int64, as are the indices below
    anchor: Tensor
    y: Tensor
    x: Tensor
    xyxy: Tensor  # (P, 4) float32 pixels
    label: Tensor  # (P,) int64


class AnchorDet(Task):
    """Ten BDD100K classes; strides without anchors are not looked at."""

    view: ClassVar[View] = View(kind="boxes", classes=DETECTION)
    score: ClassVar[str] = "mAP50"

    def __init__(self, channels: int, strides: tuple[int, ...]) -> None:
        super().__init__(channels, strides)
        self.outputs = 5 + len(self.view.classes)
        self.scales = tuple(s for s in strides if s in ANCHORS)
        self.predict = nn.ModuleDict(
            {str(s): _predictor(channels, s, self.outputs) for s in self.scales}
        )

    def forward(self, features: Sequence[Tensor]) -> Raw:
        """For each scale of stride s: anchors{s} (B, 3, 5 + classes, h, w) logits."""
        raw = {}
        for stride, x in zip(self.strides, features, strict=True):
            if stride in self.scales:
                y = self.predict[str(stride)](x)
                raw[f"anchors{stride}"] = y.view(-1, 3, self.outputs, *y.shape[2:])
        return raw

    def loss(self, raw: Raw, target: Target) -> dict[str, Tensor]:
        """Objectness to reach the box's IoU everywhere; box and class where a box is matched."""
        parts: dict[str, list[Tensor]] = {"object": [], "box": [], "class": []}
        for s in self.scales:
            for name, value in zip(parts, self._scale_loss(raw, s, target), strict=True):
                parts[name].append(value)
        weights = (OBJECT_WEIGHT, BOX_WEIGHT, CLASS_WEIGHT)
        return {
            name: weight * torch.stack(values).sum()
            for weight, (name, values) in zip(weights, parts.items(), strict=True)
        }

    def _scale_loss(self, raw: Raw, stride: int, target: Target) -> tuple[Tensor, Tensor, Tensor]:
        logits = raw[f"anchors{stride}"].float().permute(0, 1, 3, 4, 2)  # (B, 3, h, w, outputs)
        anchors = _anchors(stride, logits.shape[3], logits.device)
        matches = _match(target, anchors, stride, logits.shape[2:4])
        place = (matches.frame, matches.anchor, matches.y, matches.x)
        found = _boxes(logits, anchors, stride)[place]
        miss = ciou_loss(found, matches.xyxy)
        presence = torch.zeros_like(logits[..., 4])
        presence[place] = (1 - miss).detach().clamp(0)
        heard = (~_ignored(target, stride, logits.shape[2:4])[:, None]) | (presence > 0)
        objectness = (bce(logits[..., 4], presence, reduction="none") * heard).mean()
        classes = logits[..., 5:][place]
        wanted = torch.zeros_like(classes)
        wanted[torch.arange(len(wanted), device=wanted.device), matches.label] = 1.0
        # Sums over at least one: without a match both are zero and not the mean of nothing.
        count = max(len(miss), 1)
        kind = bce(classes, wanted, reduction="sum") / (count * wanted.shape[1])
        return BALANCE[stride] * objectness, miss.sum() / count, kind

    def decode(self, raw: Raw) -> Tensor:
        """(B, 100, 6): x1 y1 x2 y2 score class, best first, after NMS in each class."""
        boxes, scores = [], []
        for s in self.scales:
            logits = raw[f"anchors{s}"].float().permute(0, 1, 3, 4, 2)
            boxes.append(_boxes(logits, _anchors(s, logits.shape[3], logits.device), s))
            scores.append(logits[..., 4:5].sigmoid() * logits[..., 5:].sigmoid())
        flat = [torch.cat([v.flatten(1, 3) for v in values], 1) for values in (boxes, scores)]
        return torch.stack([_unique(*frame) for frame in zip(*flat, strict=True)])

    def metric(self) -> Metric:
        from perception.metrics.detection import DetectionMetric

        return DetectionMetric(self.view.classes)


def _predictor(channels: int, stride: int, outputs: int) -> nn.Conv2d:
    """Starts at eight objects a frame of 640x640 (RetinaNet's prior, as YOLOv5 sets it)."""
    layer = nn.Conv2d(channels, 3 * outputs, 1)
    with torch.no_grad():
        bias = layer.bias.view(3, outputs)  # type: ignore[union-attr]
        bias[:, 4] += math.log(8 / (640 / stride) ** 2)
        bias[:, 5:] += math.log(0.6 / (outputs - 5 - 0.99))
    return layer


def _anchors(stride: int, cells: int, device: torch.device) -> Tensor:
    """(3, 2) width and height in pixels of this frame, whose rows have `cells` cells."""
    scale = cells * stride / ANCHOR_FRAME_WIDTH
    return torch.tensor(ANCHORS[stride], device=device) * scale


def _boxes(logits: Tensor, anchors: Tensor, stride: int) -> Tensor:
    """(B, 3, h, w, outputs) -> (B, 3, h, w, 4) corners in pixels, by YOLOv5's bounded formula."""
    height, width = logits.shape[2:4]
    y = torch.arange(height, device=logits.device, dtype=torch.float32)
    x = torch.arange(width, device=logits.device, dtype=torch.float32)
    cell = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)
    centre = (logits[..., :2].sigmoid() * 2 - 0.5 + cell) * stride
    half = (logits[..., 2:4].sigmoid() * 2).square() * anchors[:, None, None] / 2
    return torch.cat([centre - half, centre + half], -1)


def _match(target: Target, anchors: Tensor, stride: int, size_hw: Sequence[int]) -> Matches:
    """Each box to the anchors of its size, in its own cell and the nearest cell of each axis."""
    size = target["boxes_xyxy"][..., 2:] - target["boxes_xyxy"][..., :2]
    known = (target["classes"] >= 0) & ~target["ignore"] & (size > 0).all(-1)
    frame, box = known.nonzero(as_tuple=True)
    xyxy, label = target["boxes_xyxy"][frame, box].float(), target["classes"][frame, box]
    ratio = (xyxy[:, None, 2:] - xyxy[:, None, :2]) / anchors  # (N, 3, 2)
    fits = torch.maximum(ratio, 1 / ratio).amax(-1) < REACH
    row, anchor = fits.nonzero(as_tuple=True)
    centre = (xyxy[row, :2] + xyxy[row, 2:]) / 2 / stride  # (K, 2) in cells
    own = centre.floor()
    side = torch.where(centre - own < 0.5, -1.0, 1.0)
    step = torch.tensor([[0.0, 0], [1, 0], [0, 1]], device=centre.device)
    cells = (own[:, None] + side[:, None] * step).long()  # (K, 3, 2)
    limit = torch.tensor([size_hw[1], size_hw[0]], device=centre.device)
    pick, near = ((cells >= 0) & (cells < limit)).all(-1).nonzero(as_tuple=True)
    x, y = cells[pick, near].unbind(-1)
    row, anchor = row[pick], anchor[pick]
    return Matches(frame[row], anchor, y, x, xyxy[row], label[row])


def _ignored(target: Target, stride: int, size_hw: Sequence[int]) -> Tensor:
    """(B, h, w) bool: cells whose centre lies in an ignored box."""
    device = target["ignore"].device
    mask = torch.zeros(len(target["ignore"]), *size_hw, dtype=torch.bool, device=device)
    y = (torch.arange(size_hw[0], device=device) + 0.5) * stride
    x = (torch.arange(size_hw[1], device=device) + 0.5) * stride
    for frame, box in target["ignore"].nonzero().tolist():
        x1, y1, x2, y2 = target["boxes_xyxy"][frame, box]
        mask[frame] |= ((y > y1) & (y < y2))[:, None] & ((x > x1) & (x < x2))
    return mask


def _unique(boxes: Tensor, scores: Tensor) -> Tensor:
    """Boxes (A, 4), scores (A, classes) of one frame -> (100, 6), padded with score 0."""
    best, pair = scores.flatten().topk(min(NMS_CANDIDATES, scores.numel()))
    row = torch.div(pair, scores.shape[1], rounding_mode="trunc")
    label = (pair - row * scores.shape[1]).to(boxes.dtype)
    xyxy = boxes[row]
    # Classes are moved apart, so that one NMS call serves them all.
    apart = label[:, None] * (xyxy.abs().amax() + 1) * 2
    keep = nms(xyxy + apart, best, NMS_IOU)
    found = torch.cat([xyxy, best[:, None], label[:, None]], 1)[keep]
    return pad(found, (0, 0, 0, MAX_BOXES))[:MAX_BOXES]
