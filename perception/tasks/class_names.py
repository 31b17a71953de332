"""Class lists as data: a task's view with the user's own names, checked, and back."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import Any, Final

from perception.errors import UserError
from perception.runtime.view import LABEL, LANE_BYTE, Group, View

# What the bits of the lane byte hold, and the largest class index of a uint8 mask (255: ignored).
LANE_LIMITS: Final = {"categories": 8, "styles": 2, "directions": 2}
MASK_LIMIT: Final = 255
ANY_LIMIT: Final = 10_000
MOST_CLASSES: Final = 250  # of a user's list: values of an 8-bit mask, without a few spare ones


def with_classes(task: str, view: View, names: Any) -> View:
    """`view` with other class names. Raises UserError naming the task and the field.

    `names` is a list for boxes and masks, {attribute: list} for labels, and {"categories": list,
    "styles": list, "directions": list} (any of them) for the lane byte.
    """
    if view.kind == LABEL:
        groups = _mapping(task, names)
        lists = {g: check_names(groups[g], f"classes of {task}/{g}", ANY_LIMIT) for g in groups}
        return replace(view, groups=tuple(Group(g, listed) for g, listed in lists.items()))
    if view.encoding == LANE_BYTE:
        given: dict[str, Any] = {}
        for field, values in _mapping(task, names).items():
            if field not in LANE_LIMITS:
                raise UserError(f"classes of {task}: no {field!r}; use {', '.join(LANE_LIMITS)}")
            given[field] = check_names(values, f"classes of {task}/{field}", LANE_LIMITS[field])
        return replace(view, **given)
    if not view.classes:
        raise UserError(f"classes of {task}: this task has none")
    limit = MASK_LIMIT if view.kind != "boxes" else ANY_LIMIT
    return replace(view, classes=check_names(names, f"classes of {task}", limit))


def names_of(view: View) -> Any:
    """The inverse of `with_classes`: JSON-able names; None for a view without classes."""
    if view.kind == LABEL:
        return {group.name: list(group.classes) for group in view.groups}
    if view.encoding == LANE_BYTE:
        return {field: list(getattr(view, field)) for field in LANE_LIMITS}
    return list(view.classes) or None


def every_name(view: View) -> tuple[str, ...]:
    """All class names of a view; those of labels as GROUP/NAME."""
    parts = (view.classes, view.categories, view.styles, view.directions)
    groups = (f"{group.name}/{name}" for group in view.groups for name in group.classes)
    return (*chain.from_iterable(parts), *groups)


def _mapping(task: str, names: Any) -> Mapping[str, Any]:
    if not isinstance(names, Mapping) or not names:
        raise UserError(f"classes of {task}: give a list of names for each of its parts, by name")
    return {str(key): value for key, value in names.items()}


def check_names(names: Any, place: str, most: int = MOST_CLASSES) -> tuple[str, ...]:
    """Names of classes. Raises UserError for an empty list, and empty, duplicate or too many names.

    Numbers count as names: YAML reads `[1, 2]` so. `place` begins the message.
    """
    if not isinstance(names, list | tuple) or not names:
        raise UserError(f"{place}: write a list of class names")
    if len(names) > most:
        raise UserError(f"{place}: {len(names)} classes; at most {most} are possible")
    found: dict[str, None] = {}
    for number, name in enumerate(names, 1):
        text = "" if name is None or isinstance(name, list | dict) else str(name).strip()
        if not text or not text.isprintable() or len(text) > 100:
            raise UserError(f"{place}: entry {number} is no name; write 1 to 100 characters")
        if text in found:
            raise UserError(f"{place}: {text!r} occurs twice; remove one")
        found[text] = None
    return tuple(found)
