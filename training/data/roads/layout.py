"""The layout of a road: lanes, lines, sidewalks and crossings in road coordinates."""

from dataclasses import dataclass, field

import numpy as np

from perception.classes import LANE_CATEGORIES, LANE_DIRECTION_BIT, LANE_STYLE_BIT

CATEGORY = {name: index for index, name in enumerate(LANE_CATEGORIES)}
WHITE = (0.86, 0.86, 0.86)
YELLOW = (0.2, 0.62, 0.85)
CURB_HEIGHT = 0.14
DRIVEN = ("direct", "alternative", "opposite")


def lane_byte(category: str, dashed: bool = False, vertical: bool = False) -> int:
    """The BDD100K lane byte of a marking."""
    return CATEGORY[category] | dashed * LANE_STYLE_BIT | vertical * LANE_DIRECTION_BIT


@dataclass(frozen=True)
class Stain:
    """A polygon on the ground that is not a lane marking."""

    outline: np.ndarray  # (N, 2) s, t
    colour: tuple[float, float, float]
    cover: float


@dataclass(frozen=True)
class LaneStrip:
    """A strip of carriageway; kind is one of DRIVEN, parking, shoulder or median."""

    left: float
    right: float
    kind: str

    @property
    def centre(self) -> float:
        return (self.left + self.right) / 2


@dataclass(frozen=True)
class RoadLine:
    """A marking along the road; a double line has a gap of one line width between its stripes."""

    t: float
    category: str
    dashed: bool = False
    width: float = 0.13
    colour: tuple[float, float, float] = WHITE
    period: tuple[float, float] = (3.0, 9.0)  # paint, gap

    @property
    def double(self) -> bool:
        return self.category.startswith("double")

    @property
    def half(self) -> float:
        """Half the total width."""
        return self.width * (1.5 if self.double else 0.5)


@dataclass(frozen=True)
class Crossing:
    """A crossing street, or a pedestrian crossing only (width 0)."""

    s: float
    width: float
    zebra: str  # "bars", "lines" or "" for none
    stop: bool
    far_zebra: bool = False

    @property
    def gap(self) -> tuple[float, float]:
        """Range of s in which it interrupts the lines along the road."""
        before, after = (4.6 if zebra else 0.5 for zebra in (self.zebra, self.far_zebra))
        return self.s - before, self.s + self.width + after


@dataclass
class Road:
    """Everything flat, in metres; t = 0 is the middle of the ego lane."""

    scene: str
    lanes: list[LaneStrip]
    lines: list[RoadLine]
    curbs: tuple[bool, bool]
    walk: float  # width of the sidewalks, 0 = none
    beyond: str  # ground past the sidewalk: grass, paving or lot
    crossings: list[Crossing] = field(default_factory=list)
    # Painted bays of a car park: (s, t near, t far).
    bays: list[tuple[float, float, float]] = field(default_factory=list)
    stains: list[Stain] = field(default_factory=list)

    @property
    def left(self) -> float:
        return self.lanes[0].left

    @property
    def right(self) -> float:
        return self.lanes[-1].right

    @property
    def sides(self) -> tuple[tuple[int, float], tuple[int, float]]:
        """Sign and position of the left and the right edge."""
        return (-1, self.left), (1, self.right)

    @property
    def kerb(self) -> float:
        """Height of the ground next to the road."""
        return CURB_HEIGHT if self.walk else 0.0

    def free(self, s: float, half: float) -> bool:
        """Whether no crossing street is within `half` metres of `s`."""
        return not any(
            c.width and c.s - half - 3 < s < c.s + c.width + half + 3 for c in self.crossings
        )

    def spans(
        self, start: float, end: float, streets_only: bool = False
    ) -> list[tuple[float, float]]:
        """The parts of start..end without crossings, or without crossing streets."""
        out = []
        for crossing in sorted(self.crossings, key=lambda c: c.s):
            if streets_only and not crossing.width:
                continue
            first, last = crossing.gap
            if last <= start or first >= end:
                continue
            if first > start:
                out.append((start, first))
            start = max(start, last)
        if start < end:
            out.append((start, end))
        return out
