"""Class lists as data: a task's view with the user's own names, checked, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from perception.errors import UserError
from perception.runtime.description import LABEL, LANE_BYTE, Group, View

# What the bits of the lane byte hold, and the largest class index of a uint8 mask (255: ignored).
LANE_LIMITS: Final = {"categories": 8, "styles": 2, "directions": 2}
MASK_LIMIT: Final = 255


def with_classes(task: str, view: View, names: Any) -> View:
    """`view` with other class names. Raises UserError naming the task and the field.

    `names` is a list for boxes and masks, {attribute: list} for labels, and {"categories": list,
    "styles": list, "directions": list} (any of them) for the lane byte.
    """
    if view.kind == LABEL:
        groups = _mapping(task, names)
        return replace(
            view, groups=tuple(Group(g, _names(f"{task}/{g}", groups[g])) for g in groups)
        )
    if view.encoding == LANE_BYTE:
        given: dict[str, Any] = {}
        for field, values in _mapping(task, names).items():
            if field not in LANE_LIMITS:
                raise UserError(f"classes of {task}: no {field!r}; use {', '.join(LANE_LIMITS)}")
            given[field] = _names(f"{task}/{field}", values, LANE_LIMITS[field])
        return replace(view, **given)
    if not view.classes:
        raise UserError(f"classes of {task}: this task has none")
    limit = MASK_LIMIT if view.kind != "boxes" else 10_000
    return replace(view, classes=_names(task, names, limit))


def names_of(view: View) -> Any:
    """The inverse of `with_classes`: JSON-able names; None for a view without classes."""
    if view.kind == LABEL:
        return {group.name: list(group.classes) for group in view.groups}
    if view.encoding == LANE_BYTE:
        return {field: list(getattr(view, field)) for field in LANE_LIMITS}
    return list(view.classes) or None


def _mapping(task: str, names: Any) -> Mapping[str, Any]:
    if not isinstance(names, Mapping) or not names:
        raise UserError(f"classes of {task}: give a list of names for each of its parts, by name")
    return {str(key): value for key, value in names.items()}


def _names(field: str, names: Any, limit: int = 10_000) -> tuple[str, ...]:
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        raise UserError(f"classes of {field}: {names!r:.100} is not a list of names")
    if len(names) > limit:
        raise UserError(f"classes of {field}: {len(names)} names, at most {limit}")
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"classes of {field}: name {index} is {name!r:.100}; give a text")
        if name in names[:index]:
            raise UserError(f"classes of {field}: {name!r:.100} occurs twice")
    return tuple(names)
