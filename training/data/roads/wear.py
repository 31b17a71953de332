"""Surface details that are not lane markings: tar seams, patches, manholes, painted arrows.

They have no labels: they are negative examples for a lane head.
"""

import numpy as np

from training.data.roads.layout import LaneStrip, Stain

Rng = np.random.Generator
TAR = (0.12, 0.12, 0.12)
PATCH = (0.2, 0.2, 0.2)
IRON = (0.16, 0.17, 0.18)
PAINT = (0.82, 0.82, 0.82)


def _seam(rng: Rng, lane: LaneStrip, s: float) -> Stain:
    """An irregular line of tar, along the road or across it."""
    half = float(rng.uniform(0.02, 0.06))
    if rng.random() < 0.6:
        along = s + np.linspace(0, float(rng.uniform(5, 45)), 12)
        middle = lane.centre + float(rng.normal(0, 0.9)) + np.cumsum(rng.normal(0, 0.05, 12))
        left, right = ([*zip(along, middle + side, strict=True)] for side in (-half, half))
    else:
        across = np.linspace(lane.left, lane.right, 8)
        middle = s + np.cumsum(rng.normal(0, 0.08, 8))
        left, right = ([*zip(middle + side, across, strict=True)] for side in (-2 * half, 2 * half))
    return Stain(np.array(left + right[::-1]), TAR, 0.8)


def _patch(rng: Rng, lane: LaneStrip, s: float) -> Stain:
    long, wide = float(rng.uniform(1, 9)), float(rng.uniform(0.5, 1.4))
    t = lane.centre + float(rng.normal(0, 0.6))
    corners = np.array([(s, t - wide), (s + long, t - wide), (s + long, t + wide), (s, t + wide)])
    return Stain(corners, PATCH, float(rng.uniform(0.3, 0.8)))


def _manhole(rng: Rng, lane: LaneStrip, s: float) -> Stain:
    turn = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    t = lane.centre + float(rng.normal(0, 0.7))
    return Stain(np.column_stack([s + 0.35 * np.cos(turn), t + 0.35 * np.sin(turn)]), IRON, 0.85)


ARROWS = {
    "ahead": ((0, -0.08), (2.4, -0.08), (2.4, -0.4), (3.8, 0), (2.4, 0.4), (2.4, 0.08), (0, 0.08)),
    "left": ((0, 0.1), (2.2, 0.1), (2.2, -0.45), (1.7, -0.45), (2.5, -1.0), (3.3, -0.45),
             (2.8, -0.45), (2.8, 0.26), (0, 0.26)),
    "right": ((0, -0.1), (2.2, -0.1), (2.2, 0.45), (1.7, 0.45), (2.5, 1.0), (3.3, 0.45),
              (2.8, 0.45), (2.8, -0.26), (0, -0.26)),
}  # fmt: skip


def arrow(lane: LaneStrip, s: float, kind: str) -> Stain:
    return Stain(np.add(ARROWS[kind], (s, lane.centre)), PAINT, 0.9)


def stains(rng: Rng, lanes: list[LaneStrip], length: float, worn: float) -> list[Stain]:
    """Random stains on the near part of a road; `worn` in 0..1."""
    out = []
    kinds = (_seam, _seam, _seam, _patch, _manhole)
    for lane in lanes:
        s = float(rng.exponential(20))
        while s < length:
            out.append(kinds[int(rng.integers(5))](rng, lane, s))
            s += float(rng.exponential(8 + 60 * (1 - worn)))
    return out
