"""Labels of BDD100K's releases: what their names mean, and the flat columns they are read into.

Names are read as the official toolkit reads them (its configs/det.toml): those of 2018, of 2020,
and those that custom exports use.
"""

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from perception.classes import (
    ATTRIBUTES,
    DETECTION,
    DRIVABLE,
    LANE_BACKGROUND_BIT,
    LANE_CATEGORIES,
    LANE_CATEGORY_UNKNOWN,
    LANE_DIRECTION_SHIFT,
    LANE_DIRECTIONS,
    LANE_STYLE_SHIFT,
    LANE_STYLES,
    LANE_TYPE_UNKNOWN,
)

RENAMED: Final = {
    "bike": "bicycle",
    "motor": "motorcycle",
    "person": "pedestrian",
    "caravan": "car",
    "van": "car",
}
# Uncertain objects: ignored regions.
IGNORED: Final = {"other person": "pedestrian", "other vehicle": "car", "trailer": "truck"}
DRIVABLE_NAMES: Final = {
    "direct": 0,
    "alternative": 1,
    "area/drivable": 0,
    "area/direct": 0,
    "area/alternative": 1,
}

BACKGROUND_DRIVABLE: Final = DRIVABLE.index("background")
LANE_FOREGROUND: Final = LANE_CATEGORY_UNKNOWN | LANE_TYPE_UNKNOWN

_CLASS: Final = {name: index for index, name in enumerate(DETECTION)}
_LANE: Final = {name: index for index, name in enumerate(LANE_CATEGORIES)}

IGNORE_FLAG: Final = 1
OCCLUDED_FLAG: Final = 2
TRUNCATED_FLAG: Final = 4
DRIVABLE_POLYGON: Final = 0
LANE_POLYGON: Final = 1
# A box may reach this far out of the frame (annotation tools round); it is cut to the frame.
TOLERANCE: Final = 2.0
# No frame is wider; an outline that reaches further would only cost memory when it is drawn.
REACH: Final = 100_000
MOST_VERTICES: Final = 2000  # of one outline
MOST_VERTICES_OF_FRAME: Final = 20_000
UNDEFINED: Final = "undefined"


def box_class(category: str) -> tuple[int, bool] | None:
    """(class index, ignore) of a box's category; None where the name is unknown."""
    found = _CLASS.get(category)
    if found is not None:
        return found, False
    renamed = RENAMED.get(category)
    if renamed is not None:
        return _CLASS[renamed], False
    ignored = IGNORED.get(category)
    return None if ignored is None else (_CLASS[ignored], True)


def is_bdd100k(names: Iterable[str], groups: Iterable[str] = ()) -> bool:
    """Whether box names (and names of frame attributes) are those of a release of BDD100K.

    They are its present ten classes or some of them; or they use other names of its releases, and
    all ten classes or its attributes tell that it is one: a folder with `person` and `car` is not.
    """
    found = {name: box_class(name) for name in names}
    if None in found.values():
        return False
    if set(found) <= set(DETECTION):
        return True
    whole = {value[0] for value in found.values() if value is not None}
    return len(whole) == len(DETECTION) or set(ATTRIBUTES) <= set(groups)


def drivable_value(category: str, attributes: Mapping[str, Any]) -> int | None:
    """0 direct, 1 alternative; None where the label is no drivable area."""
    if category == "drivable area":
        return DRIVABLE_NAMES.get(str(attributes.get("areaType", "direct")))
    return DRIVABLE_NAMES.get(category)


def lane_byte(category: str, attributes: Mapping[str, Any]) -> int | None:
    """The lane byte of a polyline, with the unknown bits set where a part is not annotated.

    None where the label is no lane. Categories are `lane` with attributes (2018, consolidated),
    `lane/single white` (2018, one file per image) or `single white` (2020).
    """
    if category == "lane":
        name = str(attributes.get("laneTypes", attributes.get("laneType", "")))
    elif category.startswith("lane/"):
        name = category[len("lane/") :]
    elif category in _LANE:
        name = category
    else:
        return None
    style = str(attributes.get("laneStyle", attributes.get("style", "")))
    direction = str(attributes.get("laneDirection", attributes.get("direction", "")))
    known = name in _LANE
    byte = _LANE[name] if known else LANE_CATEGORY_UNKNOWN
    if style in LANE_STYLES and direction in LANE_DIRECTIONS:
        byte |= LANE_STYLES.index(style) << LANE_STYLE_SHIFT
        return byte | LANE_DIRECTIONS.index(direction) << LANE_DIRECTION_SHIFT
    return byte | LANE_TYPE_UNKNOWN


BOX_CLASSES: Final = {
    name: (found[0], IGNORE_FLAG if found[1] else 0)
    for name in (*DETECTION, *RENAMED, *IGNORED)
    if (found := box_class(name)) is not None
}


