"""Random road layouts for each BDD100K scene, with tar seams, patches, manholes and arrows."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from training.data.roads.chance import Rng, pick
from training.data.roads.layout import WHITE, YELLOW, Crossing, LaneStrip, Road, RoadLine, Stain

WORN = ((0.5, 0.5, 0.52), (0.1, 0.4, 0.8), (0.6, 0.35, 0.15))
# Odds of the line between opposite directions: category, style, paint and gap; none.
MIDDLES: dict[tuple[str, bool, tuple[float, float]] | None, float] = {
    ("double yellow", False, (3.0, 9.0)): 0.58,
    ("single yellow", True, (3.0, 7.0)): 0.14,
    ("single yellow", False, (3.0, 9.0)): 0.1,
    ("double other", False, (3.0, 9.0)): 0.06,
    ("double yellow", True, (3.0, 9.0)): 0.06,
    None: 0.06,
}
# Surface details without labels: negative examples for a lane head.
TAR = (0.12, 0.12, 0.12)
PATCH = (0.2, 0.2, 0.2)
IRON = (0.16, 0.17, 0.18)
PAINT = (0.82, 0.82, 0.82)
ARROWS = {
    "ahead": ((0, -0.08), (2.4, -0.08), (2.4, -0.4), (3.8, 0), (2.4, 0.4), (2.4, 0.08), (0, 0.08)),
    "left": ((0, 0.1), (2.2, 0.1), (2.2, -0.45), (1.7, -0.45), (2.5, -1.0), (3.3, -0.45),
             (2.8, -0.45), (2.8, 0.26), (0, 0.26)),
    "right": ((0, -0.1), (2.2, -0.1), (2.2, 0.45), (1.7, 0.45), (2.5, 1.0), (3.3, 0.45),
              (2.8, 0.45), (2.8, -0.26), (0, -0.26)),
}  # fmt: skip


def _between(rng: Rng, t: float, highway: bool) -> RoadLine:
    """A random line between two lanes of one direction."""
    pick = rng.random()
    period = (3.0, 9.0) if highway else (rng.uniform(2.0, 3.2), rng.uniform(3.5, 9.0))
    width = rng.uniform(0.1, 0.17)
    if pick < 0.8:
        return RoadLine(t, "single white", True, width, WHITE, period)
    if pick < 0.88:
        return RoadLine(t, "single white", False, width)
    if pick < 0.94:
        return RoadLine(t, "double white", (rng.random() < 0.3), width)
    colour = WORN[rng.integers(3)]
    return RoadLine(t, "single other", (rng.random() < 0.5), width, colour)


def _middle(rng: Rng, t: float) -> list[RoadLine]:
    """The line between opposite directions; sometimes none."""
    found, width = pick(rng, MIDDLES), rng.uniform(0.1, 0.15)
    if found is None:
        return []
    category, dashed, period = found
    colour = WORN[rng.integers(3)] if category == "double other" else YELLOW
    return [RoadLine(t, category, dashed, width, colour, period)]


def _forward(rng: Rng, most: int, width: float) -> list[LaneStrip]:
    """Lanes of the own direction from left to right; t = 0 is the middle of the ego lane."""
    count = int(rng.integers(1, most + 1))
    own = int(rng.integers(0, count))
    left = [(i - own - 0.5) * width for i in range(count + 1)]
    kinds = ["direct" if i == own else "alternative" for i in range(count)]
    return [LaneStrip(left[i], left[i + 1], kinds[i]) for i in range(count)]


def _opposite(lanes: list[LaneStrip], count: int, width: float, gap: float) -> list[LaneStrip]:
    edge = lanes[0].left - gap
    return [
        LaneStrip(edge - (i + 1) * width, edge - i * width, "opposite")
        for i in reversed(range(count))
    ]


def _beside(lanes: list[LaneStrip], right: bool, width: float, kind: str) -> list[LaneStrip]:
    """`lanes` with one more at their left or right."""
    left_edge, right_edge = lanes[0].left, lanes[-1].right
    if right:
        return [*lanes, LaneStrip(right_edge, right_edge + width, kind)]
    return [LaneStrip(left_edge - width, left_edge, kind), *lanes]


def _inner_lines(rng: Rng, lanes: list[LaneStrip], highway: bool) -> list[RoadLine]:
    lines = []
    for a, b in pairwise(lanes):
        if a.kind in ("shoulder", "parking") or b.kind in ("shoulder", "parking"):
            continue
        if (a.kind == "opposite") == (b.kind == "opposite"):
            lines.append(_between(rng, b.left, highway))
        elif b.left - a.right < 0.1:
            lines += _middle(rng, b.left)
    return lines


def _crossings(
    rng: Rng, length: float, spacing: float, wide: tuple[float, float], zebra: float
) -> list[Crossing]:
    out, s = [], rng.uniform(4, spacing)
    while s < length:
        people_only = rng.random() < 0.12
        style = str(rng.choice(["bars", "lines"])) if rng.random() < zebra or people_only else ""
        width = 0.0 if people_only else rng.uniform(*wide)
        stop = rng.random() < 0.75
        far_zebra = bool(style) and width > 0 and rng.random() < 0.8
        out.append(Crossing(s, width, style, stop, far_zebra))
        s += width + spacing * rng.uniform(0.6, 1.5)
    return out


def city(rng: Rng, length: float) -> Road:
    width = rng.uniform(2.9, 3.6)
    lanes = _forward(rng, 4, width)
    if rng.random() >= 0.3:  # two-way
        lanes = _opposite(lanes, int(rng.integers(1, 4)), width, 0.0) + lanes
    lines = _inner_lines(rng, lanes, False)
    if rng.random() < 0.12:
        lines = []
    for right in (False, True):
        if rng.random() < 0.6:
            wide = rng.uniform(2.0, 2.6)
            if rng.random() < 0.45:
                edge = lanes[-1].right if right else lanes[0].left
                lines.append(RoadLine(edge, "single white", False, 0.1))
            lanes = _beside(lanes, right, wide, "parking")
    road = Road("city street", lanes, lines, (True, True), rng.uniform(2.2, 5.0), "paving")
    road.crossings = _crossings(rng, length, 75, (8, 20), 0.8)
    return road


def residential(rng: Rng, length: float) -> Road:
    half = rng.uniform(2.8, 3.4) / 2
    lanes = [LaneStrip(-3 * half, -half, "opposite"), LaneStrip(-half, half, "direct")]
    lines = _middle(rng, -half) if rng.random() < 0.45 else []
    for right in (False, True):
        if rng.random() < 0.75:
            lanes = _beside(lanes, right, 2.2, "parking")
    road = Road("residential", lanes, lines, (True, True), rng.uniform(1.3, 2.4), "grass")
    road.crossings = _crossings(rng, length, 110, (6, 10), 0.35)
    return road


def highway(rng: Rng, length: float) -> Road:
    width = rng.uniform(3.4, 3.8)
    lanes = _forward(rng, 5, width)
    gap = rng.uniform(1.0, 9.0)
    inner, outer = rng.uniform(0.6, 2.5), rng.uniform(1.0, 3.2)
    lines = _inner_lines(rng, lanes, True)
    lines.append(RoadLine(lanes[0].left, "single yellow", False, 0.16, YELLOW))
    lines.append(RoadLine(lanes[-1].right, "single white", False, 0.17))
    lanes = _beside(_beside(lanes, False, inner, "shoulder"), True, outer, "shoulder")
    opposite = _opposite(lanes, int(rng.integers(2, 5)), width, gap)
    lines += _inner_lines(rng, opposite, True)
    lines.append(RoadLine(opposite[-1].right - 0.3, "single yellow", False, 0.16, YELLOW))
    kerb = rng.random() < 0.2
    return Road("highway", opposite + lanes, lines, (False, kerb), 0.0, "grass")


def tunnel(rng: Rng, length: float) -> Road:
    lanes = _forward(rng, 3, rng.uniform(3.2, 3.7))
    lines = _inner_lines(rng, lanes, True)
    lines.append(RoadLine(lanes[0].left, "single yellow", False, 0.15, YELLOW))
    lines.append(RoadLine(lanes[-1].right, "single white", False, 0.15))
    lanes = _beside(_beside(lanes, False, 0.9, "shoulder"), True, 0.9, "shoulder")
    return Road("tunnel", lanes, lines, (True, True), 0.0, "lot")


def parking(rng: Rng, length: float) -> Road:
    half = rng.uniform(2.9, 3.6)
    lanes = [LaneStrip(-half, half, "direct")]
    road = Road("parking lot", lanes, [], (False, False), 0.0, "lot")
    bay = rng.uniform(2.5, 2.9)
    for s in np.arange(0, length, bay):
        road.bays += [(float(s), half, half + 5.0), (float(s), -half - 5.0, -half)]
    return road


def station(rng: Rng, length: float) -> Road:
    road = city(rng, 0)
    road.scene, road.crossings, road.walk, road.beyond = "gas stations", [], 0.0, "lot"
    road.curbs = (rng.random() < 0.5, rng.random() < 0.5)
    return road


def _seam(rng: Rng, lane: LaneStrip, s: float) -> Stain:
    """An irregular line of tar, along the road or across it."""
    half = rng.uniform(0.02, 0.06)
    if rng.random() < 0.6:
        along = s + np.linspace(0, rng.uniform(5, 45), 12)
        middle = lane.centre + rng.normal(0, 0.9) + np.cumsum(rng.normal(0, 0.05, 12))
        left, right = ([*zip(along, middle + side, strict=True)] for side in (-half, half))
    else:
        across = np.linspace(lane.left, lane.right, 8)
        middle = s + np.cumsum(rng.normal(0, 0.08, 8))
        left, right = ([*zip(middle + side, across, strict=True)] for side in (-2 * half, 2 * half))
    return Stain(np.array(left + right[::-1]), TAR, 0.8)


def _patch(rng: Rng, lane: LaneStrip, s: float) -> Stain:
    long, wide = rng.uniform(1, 9), rng.uniform(0.5, 1.4)
    t = lane.centre + rng.normal(0, 0.6)
    corners = np.array([(s, t - wide), (s + long, t - wide), (s + long, t + wide), (s, t + wide)])
    return Stain(corners, PATCH, rng.uniform(0.3, 0.8))


def _manhole(rng: Rng, lane: LaneStrip, s: float) -> Stain:
    turn = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    t = lane.centre + rng.normal(0, 0.7)
    return Stain(np.column_stack([s + 0.35 * np.cos(turn), t + 0.35 * np.sin(turn)]), IRON, 0.85)


def arrow(lane: LaneStrip, s: float, kind: str) -> Stain:
    return Stain(np.add(ARROWS[kind], (s, lane.centre)), PAINT, 0.9)


def stains(rng: Rng, lanes: list[LaneStrip], length: float, worn: float) -> list[Stain]:
    """Random stains on the near part of a road; `worn` in 0..1."""
    out = []
    kinds = (_seam, _seam, _seam, _patch, _manhole)
    for lane in lanes:
        s = rng.exponential(20)
        while s < length:
            out.append(kinds[int(rng.integers(5))](rng, lane, s))
            s += rng.exponential(8 + 60 * (1 - worn))
    return out


PLANS: dict[str, Callable[[Rng, float], Road]] = {
    "city street": city,
    "residential": residential,
    "highway": highway,
    "tunnel": tunnel,
    "parking lot": parking,
    "gas stations": station,
}
