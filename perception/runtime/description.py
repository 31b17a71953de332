"""The description inside a model file: JSON under metadata_props["perception"] (docs/onnx.md).

Tasks declare their `View`, the export writes it into the file, the runtime reads it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from perception.errors import MALFORMED, UserError
from perception.runtime.compare import LIMITS, Difference
from perception.runtime.scene import KINDS
from perception.runtime.view import BOX_SCORE, BOXES, View, valid_text

KEY: Final = "perception"
FORMAT: Final = 1
# Limits on what is read.
MAX_TEXT: Final = 4 << 20
MAX_TASKS: Final = 64

# For readers of the file in any language, with those of every kind, as in docs/onnx.md.
CONVENTIONS: Final = {
    "letterbox": "scale = min(H/h, W/w); scaled size rounded half to even; shrunk by averaging, "
    "enlarged bilinearly; centred, the odd pixel of padding at the bottom or right",
    "threshold": "scores.TASK.threshold: score in percent where F1 is best on validation frames; "
    "shown_threshold/CLASS: where 70 % of the boxes of a class are right",
}


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

    def box_scores(self, score: float | None = None) -> dict[str, tuple[float, ...]]:
        """{output: lowest score per class} of all boxes outputs: `score`, or as the file says.

        What is drawn, logged, tracked and measured has the same."""
        boxes = {name: view for name, view in self.views.items() if view.kind == BOXES}
        if score is None:
            return {name: self.shown_scores(name) for name in boxes}
        return {name: (float(score),) * len(view.classes) for name, view in boxes.items()}

    @property
    def box_score(self) -> float:
        """From which score boxes are worth logging: where F1 was best on the validation frames."""
        known = [
            scores["threshold"] / 100
            for scores in self.scores.values()
            if isinstance(scores, dict) and isinstance(scores.get("threshold"), int | float)
        ]
        return min(1.0, max(0.0, min(known))) if known else BOX_SCORE

    def differences(
        self, wanted: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray], precision: str
    ) -> list[Difference]:
        """How far the decoded outputs of one frame differ; `precision`: key of LIMITS."""
        return [
            Difference(name, view.kind, *measured)
            for name, view in self.views.items()
            for measured in KINDS[view.kind].compare(wanted[name], got[name], LIMITS[precision])
        ]

    def to_json(self) -> str:
        """JSON text, format 1."""
        return json.dumps(
            {
                "format": FORMAT,
                "name": self.name,
                "size_hw": list(self.size_hw),
                "letterbox": {"align": "center", "pad_value": self.pad_value},
                "tasks": [view.to_json(name) for name, view in self.views.items()],
                "conventions": CONVENTIONS | {kind: KINDS[kind].convention for kind in KINDS},
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
                name=valid_text(data["name"]),
                size_hw=(height, width),
                views=_views(data),
                pad_value=pad_value,
                scores=dict(data.get("scores", {})),
                training=dict(data.get("training", {})),
                licence=str(data.get("licence", "")),
            )
        except MALFORMED as error:
            raise UserError(
                f"{source}: its 'perception' description is malformed ({error!s:.300}); "
                "export the model again with export-onnx"
            ) from None


def _views(data: dict[str, Any]) -> dict[str, View]:
    entries = data["tasks"]
    if not isinstance(entries, list) or len(entries) > MAX_TASKS:
        raise ValueError(f"tasks is not a list of at most {MAX_TASKS} entries")
    views = dict(View.from_json(entry) for entry in entries)
    for name, view in views.items():
        if view.kind not in KINDS:
            raise ValueError(f"task {name!r:.100} has unknown kind {view.kind!r:.100}")
    if len(views) < len(entries):
        raise ValueError("two tasks have the same name")
    return views
