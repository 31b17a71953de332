"""One output of a model as a consumer sees it: what a task declares, and the file describes."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

BOXES, MASK, LABEL, MAP, NORMALS = "boxes", "mask", "label", "map", "normals"
BOX_SCORE: Final = 0.3  # lowest score of boxes, for models without a recorded threshold
# A mask with this encoding holds the official lane byte instead of a class index.
LANE_BYTE: Final = "bdd100k-lane-byte"
# Limits on what is read; ImageNet has 1000 classes.
MAX_NAMES: Final = 10_000
MAX_NAME: Final = 1000


@dataclass(frozen=True)
class Group:
    """One attribute of a `label` output: its name and its classes, in column order."""

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """One output as a consumer sees it: kind, classes, encoding, range."""

    kind: str
    classes: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()
    encoding: str = ""
    categories: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    directions: tuple[str, ...] = ()
    unit: str = ""
    range: tuple[float, ...] = ()

    def title(self, name: str) -> str:
        """The output's name on a page or a picture."""
        if self.encoding == LANE_BYTE:
            return "Lanes"
        return {BOXES: "Objects", LABEL: "Scene"}.get(self.kind, name.capitalize())

    def to_json(self, name: str) -> dict[str, Any]:
        """The task's entry of the description; empty fields are left out."""
        return {"name": name} | {key: value for key, value in asdict(self).items() if value}

    @staticmethod
    def from_json(entry: dict[str, Any]) -> tuple[str, "View"]:
        """(name, view) of one entry. Raises ValueError on a malformed field."""
        name = valid_text(entry.get("name"))
        groups = tuple(
            Group(valid_text(g["name"]), texts_of(g, "classes")) for g in list_of(entry, "groups")
        )
        fields = ("classes", "categories", "styles", "directions")
        bounds = tuple(float(value) for value in list_of(entry, "range"))
        if len(bounds) not in (0, 2) or not all(map(math.isfinite, bounds)):
            raise ValueError(f"task {name!r:.100} has range {bounds!r:.100}, not two numbers")
        return name, View(
            kind=valid_text(entry.get("kind")),
            groups=groups,
            encoding=valid_text(entry.get("encoding", "")),
            unit=valid_text(entry.get("unit", "")),
            range=bounds,
            **{key: texts_of(entry, key) for key in fields},
        )


def list_of(entry: dict[str, Any], key: str) -> Sequence[Any]:
    """A list, a tuple or absent. Raises ValueError for anything else, and for a long one."""
    values = entry.get(key, [])
    if not isinstance(values, list | tuple) or len(values) > MAX_NAMES:
        raise ValueError(f"{key} is not a list of at most {MAX_NAMES} entries")
    return values


def texts_of(entry: dict[str, Any], key: str) -> tuple[str, ...]:
    return tuple(valid_text(value) for value in list_of(entry, key))


def valid_text(value: Any) -> str:
    """A valid name. Raises ValueError for anything else."""
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise ValueError(f"{value!r:.100} is not a name")
    value.encode()  # raises ValueError on half a surrogate pair
    return value
