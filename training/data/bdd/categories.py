"""Names of BDD100K's releases, read as the toolkit reads them (its configs/det.toml).

The maps below are one place for: 2018 names, 2020 names, names a custom export may use.
"""

from collections.abc import Mapping
from typing import Any, Final

from perception.classes import (
    DETECTION,
    DRIVABLE,
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
# Uncertain objects: neither right nor wrong when detected.
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


def drivable_value(category: str, attributes: Mapping[str, Any]) -> int | None:
    """0 direct, 1 alternative; None where the label is no drivable area."""
    if category == "drivable area":
        return DRIVABLE_NAMES.get(str(attributes.get("areaType", "direct")))
    return DRIVABLE_NAMES.get(category)


def lane_byte(category: str, attributes: Mapping[str, Any]) -> int | None:
    """The lane byte of a polyline, with the unknown bits set where a part is not annotated.

    None where the label is no lane. Categories are `lane` with attributes (2018, consolidated),
    `lane/single white` (2018, a file an image) or `single white` (2020).
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
