"""Lane markings as the official BDD100K lane byte: foreground, category, style and direction."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.classes import (
    LANE_BACKGROUND,
    LANE_CATEGORIES,
    LANE_CATEGORY_UNKNOWN,
    LANE_DIRECTIONS,
    LANE_IGNORE,
    LANE_STYLES,
    LANE_TYPE_UNKNOWN,
)
from perception.metrics.lane import LaneMetric
from perception.runtime.description import View
from perception.tasks.base import Raw, Target, Task
from perception.tasks.centreline import cldice_loss
from perception.tasks.dense import Tower, cross_entropy, tversky


class Lane(Task):
    """Foreground at full resolution, type at stride 4.

    The foreground leaves the stride-4 map through sub-pixel convolution (arXiv 1609.05158), 16
    logits a cell, so that a line two pixels wide stays sharp without a full-resolution decoder.
    Foreground, category, style and direction each have their own 'not annotated'.
    """

    view: ClassVar[View] = View(
        kind="mask",
        encoding="bdd100k-lane-byte",
        categories=LANE_CATEGORIES,
        styles=LANE_STYLES,
        directions=LANE_DIRECTIONS,
    )
    score: ClassVar[str] = "F1@5"
    # What ablations vary.
    overlap_weight: ClassVar[float] = 1.0
    centreline_weight: ClassVar[float] = 0.0

    def __init__(self, channels: int, strides: tuple[int, ...]) -> None:
        super().__init__(channels, strides)
        kinds = (len(LANE_CATEGORIES), len(LANE_STYLES), len(LANE_DIRECTIONS))
        self.kinds = kinds
        self.tower: nn.Module = Tower(channels)
        self.subpixels = nn.Conv2d(channels, strides[0] ** 2, 3, padding=1)
        self.types = nn.Conv2d(channels, sum(kinds), 1)
        # About one pixel in fifty is lane: start there (arXiv 1708.02002, section 4.1).
        nn.init.constant_(self.subpixels.bias, -4.0)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> Raw:
        feature = self.tower(features[0])
        category, style, direction = self.types(feature).split(self.kinds, 1)
        foreground = F.pixel_shuffle(self.subpixels(feature), self.strides[0])
        return {
            "foreground": foreground,  # (B, 1, H, W)
            "category": category,  # (B, 8, H/4, W/4)
            "style": style,  # (B, 2, H/4, W/4)
            "direction": direction,  # (B, 2, H/4, W/4)
        }

    def loss(self, raw: Raw, target: Target) -> dict[str, Tensor]:
        lane = target["lane"]  # (B, H, W)
        logits = raw["foreground"].float().squeeze(1)
        known, truth = lane != LANE_IGNORE, (lane < LANE_IGNORE).float()
        found = logits.sigmoid()
        losses = {"focal": 20.0 * focal(logits, truth, known)}
        if self.overlap_weight:
            overlap = tversky(found, truth, known, alpha=0.4, beta=0.6)
            losses["overlap"] = self.overlap_weight * overlap
        if self.centreline_weight:
            losses["centreline"] = self.centreline_weight * cldice_loss(found, truth, known)
        stride = self.strides[0]
        # A minimum over each cell is OR-pooling of the lane byte (training/data/labels.py).
        cells = -F.max_pool2d(-lane[:, None].float(), stride).squeeze(1)
        byte = cells.to(torch.int64)  # (B, H/4, W/4)
        line = byte < LANE_IGNORE
        for name, known_bit, index in _parts(byte):
            known = line & (byte & known_bit == 0)
            losses[name] = 0.3 * cross_entropy(raw[name], index, known)
        return losses

    def decode(self, raw: Raw) -> Tensor:
        category, style, direction = (
            raw[name].argmax(1, keepdim=True) for name in ("category", "style", "direction")
        )
        byte = (category + style * 16 + direction * 32).to(torch.float32)  # (B, 1, H/4, W/4)
        byte = F.interpolate(byte, scale_factor=float(self.strides[0]), mode="nearest")
        lane = torch.where(raw["foreground"] > 0, byte, float(LANE_BACKGROUND))
        return lane.squeeze(1).to(torch.uint8)  # (B, H, W)

    def metric(self) -> LaneMetric:
        return LaneMetric()


def focal(logits: Tensor, truth: Tensor, known: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss (arXiv 1708.02002, eq. 5, alpha 0.75), mean over the known pixels."""
    losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    missed = torch.where(truth > 0.5, 1 - logits.sigmoid(), logits.sigmoid())
    balance = torch.where(truth > 0.5, 0.75, 0.25)
    return (balance * missed.pow(gamma) * losses * known).sum() / known.sum().clamp(min=1)


def _parts(byte: Tensor) -> list[tuple[str, int, Tensor]]:
    """(output, bit that says unknown, class index) for the three parts of a lane byte."""
    return [
        ("category", LANE_CATEGORY_UNKNOWN, byte & 7),
        ("style", LANE_TYPE_UNKNOWN, (byte >> 4) & 1),
        ("direction", LANE_TYPE_UNKNOWN, (byte >> 5) & 1),
    ]
