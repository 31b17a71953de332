"""Names in BDD100K's label files, read as the official toolkit reads them (its configs/det.toml):
those of 2018, of 2020, and those that custom exports use."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from perception import classes

RENAMED: Final = {
    "bike": "bicycle",
    "motor": "motorcycle",
    "person": "pedestrian",
    "caravan": "car",
    "van": "car",
}
# Uncertain objects: ignored regions.
IGNORED: Final = {"other person": "pedestrian", "other vehicle": "car", "trailer": "truck"}
BOXES: Final = {name: name for name in classes.DETECTION} | RENAMED | IGNORED
AREAS: Final = {
    "direct": "direct",
    "alternative": "alternative",
    "area/drivable": "direct",
    "area/direct": "direct",
    "area/alternative": "alternative",
}
LANE: Final = "lane"  # a lane of unknown category


def is_bdd100k(names: Iterable[str], groups: Iterable[str] = ()) -> bool:
    """Whether box names (and names of frame attributes) are those of a release of BDD100K.

    They are its present ten classes or some of them; or they use other names of its releases, and
    all ten classes or its attributes tell that it is one: a folder with `person` and `car` is not.
    """
    found = {name: BOXES.get(name) for name in names}
    if None in found.values():
        return False
    whole = set(found.values()) == set(classes.DETECTION)
    return set(found) <= set(classes.DETECTION) or whole or set(classes.ATTRIBUTES) <= set(groups)


def area_name(category: str, attributes: Mapping[str, Any]) -> str | None:
    """direct or alternative; None where the label is no drivable area."""
    if category == "drivable area":
        return AREAS.get(str(attributes.get("areaType", "direct")))
    return AREAS.get(category)


def lane_name(category: str, attributes: Mapping[str, Any]) -> str | None:
    """The category of a lane, LANE where it is not annotated; None where the label is no lane.

    Written as `lane` with attributes (2018, consolidated), `lane/single white` (2018, one file per
    image) or `single white` (2020).
    """
    if category == LANE:
        name = str(attributes.get("laneTypes", attributes.get("laneType", "")))
    elif category.startswith("lane/"):
        name = category[len("lane/") :]
    else:
        return category if category in classes.LANE_CATEGORIES else None
    return name if name in classes.LANE_CATEGORIES else LANE


def lane_bits(attributes: Mapping[str, Any]) -> int:
    """Style and direction of a lane's attributes; the unknown bit where they lack one."""
    style = str(attributes.get("laneStyle", attributes.get("style", "")))
    direction = str(attributes.get("laneDirection", attributes.get("direction", "")))
    if style in classes.LANE_STYLES and direction in classes.LANE_DIRECTIONS:
        bits = classes.LANE_STYLES.index(style) << classes.LANE_STYLE_SHIFT
        return bits | classes.LANE_DIRECTIONS.index(direction) << classes.LANE_DIRECTION_SHIFT
    return classes.LANE_TYPE_UNKNOWN
