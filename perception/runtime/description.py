"""What a model file says about itself: the JSON under metadata_props["perception"].

Torch-free; the tasks declare their `View` with it, the export writes it, the runtime reads it.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from perception.errors import UserError

KEY: Final = "perception"
FORMAT: Final = 1
KINDS: Final = ("boxes", "mask", "label", "map", "normals")
BOXES, MASK, LABEL, MAP, NORMALS = KINDS
# A mask with this encoding holds the official lane byte instead of a class index.
LANE_BYTE: Final = "bdd100k-lane-byte"


@dataclass(frozen=True)
class Group:
    """One attribute of a `label` output: its name and its classes, in column order."""

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """What a consumer is told about one output: kind, classes, encoding, range."""

    kind: str
    classes: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()
    encoding: str = ""
    categories: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    directions: tuple[str, ...] = ()
    unit: str = ""
    range: tuple[float, ...] = ()

    def to_json(self, name: str) -> dict[str, Any]:
        """The task's entry of the description; empty fields are left out."""
        return {"name": name} | {key: value for key, value in asdict(self).items() if value}

    @staticmethod
    def from_json(entry: dict[str, Any]) -> tuple[str, "View"]:
        """(name, view) of one entry. Raises UserError on an unknown kind or a malformed field."""
        name, kind = entry.get("name"), entry.get("kind")
        if not isinstance(name, str) or kind not in KINDS:
            raise UserError(f"model description: task {name!r} has unknown kind {kind!r}")
        groups = tuple(
            Group(str(g["name"]), tuple(map(str, g["classes"]))) for g in entry.get("groups", ())
        )
        texts = ("classes", "categories", "styles", "directions")
        return name, View(
            kind=kind,
            groups=groups,
            encoding=str(entry.get("encoding", "")),
            unit=str(entry.get("unit", "")),
            range=tuple(float(value) for value in entry.get("range", ())),
            **{key: tuple(str(value) for value in entry.get(key, ())) for key in texts},
        )


@dataclass(frozen=True)
class Description:
    """Everything a consumer in any language needs beside one ONNX Runtime call."""

    name: str
    size_hw: tuple[int, int]
    views: dict[str, View]
    pad_value: int = 114
    scores: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    licence: str = ""

    def to_json(self) -> str:
        """The JSON text of format 1."""
        return json.dumps(
            {
                "format": FORMAT,
                "name": self.name,
                "size_hw": list(self.size_hw),
                "letterbox": {"align": "center", "pad_value": self.pad_value},
                "tasks": [view.to_json(name) for name, view in self.views.items()],
                "scores": self.scores,
                "training": self.training,
                "licence": self.licence,
            }
        )

    @staticmethod
    def from_json(text: str, source: str) -> "Description":
        """Reads format 1. Raises UserError naming `source` where the text is not ours."""
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise UserError(
                    f"{source}: description format {data['format']!r}, this version reads {FORMAT}"
                )
            height, width = (int(value) for value in data["size_hw"])
            if not (1 <= height <= 8192 and 1 <= width <= 8192):
                raise UserError(f"{source}: size_hw {height}x{width} is out of range")
            pad_value = int(data["letterbox"]["pad_value"])
            if not 0 <= pad_value <= 255:
                raise UserError(f"{source}: pad_value {pad_value} is not a grey value, 0 to 255")
            return Description(
                name=str(data["name"]),
                size_hw=(height, width),
                views=dict(View.from_json(entry) for entry in data["tasks"]),
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
                f"{source}: its 'perception' description is malformed ({error}); "
                "export the model again with export-onnx"
            ) from None
