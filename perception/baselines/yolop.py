"""The YOLOP-like baseline (arXiv 2108.11250): its neck, its anchor-based detector and its mask
decoders, on any trunk.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import pad
from torchvision.ops import complete_box_iou_loss, nms

from perception.classes import DETECTION
from perception.layers import ConvBlock, upsample
from perception.metrics.base import Metric
from perception.metrics.detection import DetectionMetric
from perception.runtime.view import View
from perception.tasks.base import LossPart, Raw, Target, Task
from perception.tasks.det_training import Grid, ignored_points, trainable_classes
from perception.tasks.drivable import Drivable
from perception.tasks.lane import Lane

# Width and height by stride, from k-means over the log sizes of BDD100K's boxes in a frame 640
# pixels wide; 99.9 % of the boxes are within a factor of 4 of one of them.
ANCHORS: Final = {
    8: ((5.0, 6.0), (10.0, 6.0), (7.0, 13.0)),
    16: ((15.0, 11.0), (13.0, 29.0), (27.0, 18.0)),
    32: ((40.0, 35.0), (77.0, 60.0), (167.0, 138.0)),
}
ANCHOR_FRAME_WIDTH: Final = 640
# A box is matched with every anchor within this factor of its width and height.
REACH: Final = 4.0
# Weights of the scales' objectness: the fine scale has most of the points.
BALANCE: Final = {8: 4.0, 16: 1.0, 32: 0.4}
# YOLOv5's ratio of 1 : 0.05 : 0.5 * classes / 80, times 30: about as large as the losses of the
# other tasks.
OBJECT_WEIGHT, BOX_WEIGHT, CLASS_WEIGHT = 30.0, 1.5, 1.9
MAX_BOXES: Final = 300
NMS_CANDIDATES: Final = 1000
NMS_IOU: Final = 0.6
# Of half a side, in pixels: a box without a height has no finite gradient in torchvision's CIoU.
LEAST_HALF: Final = 0.01


class DensePAN(nn.Module):
    """Path aggregation (arXiv 1803.01534) by concatenation, with 3x3 convolutions as in YOLOP."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.width = width
        self.lateral = nn.ModuleList(ConvBlock(c, width) for c in channels)
        self.down = nn.ModuleList(ConvBlock(2 * width, width, 3) for _ in channels[:-1])
        self.shrink = nn.ModuleList(ConvBlock(width, width, 3, stride=2) for _ in channels[1:])
        self.up = nn.ModuleList(ConvBlock(2 * width, width, 3) for _ in channels[1:])

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        inputs = [block(x) for block, x in zip(self.lateral, features, strict=True)]
        middle = [inputs[-1]]
        for x, block in zip(reversed(inputs[:-1]), reversed(self.down), strict=True):
            middle.insert(0, block(torch.cat([x, upsample(middle[0])], 1)))
        outputs = [middle[0]]
        for x, shrink, block in zip(middle[1:], self.shrink, self.up, strict=True):
            outputs.append(block(torch.cat([x, shrink(outputs[-1])], 1)))
        return outputs


class Matches(NamedTuple):
    """P (frame, anchor, cell) places of one scale that are trained to predict a box."""

    frame: Tensor  # (P,) int64, as are the indices below
    anchor: Tensor
    y: Tensor
    x: Tensor
    xyxy: Tensor  # (P, 4) float32 pixels
    label: Tensor  # (P,) int64


class AnchorDet(Task):
    """YOLOv5-style anchors on the strides that ANCHORS has, with NMS in `decode`.

    One 1x1 convolution per scale; objectness, class and CIoU losses.
    """

    view = View(kind="boxes", classes=DETECTION)
    score = "mAP50"

    def __init__(self, channels: int, strides: tuple[int, ...], view: View | None = None) -> None:
        super().__init__(channels, strides, view)
        self.outputs = 5 + len(self.view.classes)
        self.scales = tuple(s for s in strides if s in ANCHORS)
        names = ("object", "box", "class")
        self.loss_parts = tuple(f"{name}{s}" for s in self.scales for name in names)
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

    def loss(self, raw: Raw, target: Target) -> dict[str, LossPart]:
        """Objectness of all points, trained towards the IoU; box and class of the matched ones."""
        losses: dict[str, LossPart] = {}
        for s in self.scales:
            losses |= {f"{name}{s}": part for name, part in self._scale_loss(raw, s, target)}
        return losses

    def _scale_loss(self, raw: Raw, stride: int, target: Target) -> list[tuple[str, LossPart]]:
        logits = raw[f"anchors{stride}"].float().permute(0, 1, 3, 4, 2)  # (B, 3, h, w, outputs)
        anchors = _anchors(stride, logits.shape[3], logits.device)
        matches = _match(target, anchors, stride, logits.shape[2:4])
        place = (matches.frame, matches.anchor, matches.y, matches.x)
        found = _boxes(logits, anchors, stride)[place]
        box = complete_box_iou_loss(found, matches.xyxy)
        presence = torch.zeros_like(logits[..., 4])
        presence[place] = (1 - box).detach().clamp(0)
        objectness = bce(logits[..., 4], presence, reduction="none")
        points = Grid(((logits.shape[2], logits.shape[3]),), (stride,)).points(logits.device)
        ignored = ignored_points(target, points, len(self.view.classes))
        if ignored is not None:
            outside = ~ignored.any(2).view(-1, 1, *logits.shape[2:4])  # (B, 1, h, w)
            objectness = objectness * (outside | (presence > 0))
        classes = logits[..., 5:][place]
        wanted = torch.zeros_like(classes)
        wanted[torch.arange(len(wanted), device=wanted.device), matches.label] = 1.0
        kind = bce(classes, wanted, reduction="sum") / wanted.shape[1]
        places, matched = (box.new_tensor(float(n)) for n in (presence.numel(), len(box)))
        return [
            ("object", LossPart(OBJECT_WEIGHT * BALANCE[stride] * objectness.sum(), places)),
            ("box", LossPart(BOX_WEIGHT * box.sum(), matched)),
            ("class", LossPart(CLASS_WEIGHT * kind, matched)),
        ]

    def decode(self, raw: Raw) -> Tensor:
        """(B, 300, 6): x1 y1 x2 y2 score class, best first, after NMS in each class."""
        boxes, scores = [], []
        for s in self.scales:
            logits = raw[f"anchors{s}"].float().permute(0, 1, 3, 4, 2)
            boxes.append(_boxes(logits, _anchors(s, logits.shape[3], logits.device), s))
            scores.append(logits[..., 4:5].sigmoid() * logits[..., 5:].sigmoid())
        flat = [torch.cat([v.flatten(1, 3) for v in values], 1) for values in (boxes, scores)]
        return torch.stack([_nms(*frame) for frame in zip(*flat, strict=True)])

    @classmethod
    def metric(cls, view: View) -> Metric:
        return DetectionMetric(view.classes)


