"""Box geometry and the losses of detection heads; computed in float32 under autocast too."""

import math

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

EPS = 1e-7


def iou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Elementwise IoU of broadcastable boxes (..., 4) -> (...); 0 for an empty box."""
    overlap, union = _overlap_union(a_xyxy, b_xyxy)
    return overlap / union.clamp(min=EPS)


def ciou_loss(pred_xyxy: Tensor, target_xyxy: Tensor) -> Tensor:
    """1 - complete IoU (arXiv 1911.08287): overlap, centre distance and aspect ratio."""
    pred, target = pred_xyxy.float(), target_xyxy.float()
    overlap = iou(pred, target)
    diagonal = _hull_wh(pred, target).square().sum(-1).clamp(min=EPS)
    centres = (pred[..., :2] + pred[..., 2:] - target[..., :2] - target[..., 2:]) / 2
    pred_wh, target_wh = pred[..., 2:] - pred[..., :2], target[..., 2:] - target[..., :2]
    angle = torch.atan2(target_wh[..., 0], target_wh[..., 1].clamp(min=EPS)) - torch.atan2(
        pred_wh[..., 0], pred_wh[..., 1].clamp(min=EPS)
    )
    aspect = (4 / math.pi**2) * angle.square()
    trade_off = (aspect / (1 - overlap + aspect).clamp(min=EPS)).detach()
    return 1 - overlap + centres.square().sum(-1) / diagonal + trade_off * aspect


def quality_focal_loss(logits: Tensor, quality: Tensor, gamma: float = 2.0) -> Tensor:
    """Elementwise |quality - p|^gamma * BCE (arXiv 2006.04388), for soft targets."""
    logits, quality = logits.float(), quality.float()
    focus = (quality - logits.sigmoid()).abs().pow(gamma)
    return focus * binary_cross_entropy_with_logits(logits, quality, reduction="none")


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


def _overlap_union(a_xyxy: Tensor, b_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    a, b = a_xyxy.float(), b_xyxy.float()
    wh = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(0)
    overlap = wh[..., 0] * wh[..., 1]
    return overlap, _area(a) + _area(b) - overlap


def _area(xyxy: Tensor) -> Tensor:
    wh = (xyxy[..., 2:] - xyxy[..., :2]).clamp(0)
    return wh[..., 0] * wh[..., 1]


def _hull_wh(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    a, b = a_xyxy.float(), b_xyxy.float()
    return torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
