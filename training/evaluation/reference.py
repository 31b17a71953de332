"""The official toolkit's evaluators on the same predictions, next to our scores (`--toolkit`)."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import cv2
import numpy as np

from perception.classes import (
    ATTRIBUTES,
    DETECTION,
    DRIVABLE,
    LANE_BACKGROUND,
    LANE_CATEGORY_UNKNOWN,
    LANE_IGNORE,
    LANE_TYPE_UNKNOWN,
    SEMANTIC,
)
from perception.runtime.scene import Scene
from perception.runtime.view import BOXES, LABEL, LANE_BYTE, MASK, View
from perception.tasks import TASKS
from training.data.labels import Arrays
from training.evaluation import toolkit
from training.evaluation.predictor import LabelledFrame
from training.evaluation.submission import scalabel_labels

# Bits of lane bytes that no official mask has.
UNKNOWN_TYPE: Final = LANE_CATEGORY_UNKNOWN | LANE_TYPE_UNKNOWN


class ToolkitCheck:
    """Keeps predictions and labels in a temporary folder; `compare` scores them both ways.

    Tasks without an evaluator in the toolkit are left out, and so are labels that official files
    cannot express: lanes of unknown type, attributes that are not all known.
    """

    def __init__(self, views: Mapping[str, View]) -> None:
        toolkit.load()
        self.kinds = {task: kind for task, view in views.items() if (kind := kind_of(view))}
        self.views = dict(views)
        self.metrics = {task: TASKS[task].metric(views[task]) for task in self.kinds}
        self.counts = dict.fromkeys(self.kinds, 0)
        self.entries: dict[str, tuple[list[Any], list[Any]]] = {
            task: ([], []) for task in self.kinds
        }

    def __enter__(self) -> "ToolkitCheck":
        self._folder = tempfile.TemporaryDirectory(prefix="eval-bdd-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def add(self, frame: LabelledFrame, scene: Scene) -> None:
        """One frame: its labels and predictions, as the toolkit reads them."""
        for task, kind in self.kinds.items():
            target = frame.targets.get(task)
            if target is None or not EXPRESSIBLE[kind](target):
                continue
            found = scene.outputs[task].array()
            self.metrics[task].update(found, target)
            name = f"{self.counts[task]:06d}"
            for side, entry in zip(
                self.entries[task],
                self._entries(task, kind, name, found, target),
                strict=True,
            ):
                side.append(entry)
            self.counts[task] += 1

    def _entries(
        self, task: str, kind: str, name: str, found: np.ndarray, target: Arrays
    ) -> tuple[Any, Any]:
        """(truth, prediction) of one frame: Scalabel entries, attributes or paths of masks."""
        if kind == "det":
            return scalabel_pair(name, found, target)
        if kind == "tagging":
            truth, best = target["labels"].tolist(), found.argmax(1).tolist()
            groups = list(ATTRIBUTES.items())
            return tuple(
                {group: names[code] for (group, names), code in zip(groups, codes, strict=True)}
                for codes in (truth, best)
            )  # type: ignore[return-value]
        mask = target["lane"] if kind == "lane_mark" else target["mask"]
        paths = []
        for side, pixels in (("truth", mask), ("found", found)):
            folder = Path(self._folder.name) / task / side
            folder.mkdir(parents=True, exist_ok=True)
            paths.append(folder / f"{name}.png")
            _, png = cv2.imencode(".png", pixels)
            paths[-1].write_bytes(png.tobytes())
        return paths[0], paths[1]

    def compare(self) -> list[dict[str, Any]]:
        """Rows of task, score, number of frames, our value and the toolkit's."""
        rows = []
        for task, kind in self.kinds.items():
            if not self.counts[task]:
                continue
            truth, found = self.entries[task]
            official = EVALUATORS[kind](truth, found)
            ours = self.metrics[task].compute()
            for score, value in official.items():
                row = {"task": task, "score": score, "frames": self.counts[task]}
                rows.append(row | {"ours": ours[score], "toolkit": float(value)})
        return rows

    def notes(self) -> list[str]:
        """Tasks that the toolkit could not score."""
        left_out = [task for task, count in self.counts.items() if not count]
        if not left_out:
            return []
        return [f"toolkit: no labels that its files can hold for {', '.join(left_out)}"]


