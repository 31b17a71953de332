"""Random road layouts for each BDD100K scene, with tar seams, patches, manholes and arrows."""

from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np

from training.data.roads.chance import Rng, pick, spots
from training.data.roads.layout import (
    DRIVEN,
    WHITE,
    YELLOW,
    Crossing,
    LaneStrip,
    Road,
    RoadLine,
    Stain,
)

WORN = ((0.5, 0.5, 0.52), (0.1, 0.4, 0.8), (0.6, 0.35, 0.15))
# Odds of the lines between lanes, as category and whether dashed: of one direction, of both.
BETWEEN = {
    ("single white", True): 0.8, ("single white", False): 0.08, ("double white", True): 0.02,
    ("double white", False): 0.04, ("single other", True): 0.03, ("single other", False): 0.03,
}  # fmt: skip
MIDDLE = {
    ("double yellow", False): 0.58, ("single yellow", True): 0.14, ("single yellow", False): 0.1,
    ("double other", False): 0.06, ("double yellow", True): 0.06, ("", False): 0.06,
}  # fmt: skip
# Surface details without labels: negative examples for a lane head.
TAR = (0.12, 0.12, 0.12)
PATCH = (0.2, 0.2, 0.2)
IRON = (0.16, 0.17, 0.18)
PAINT = (0.82, 0.82, 0.82)
AHEAD = ((0, -0.08), (2.4, -0.08), (2.4, -0.4), (3.8, 0), (2.4, 0.4), (2.4, 0.08), (0, 0.08))
LEFT = ((0, 0.1), (2.2, 0.1), (2.2, -0.45), (1.7, -0.45), (2.5, -1.0), (3.3, -0.45), (2.8, -0.45),
        (2.8, 0.26), (0, 0.26))  # fmt: skip
ARROWS = (np.array(AHEAD), np.array(LEFT), np.multiply(LEFT, (1, -1)))

Strips = list[tuple[str, float]]  # kind and width of lanes, from left to right


def _lay(strips: Strips) -> list[LaneStrip]:
    kinds, widths = zip(*strips, strict=True)
    edges = np.cumsum([0.0, *widths])
    own = kinds.index("direct")
    edges -= (edges[own] + edges[own + 1]) / 2
    ends = pairwise(edges.tolist())
    return [LaneStrip(*end, kind) for end, kind in zip(ends, kinds, strict=True)]


def _forward(rng: Rng, most: int, width: float) -> Strips:
    """Lanes of the own direction."""
    count = int(rng.integers(1, most + 1))
    own = int(rng.integers(0, count))
    return [("direct" if i == own else "alternative", width) for i in range(count)]


def _line(
    rng: Rng, t: float, odds: Mapping[tuple[str, bool], float], highway: bool
) -> list[RoadLine]:
    """A random line, or none."""
    category, dashed = pick(rng, odds)
    period = (3.0, 9.0) if highway else (rng.uniform(2.0, 3.2), rng.uniform(3.5, 9.0))
    colour = {"white": WHITE, "yellow": YELLOW}.get(category[7:], WORN[rng.integers(3)])
    width = rng.uniform(0.1, 0.16)
    return [RoadLine(t, category, dashed, width, colour, period)] if category else []


def _lines(rng: Rng, lanes: list[LaneStrip], highway: bool) -> list[RoadLine]:
    """The lines between lanes, and at shoulders and medians."""
    lines = []
    for a, b in pairwise(lanes):
        if a.kind in DRIVEN and b.kind in DRIVEN:
            one_way = (a.kind == "opposite") == (b.kind == "opposite")
            lines += _line(rng, b.left, BETWEEN if one_way else MIDDLE, highway)
        elif a.kind in DRIVEN and b.kind == "shoulder":
            lines.append(RoadLine(b.left, "single white", False, 0.16))
        elif a.kind == "shoulder" or b.kind == "median":
            lines.append(RoadLine(b.left, "single yellow", False, 0.16, YELLOW))
    return lines


def _crossings(
    rng: Rng, length: float, spacing: float, wide: tuple[float, float], zebra: float
) -> list[Crossing]:
    out, s = [], rng.uniform(4, spacing)
    while s < length:
        people_only = rng.random() < 0.12
        style = str(rng.choice(["bars", "lines"])) if rng.random() < zebra or people_only else ""
        width = 0.0 if people_only else rng.uniform(*wide)
        far_zebra = bool(style) and width > 0 and rng.random() < 0.8
        out.append(Crossing(s, width, style, rng.random() < 0.75, far_zebra))
        s += width + spacing * rng.uniform(0.6, 1.5)
    return out


