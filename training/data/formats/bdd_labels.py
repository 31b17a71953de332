"""Single labels of BDD100K's JSON files: what is wrong with a box, and the outlines of a poly2d."""

import math
from collections.abc import Mapping
from typing import Any

from training.data.builder import MOST_VERTICES
from training.data.table import REACH, TOLERANCE


def label_id(label: Mapping[str, Any]) -> str:
    return repr(str(label.get("id", "?"))[:60])


def why_not(label: Mapping[str, Any], box: Any) -> str:
    """What is wrong with a box that was rejected."""
    name, category = f"box {label_id(label)}", label.get("category")
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


def outlines(polygons: Any) -> list[tuple[list[Any], str, bool]]:
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


def drawable(vertices: Any, types: str) -> bool:
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