class Decoder(nn.Module):
    """Mask decoder (section 3.1.2): (B, C, H/8, W/8) -> maps at strides 4 and 1.

    Nearest-neighbour upsampling between 3x3 convolutions, fewer channels at each doubling.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.first = nn.Sequential(ConvBlock(channels, channels, 3), ConvBlock(channels, half, 3))
        self.second = ConvBlock(half, quarter, 3)
        self.third = ConvBlock(quarter, 16, 3)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        quarter = upsample(self.first(feature))  # (B, C/2, H/4, W/4)
        half = upsample(self.second(quarter))  # (B, C/4, H/2, W/2)
        return quarter, upsample(self.third(half))  # (B, 16, H, W)


class NearestDrivable(Drivable):
    """Drivable area at full resolution."""

    def __init__(self, channels: int, strides: tuple[int, ...], view: View | None = None) -> None:
        super().__init__(channels, strides, view)
        self.factor = 1
        self.tower = Decoder(channels)
        self.classify = nn.Conv2d(16, len(self.view.classes), 3, padding=1)

    def forward(self, features: Sequence[Tensor]) -> Raw:
        return {"logits": self.classify(self.tower(features[1])[1])}  # (B, C, H, W)


class NearestLane(Lane):
    """Lane foreground at full resolution; the types, which YOLOP does not have, from stride 4."""

    def __init__(self, channels: int, strides: tuple[int, ...], view: View | None = None) -> None:
        super().__init__(channels, strides, view)
        self.tower = Decoder(channels)
        self.factor = 1
        self.subpixels = nn.Conv2d(16, 1, 3, padding=1)
        self.types = nn.Conv2d(channels // 2, sum(self.kinds), 1)
        nn.init.constant_(self.subpixels.bias, -4.0)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> Raw:
        quarter, full = self.tower(features[1])
        category, style, direction = self.types(quarter).split(self.kinds, 1)
        foreground = self.subpixels(full)  # (B, 1, H, W)
        return {
            "foreground": foreground,
            "category": category,
            "style": style,
            "direction": direction,
        }


def _predictor(channels: int, stride: int, outputs: int) -> nn.Conv2d:
    """Bias for eight objects per frame of 640x640 (RetinaNet's prior, as in YOLOv5)."""
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
    half = half.clamp(min=LEAST_HALF)
    return torch.cat([centre - half, centre + half], -1)


def _match(target: Target, anchors: Tensor, stride: int, size_hw: Sequence[int]) -> Matches:
    """Each box to the anchors of its size, in its cell and the nearest neighbour on each axis."""
    frame, box = (trainable_classes(target) >= 0).nonzero(as_tuple=True)
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


def _nms(boxes: Tensor, scores: Tensor) -> Tensor:
    """Boxes (A, 4), scores (A, classes) of one frame -> (300, 6), padded with score 0."""
    best, pair = scores.flatten().topk(min(NMS_CANDIDATES, scores.numel()))
    row = torch.div(pair, scores.shape[1], rounding_mode="trunc")
    label = (pair - row * scores.shape[1]).to(boxes.dtype)
    xyxy = boxes[row]
    # Boxes are offset by class, so that one NMS call handles all classes.
    apart = label[:, None] * (xyxy.abs().amax() + 1) * 2
    keep = nms(xyxy + apart, best, NMS_IOU)
    found = torch.cat([xyxy, best[:, None], label[:, None]], 1)[keep]
    return pad(found, (0, 0, 0, MAX_BOXES))[:MAX_BOXES]