def kind_of(view: View) -> str:
    """The toolkit's evaluator for an output: its name here, "" if there is none."""
    if view.kind == BOXES and view.classes == DETECTION:
        return "det"
    if view.kind == MASK and view.encoding == LANE_BYTE:
        return "lane_mark"
    if view.kind == MASK and view.classes in (DRIVABLE, SEMANTIC):
        return "drivable" if view.classes == DRIVABLE else "sem_seg"
    if view.kind == LABEL and {g.name: g.classes for g in view.groups} == ATTRIBUTES:
        return "tagging"
    return ""


def scalabel_pair(
    name: str, found: np.ndarray, target: Arrays
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Labels and predictions of a frame's boxes as Scalabel entries."""
    count = len(target["classes"])
    rows = np.column_stack([target["boxes_xyxy"], np.ones(count), target["classes"]])
    labels = scalabel_labels(rows, DETECTION, scores=False)
    for label, ignored in zip(labels, target.get("ignore", np.zeros(count, bool)), strict=True):
        label["attributes"] = {"ignored": bool(ignored)}
    predictions = scalabel_labels(found, DETECTION)
    return {"name": name, "labels": labels}, {"name": name, "labels": predictions}


def _always(target: Arrays) -> bool:
    return True


def _lanes_are_typed(target: Arrays) -> bool:
    lane = target["lane"]
    foreground = lane[lane != LANE_BACKGROUND]
    return not ((foreground == LANE_IGNORE) | (foreground & UNKNOWN_TYPE > 0)).any()


EXPRESSIBLE: Final[dict[str, Callable[[Arrays], bool]]] = {
    "det": _always,
    "drivable": _always,
    "sem_seg": _always,
    "lane_mark": _lanes_are_typed,
    "tagging": lambda target: bool((target["labels"] >= 0).all()),
}


def _detection(truth: list[Any], found: list[Any]) -> dict[str, float]:
    names = {"AP": "mAP", "AP50": "mAP50", "AP75": "mAP75"}
    result = toolkit.evaluate_detection(truth, found)
    return {names.get(key, key): scores[-1]["OVERALL"] for key, scores in result.items()}


def _masks(kind: str) -> Callable[[list[Any], list[Any]], dict[str, float]]:
    def evaluate(truth: list[Any], found: list[Any]) -> dict[str, float]:
        result: Mapping[str, Any] = toolkit.evaluate_masks(kind, truth, found)
        return {"mIoU": result["IoU"][-1]["AVERAGE"], "pixAcc": result["pAcc"]}

    return evaluate


def _lanes(truth: list[Any], found: list[Any]) -> dict[str, float]:
    result = toolkit.evaluate_masks("lane_mark", truth, found)
    out = {}
    for radius in (1, 2, 5):
        *_, parts, average = result[f"F1_pix{radius}"]
        out[f"average_F1@{radius}"] = average["AVERAGE"]
        out |= {f"{part.lower()}_F1@{radius}": value for part, value in parts.items()}
    return out


def _tagging(truth: list[Any], found: list[Any]) -> dict[str, float]:
    result = toolkit.evaluate_tagging(ATTRIBUTES, truth, found)
    return {
        "accuracy": result["accuracy"][-1]["AVERAGE"],
        "F1": result["f1_score"][-1]["AVERAGE"],
    }


EVALUATORS: Final[dict[str, Callable[[list[Any], list[Any]], dict[str, float]]]] = {
    "det": _detection,
    "drivable": _masks("drivable"),
    "sem_seg": _masks("sem_seg"),
    "lane_mark": _lanes,
    "tagging": _tagging,
}