class LabelColumns:
    """Boxes and polygons of all frames; a frame's are the rows [start, start + count)."""

    def __init__(self) -> None:
        self.box_xyxy, self.box_class, self.box_flags = array("f"), array("b"), array("B")
        self.polygon_kind, self.polygon_value = array("B"), array("B")
        self.vertex_start, self.vertex_xy = array("q", [0]), array("d")
        self.vertex_curve = array("B")

    def add_boxes(self, labels: Sequence[Mapping[str, Any]]) -> list[str]:
        """Adds every `box2d`; returns what is wrong with those that cannot be used."""
        # Runs for 1.5 million boxes: plain comparisons; the reason is found only for wrong boxes.
        wrong: list[str] = []
        for label in labels:
            box = label.get("box2d")
            if box is None:
                continue
            try:
                x1, y1, x2, y2 = box["x1"], box["y1"], box["x2"], box["y2"]
                fits = x2 > x1 >= -TOLERANCE and y2 > y1 >= -TOLERANCE and x2 + y2 < REACH
                kind, flags = BOX_CLASSES[label["category"]]
            except (KeyError, TypeError):
                fits = False
            if not fits:
                wrong.append(_why_not(label, box))
                continue
            attributes = label.get("attributes")
            if isinstance(attributes, dict):
                if attributes.get("occluded"):
                    flags |= OCCLUDED_FLAG
                if attributes.get("truncated"):
                    flags |= TRUNCATED_FLAG
                if attributes.get("ignored") or attributes.get("crowd"):
                    flags |= IGNORE_FLAG
            self.box_xyxy.extend((x1, y1, x2, y2))
            self.box_class.append(kind)
            self.box_flags.append(flags)
        return wrong

    def add_polygons(self, labels: Sequence[Mapping[str, Any]], kinds: frozenset[str]) -> list[str]:
        """Adds drivable areas and lanes, of the wanted kinds, in drawing order."""
        wrong: list[str] = []
        before = len(self.vertex_curve)
        for label in labels:
            polygons = label.get("poly2d")
            if not polygons:
                continue
            category = str(label.get("category"))
            attributes = label.get("attributes")
            kind, value = _meaning(category, attributes if isinstance(attributes, dict) else {})
            if value is None or _KIND_NAMES[kind] not in kinds:
                continue
            for vertices, types, closed in _outlines(polygons):
                if not _drawable(vertices, types):
                    wrong.append(f"poly2d {_name(label)} ({category:.60}) has malformed vertices")
                    continue
                if len(self.vertex_curve) - before + len(vertices) > MOST_VERTICES_OF_FRAME:
                    wrong.append(f"more than {MOST_VERTICES_OF_FRAME} vertices are drawn")
                    return wrong
                self.polygon_kind.append(kind)
                is_area = closed and kind == LANE_POLYGON
                self.polygon_value.append(value | LANE_BACKGROUND_BIT if is_area else value)
                for x, y in vertices:
                    self.vertex_xy.extend((x, y))
                self.vertex_curve.extend(letter == "C" for letter in types)
                self.vertex_start.append(len(self.vertex_curve))
        return wrong


_KIND_NAMES: Final = ("drivable", "lane")


def _name(label: Mapping[str, Any]) -> str:
    return repr(str(label.get("id", "?"))[:60])


def _why_not(label: Mapping[str, Any], box: Any) -> str:
    """What is wrong with a box that `add_boxes` rejected."""
    name, category = f"box {_name(label)}", label.get("category")
    try:
        x1, y1, x2, y2 = (0.0 + box[key] for key in ("x1", "y1", "x2", "y2"))
    except (KeyError, TypeError, OverflowError):
        return f"{name} lacks a number among x1, y1, x2, y2"
    if not math.isfinite(x1 + y1 + x2 + y2):
        return f"{name} is not finite"
    if x2 <= x1 or y2 <= y1:
        return f"{name} is empty (x2 <= x1 or y2 <= y1)"
    if min(x1, y1) < -TOLERANCE:
        return f"{name} begins outside the frame"
    if x2 + y2 >= REACH:
        return f"{name} reaches beyond {REACH} pixels"
    return f"{name} has the unknown category {category!r:.60} (own categories: open scalabel:DIR)"


def _meaning(category: str, attributes: Mapping[str, Any]) -> tuple[int, int | None]:
    area = drivable_value(category, attributes)
    if area is not None:
        return DRIVABLE_POLYGON, area
    return LANE_POLYGON, lane_byte(category, attributes)


def _outlines(polygons: Any) -> list[tuple[list[Any], str, bool]]:
    """(vertices, types, closed) of `poly2d`: a list of polygons (2020), or one list of
    [x, y, type]."""
    if not isinstance(polygons, list):
        return [([], "", False)]
    if polygons and isinstance(polygons[0], list):
        if not all(isinstance(vertex, list) and len(vertex) == 3 for vertex in polygons):
            return [([], "", False)]
        types = "".join(str(vertex[2]) for vertex in polygons)
        return [([vertex[:2] for vertex in polygons], types, False)]
    return [
        (one.get("vertices") or [], str(one.get("types", "")), one.get("closed") is True)
        if isinstance(one, dict)
        else ([], "", False)
        for one in polygons
    ]


def _drawable(vertices: Any, types: str) -> bool:
    if not isinstance(vertices, list) or not 2 <= len(vertices) <= MOST_VERTICES:
        return False
    if len(types) != len(vertices) or set(types) - {"L", "C"}:
        return False
    return all(
        isinstance(vertex, list)
        and len(vertex) == 2
        and all(isinstance(value, int | float) and abs(value) <= REACH for value in vertex)
        for vertex in vertices
    )


def frame_attributes(frame: Mapping[str, Any]) -> tuple[tuple[int, ...], list[str]]:
    """Class indices of weather, scene and time of day (-1 unknown), and what is wrong with them."""
    attributes = frame.get("attributes")
    if not isinstance(attributes, dict):
        return (-1,) * len(ATTRIBUTES), ["attributes are no object"]
    codes, wrong = [], []
    for name, values in ATTRIBUTES.items():
        value = attributes.get(name, UNDEFINED)
        codes.append(values.index(value) if value in values else -1)
        if codes[-1] < 0 and value != UNDEFINED:
            known = ", ".join((*values, UNDEFINED))
            wrong.append(f"attribute {name} is {value!r:.60}; known: {known}")
    return tuple(codes), wrong
