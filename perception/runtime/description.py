"""The description inside a model file: JSON under metadata_props["perception"] (docs/onnx.md).

Tasks declare their `View`, the export writes it into the file, the runtime reads it.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from perception.errors import UserError

KEY: Final = "perception"
BOX_SCORE: Final = 0.3  # for models without a recorded threshold
FORMAT: Final = 1
KINDS: Final = ("boxes", "mask", "label", "map", "normals")
BOXES, MASK, LABEL, MAP, NORMALS = KINDS
# A mask with this encoding holds the official lane byte instead of a class index.
LANE_BYTE: Final = "bdd100k-lane-byte"
# Limits on what is read; ImageNet has 1000 classes.
MAX_TEXT: Final = 4 << 20
MAX_TASKS: Final = 64
MAX_NAMES: Final = 10_000
MAX_NAME: Final = 1000


# For readers of the file in any language, as in docs/onnx.md.
CONVENTIONS: Final = {
    "letterbox": "scale = min(H/h, W/w); scaled size rounded half to even; shrunk by averaging, "
    "enlarged bilinearly; centred, the odd pixel of padding at the bottom or right",
    "boxes": "rows x1 y1 x2 y2 score class in pixels of the model's input, best first; no NMS "
    "needed. To the frame: subtract the padding, divide by scaled size / frame size per axis, clip "
    "to the frame",
    "mask": "uint8 class index, or bits of bdd100k-lane-byte: 0-2 category, 3 background, 4 style, "
    "5 direction. To the frame: cut off the padding, nearest neighbour",
    "label": "a row per group: probabilities of its classes, padded with 0",
    "map": "float32 in `unit`. To the frame: cut off the padding, bilinear",
    "normals": "unit vectors, x right, y down, z forward",
    "threshold": "scores.TASK.threshold: score in percent where F1 is best on validation frames; "
    "shown_threshold/CLASS: where 70 % of the boxes of a class are right",
}


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
        """(name, view) of one entry. Raises ValueError on an unknown kind or a malformed field."""
        name, kind = entry.get("name"), entry.get("kind")
        if not isinstance(name, str) or kind not in KINDS:
            raise ValueError(f"task {name!r:.100} has unknown kind {kind!r:.100}")
        groups = tuple(
            Group(_text(g["name"]), _texts(g, "classes")) for g in _list(entry, "groups")
        )
        texts = ("classes", "categories", "styles", "directions")
        bounds = tuple(float(value) for value in _list(entry, "range"))
        if len(bounds) not in (0, 2) or not all(map(math.isfinite, bounds)):
            raise ValueError(f"task {name!r:.100} has range {bounds!r:.100}, not two numbers")
        return _text(name), View(
            kind=kind,
            groups=groups,
            encoding=_text(entry.get("encoding", "")),
            unit=_text(entry.get("unit", "")),
            range=bounds,
            **{key: _texts(entry, key) for key in texts},
        )


def _list(entry: dict[str, Any], key: str) -> Sequence[Any]:
    """A list, a tuple or absent. Raises ValueError for anything else, and for a long one."""
    values = entry.get(key, [])
    if not isinstance(values, list | tuple) or len(values) > MAX_NAMES:
        raise ValueError(f"{key} is not a list of at most {MAX_NAMES} entries")
    return values


def _texts(entry: dict[str, Any], key: str) -> tuple[str, ...]:
    return tuple(_text(value) for value in _list(entry, key))


def _text(value: Any) -> str:
    """A valid name. Raises ValueError for anything else."""
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise ValueError(f"{value!r:.100} is not a name")
    value.encode()  # raises ValueError on half a surrogate pair
    return value


@dataclass(frozen=True)
class Description:
    """What a consumer needs in addition to one ONNX Runtime call."""

    name: str
    size_hw: tuple[int, int]
    views: dict[str, View]
    pad_value: int = 114
    scores: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    licence: str = ""

    def shown_scores(self, name: str) -> tuple[float, ...]:
        """From which score to draw the boxes of each class of an output, in the order of classes.

        Chosen on validation frames so that 70 % of the drawn boxes are right
        (`shown_threshold/CLASS` of its scores; 1: none has that precision). Classes without one,
        and all classes of older files, have `box_score`.
        """
        scores = self.scores.get(name)
        stored = scores if isinstance(scores, dict) else {}
        values = [stored.get(f"shown_threshold/{one}") for one in self.views[name].classes]
        return tuple(
            value / 100 if isinstance(value, int | float) and 0 <= value <= 100 else self.box_score
            for value in values
        )

    @property
    def box_score(self) -> float:
        """From which score boxes are worth logging: where F1 was best on the validation frames."""
        known = [
            scores["threshold"] / 100
            for scores in self.scores.values()
            if isinstance(scores, dict) and isinstance(scores.get("threshold"), int | float)
        ]
        return min(1.0, max(0.0, min(known))) if known else BOX_SCORE

    def to_json(self) -> str:
        """JSON text, format 1."""
        return json.dumps(
            {
                "format": FORMAT,
                "name": self.name,
                "size_hw": list(self.size_hw),
                "letterbox": {"align": "center", "pad_value": self.pad_value},
                "tasks": [view.to_json(name) for name, view in self.views.items()],
                "conventions": CONVENTIONS,
                "scores": self.scores,
                "training": self.training,
                "licence": self.licence,
            }
        )

    @staticmethod
    def from_json(text: str, source: str) -> "Description":
        """Reads format 1. Raises UserError naming `source` where the text is malformed."""
        try:
            if len(text) > MAX_TEXT:
                raise ValueError(f"{len(text)} characters long, at most {MAX_TEXT} are read")
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise UserError(
                    f"{source}: description format {data['format']!r:.100}, "
                    f"this version reads {FORMAT}"
                )
            height, width = (int(value) for value in data["size_hw"])
            if not (1 <= height <= 8192 and 1 <= width <= 8192):
                raise UserError(f"{source}: size_hw {height}x{width} is out of range")
            pad_value = int(data["letterbox"]["pad_value"])
            if not 0 <= pad_value <= 255:
                raise UserError(f"{source}: pad_value {pad_value} is not in 0 to 255")
            return Description(
                name=_text(data["name"]),
                size_hw=(height, width),
                views=_views(data),
                pad_value=pad_value,
                scores=dict(data.get("scores", {})),
                training=dict(data.get("training", {})),
                licence=str(data.get("licence", "")),
            )
        except (
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
            OverflowError,
        ) as error:
            raise UserError(
                f"{source}: its 'perception' description is malformed ({error!s:.300}); "
                "export the model again with export-onnx"
            ) from None


def _views(data: dict[str, Any]) -> dict[str, View]:
    entries = data["tasks"]
    if not isinstance(entries, list) or len(entries) > MAX_TASKS:
        raise ValueError(f"tasks is not a list of at most {MAX_TASKS} entries")
    views = dict(View.from_json(entry) for entry in entries)
    if len(views) < len(entries):
        raise ValueError("two tasks have the same name")
    return views
