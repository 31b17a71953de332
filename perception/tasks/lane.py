"""Lane markings as the official BDD100K lane byte: foreground, category, style and direction."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perception.classes import (
    LANE_BACKGROUND,
    LANE_CATEGORIES,
    LANE_CATEGORY_BITS,
    LANE_CATEGORY_UNKNOWN,
    LANE_DIRECTION_BIT,
    LANE_DIRECTION_SHIFT,
    LANE_DIRECTIONS,
    LANE_IGNORE,
    LANE_STYLE_BIT,
    LANE_STYLE_SHIFT,
    LANE_STYLES,
    LANE_TYPE_UNKNOWN,
)
from perception.layers import upsample
from perception.metrics.base import Metric
from perception.metrics.lane import LaneMetric
from perception.runtime.view import View
from perception.tasks.base import LossPart, Raw, Target, Task
from perception.tasks.dense import Tower, cross_entropy, tversky


class Lane(Task):
    """Foreground at full resolution, type at stride 4.

    The foreground comes from the stride-4 map by sub-pixel convolution (arXiv 1609.05158), 16
    logits per cell, so that a line two pixels wide stays sharp without a full-resolution decoder.
    Foreground, category, style and direction each have their own "not annotated" value.
    """

    view = View(
        kind="mask",
        encoding="bdd100k-lane-byte",
        categories=LANE_CATEGORIES,
        styles=LANE_STYLES,
        directions=LANE_DIRECTIONS,
    )
    score = "F1@5"
    loss_parts = ("focal", "overlap", "category", "style", "direction")

    def __init__(self, channels: int, strides: tuple[int, ...], view: View | None = None) -> None:
        super().__init__(channels, strides, view)
        names = (self.view.categories, self.view.styles, self.view.directions)
        self.kinds = tuple(map(len, names))
        self.tower: nn.Module = Tower(channels)
        self.factor = strides[0]  # from the foreground's cells to the frame
        self.subpixels = nn.Conv2d(channels, strides[0] ** 2, 3, padding=1)
        self.types = nn.Conv2d(channels, sum(self.kinds), 1)
        # About 2 % of pixels are lane: initialise there (arXiv 1708.02002, section 4.1).
        nn.init.constant_(self.subpixels.bias, -4.0)  # type: ignore[arg-type]

    def class_rows(self, view: View) -> dict[str, tuple[str, ...]]:
        parts = (view.categories, view.styles, view.directions)
        rows = tuple(f"{part}/{name}" for part, names in enumerate(parts) for name in names)
        return {"types.weight": rows, "types.bias": rows}

    def forward(self, features: Sequence[Tensor]) -> Raw:
        feature = self.tower(features[0])
        category, style, direction = self.types(feature).split(self.kinds, 1)
        return {
            "foreground": self.subpixels(feature),  # (B, 16, H/4, W/4), sub-pixels of each cell
            "category": category,  # (B, categories, H/4, W/4)
            "style": style,  # (B, styles, H/4, W/4)
            "direction": direction,  # (B, directions, H/4, W/4)
        }

    def loss(self, raw: Raw, target: Target) -> dict[str, LossPart]:
        lane = target["lane"]  # (B, H, W)
        logits = self.full_size(raw["foreground"].float())
        known, truth = lane != LANE_IGNORE, (lane < LANE_IGNORE).float()
        found = logits.sigmoid()
        losses = {
            "focal": focal(logits, found, truth, known),
            "overlap": tversky(found, truth, known, alpha=0.4, beta=0.6),
        }
        # A minimum over each cell is OR-pooling of the lane byte (training/data/labels.py).
        cells = -F.max_pool2d(-lane[:, None].float(), self.strides[0]).squeeze(1)
        byte = cells.to(torch.int64)  # (B, H/4, W/4)
        line = byte < LANE_IGNORE
        for name, unknown_bit, index in _parts(byte):
            typed = line & (byte & unknown_bit == 0)
            losses[name] = cross_entropy(raw[name], index, typed, scale=0.3)
        return losses

    def decode(self, raw: Raw) -> Tensor:
        category, style, direction = (
            raw[name].argmax(1, keepdim=True) for name in ("category", "style", "direction")
        )
        byte = (category + style * LANE_STYLE_BIT + direction * LANE_DIRECTION_BIT).to(
            torch.float32
        )  # (B, 1, H/4, W/4)
        if self.factor == 1:
            byte = upsample(byte, self.strides[0])
        lane = torch.where(raw["foreground"] > 0, byte, float(LANE_BACKGROUND))
        return self.full_size(lane).to(torch.uint8)

    def full_size(self, subpixels: Tensor) -> Tensor:
        """(B, factor^2, H/factor, W/factor) -> (B, H, W)."""
        if self.factor > 1:
            subpixels = F.pixel_shuffle(subpixels, self.factor)
        return subpixels.squeeze(1)

    @classmethod
    def metric(cls, view: View) -> Metric:
        return LaneMetric(view)


def focal(
    logits: Tensor, probability: Tensor, truth: Tensor, known: Tensor, gamma: float = 2.0
) -> LossPart:
    """Focal loss (arXiv 1708.02002, eq. 5, alpha 0.75) times 20, over the known pixels."""
    losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    balance = 0.25 + 0.5 * truth
    losses = balance * (truth - probability).abs().pow(gamma) * losses * known
    return LossPart(20.0 * losses.sum(), known.sum())


def _parts(byte: Tensor) -> list[tuple[str, int, Tensor]]:
    """(output, bit that marks it unknown, class index) for the three parts of a lane byte."""
    return [
        ("category", LANE_CATEGORY_UNKNOWN, byte & LANE_CATEGORY_BITS),
        ("style", LANE_TYPE_UNKNOWN, (byte >> LANE_STYLE_SHIFT) & 1),
        ("direction", LANE_TYPE_UNKNOWN, (byte >> LANE_DIRECTION_SHIFT) & 1),
    ]