def _parked(rng: Rng, strips: Strips, chance: float, width: float) -> Strips:
    """`strips` with a lane for parking at the left and at the right, each with this chance."""
    left, right = ([("parking", width)] * int(rng.random() < chance) for _ in range(2))
    return left + strips + right


def city(rng: Rng, length: float) -> Road:
    width = rng.uniform(2.9, 3.6)
    strips = _forward(rng, 4, width)
    if rng.random() >= 0.3:  # two-way
        strips = [("opposite", width)] * int(rng.integers(1, 4)) + strips
    lanes = _lay(_parked(rng, strips, 0.6, rng.uniform(2.0, 2.6)))
    lines = _lines(rng, lanes, False) if rng.random() >= 0.12 else []
    for a, b in pairwise(lanes):
        if "parking" in (a.kind, b.kind) and rng.random() < 0.45:
            lines.append(RoadLine(b.left, "single white", False, 0.1))
    road = Road("city street", lanes, lines, (True, True), rng.uniform(2.2, 5.0), "paving")
    road.crossings = _crossings(rng, length, 75, (8, 20), 0.8)
    return road


def residential(rng: Rng, length: float) -> Road:
    width = rng.uniform(2.8, 3.4)
    lanes = _lay(_parked(rng, [("opposite", width), ("direct", width)], 0.75, 2.2))
    lines = _lines(rng, lanes, False) if rng.random() < 0.45 else []
    road = Road("residential", lanes, lines, (True, True), rng.uniform(1.3, 2.4), "grass")
    road.crossings = _crossings(rng, length, 110, (6, 10), 0.35)
    return road


def highway(rng: Rng, length: float) -> Road:
    width = rng.uniform(3.4, 3.8)
    lanes = _lay([
        *[("opposite", width)] * int(rng.integers(2, 5)),
        ("median", rng.uniform(1.0, 9.0)),
        ("shoulder", rng.uniform(0.6, 2.5)),
        *_forward(rng, 5, width),
        ("shoulder", rng.uniform(1.0, 3.2)),
    ])  # fmt: skip
    kerb = rng.random() < 0.2
    return Road("highway", lanes, _lines(rng, lanes, True), (False, kerb), 0.0, "grass")


def tunnel(rng: Rng, length: float) -> Road:
    shoulder = [("shoulder", 0.9)]
    lanes = _lay(shoulder + _forward(rng, 3, rng.uniform(3.2, 3.7)) + shoulder)
    return Road("tunnel", lanes, _lines(rng, lanes, True), (True, True), 0.0, "lot")


def parking(rng: Rng, length: float) -> Road:
    width = rng.uniform(5.8, 7.2)
    road = Road("parking lot", _lay([("direct", width)]), [], (False, False), 0.0, "lot")
    for s in np.arange(0, length, rng.uniform(2.5, 2.9)).tolist():
        road.bays += [(s, road.right, road.right + 5.0), (s, road.left - 5.0, road.left)]
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


PLANS: dict[str, Callable[[Rng, float], Road]] = {
    "city street": city,
    "residential": residential,
    "highway": highway,
    "tunnel": tunnel,
    "parking lot": parking,
    "gas stations": station,
}


def plan(rng: Rng, scene: str, length: float) -> Road:
    """A random road, worn near its start and with arrows before some crossings."""
    road = PLANS[scene](rng, length)
    lanes = [lane for lane in road.lanes if lane.kind in DRIVEN]
    kinds, spacing = (_seam, _seam, _seam, _patch, _manhole), rng.uniform(8, 68)
    for lane in lanes:
        near = spots(rng, 0, length - 110, spacing)
        road.stains += [kinds[rng.integers(5)](rng, lane, s) for s in near]
    for crossing in road.crossings:
        for lane in lanes if crossing.width and rng.random() < 0.35 else ():
            if lane.kind != "opposite":
                place = (crossing.s - 14.0, lane.centre)
                road.stains.append(Stain(ARROWS[rng.integers(3)] + place, PAINT, 0.9))
    return road
