"""The official toolkit's evaluators on the same predictions, next to our scores (`--toolkit`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from perception import classes
from perception.runtime.scene import Scene
from perception.runtime.view import BOXES, LABEL, LANE_BYTE, MASK, View
from perception.tasks import TASKS
from training.data.labels import Arrays
from training.evaluation import toolkit
from training.evaluation.predictor import LabelledFrame, attribute_names
from training.evaluation.submission import scalabel_labels

# Bits of lane bytes that no official mask has.
UNKNOWN_TYPE: Final = classes.LANE_CATEGORY_UNKNOWN | classes.LANE_TYPE_UNKNOWN


class ToolkitCheck:
    """Keeps predictions and labels, masks in `folder`; `compare` scores them both ways.

    Tasks without an evaluator in the toolkit are left out, and so are labels that official files
    cannot express: lanes of unknown type, attributes that are not all known.
    """

    def __init__(self, views: Mapping[str, View], folder: Path) -> None:
        toolkit.load()
        self.folder = folder
        self.kinds = {task: kind for task, view in views.items() if (kind := kind_of(view))}
        self.metrics = {task: TASKS[task].metric(views[task]) for task in self.kinds}
        # (truth, prediction) of a frame: Scalabel entries, attributes or paths of masks
        self.entries: dict[str, list[tuple[Any, Any]]] = {task: [] for task in self.kinds}

    def add(self, frame: LabelledFrame, scene: Scene) -> None:
        """One frame: its labels and predictions, as the toolkit reads them."""
        for task, kind in self.kinds.items():
            target = frame.targets.get(task)
            if target is None or not expressible(target):
                continue
            found, name = scene.outputs[task].array(), f"{len(self.entries[task]):06d}"
            self.metrics[task].update(found, target)
            pair: tuple[Any, Any]
            if kind == "det":
                pair = scalabel_pair(name, found, target)
            elif kind == "tagging":
                pair = attribute_names(target["labels"]), attribute_names(found.argmax(1))
            else:
                mask = target["lane"] if kind == "lane_mark" else target["mask"]
                pair = self._png(task, "truth", name, mask), self._png(task, "found", name, found)
            self.entries[task].append(pair)

    def _png(self, task: str, side: str, name: str, mask: np.ndarray) -> Path:
        path = self.folder / task / side / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", mask)[1].tobytes())
        return path

    def compare(self) -> list[dict[str, Any]]:
        """Rows of task, score, number of frames, our value and the toolkit's."""
        rows = []
        for task, pairs in self.entries.items():
            if not pairs:
                continue
            ours = self.metrics[task].compute()
            for score, value in official_scores(
                self.kinds[task], *zip(*pairs, strict=True)
            ).items():
                row = {"task": task, "score": score, "frames": len(pairs)}
                rows.append(row | {"ours": ours[score], "toolkit": float(value)})
        return rows

    def notes(self) -> list[str]:
        """Tasks that the toolkit could not score."""
        left_out = [task for task, pairs in self.entries.items() if not pairs]
        if not left_out:
            return []
        return [f"toolkit: no labels that its files can hold for {', '.join(left_out)}"]


def kind_of(view: View) -> str:
    """The toolkit's evaluator for an output: its name here, "" if there is none."""
    if view.kind == BOXES and view.classes == classes.DETECTION:
        return "det"
    if view.kind == MASK and view.encoding == LANE_BYTE:
        return "lane_mark"
    if view.kind == MASK and view.classes in (classes.DRIVABLE, classes.SEMANTIC):
        return "drivable" if view.classes == classes.DRIVABLE else "sem_seg"
    if view.kind == LABEL and {g.name: g.classes for g in view.groups} == classes.ATTRIBUTES:
        return "tagging"
    return ""


def scalabel_pair(
    name: str, found: np.ndarray, target: Arrays
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Labels and predictions of a frame's boxes as Scalabel entries."""
    count = len(target["classes"])
    rows = np.column_stack([target["boxes_xyxy"], np.ones(count), target["classes"]])
    labels = scalabel_labels(rows, classes.DETECTION, scores=False)
    for label, ignored in zip(labels, target.get("ignore", np.zeros(count, bool)), strict=True):
        label["attributes"] = {"ignored": bool(ignored)}
    predictions = scalabel_labels(found, classes.DETECTION)
    return {"name": name, "labels": labels}, {"name": name, "labels": predictions}


def expressible(target: Arrays) -> bool:
    """Whether official files can hold a label: no lane of unknown type, no unknown attribute."""
    if "labels" in target:
        return bool((target["labels"] >= 0).all())
    if "lane" not in target:
        return True
    foreground = target["lane"][target["lane"] != classes.LANE_BACKGROUND]
    return not ((foreground == classes.LANE_IGNORE) | (foreground & UNKNOWN_TYPE > 0)).any()


def official_scores(kind: str, truth: Sequence[Any], found: Sequence[Any]) -> dict[str, float]:
    """The toolkit's scores, by our names."""
    if kind == "det":
        result: Mapping[str, Any] = toolkit.evaluate_detection(truth, found)
        names = {"AP": "mAP", "AP50": "mAP50", "AP75": "mAP75"}
        return {names.get(key, key): scores[-1]["OVERALL"] for key, scores in result.items()}
    if kind == "tagging":
        result = toolkit.evaluate_tagging(classes.ATTRIBUTES, truth, found)
        names = {"accuracy": "accuracy", "F1": "f1_score"}
        return {ours: result[name][-1]["AVERAGE"] for ours, name in names.items()}
    result = dict(toolkit.evaluate_masks(kind, truth, found))
    if kind != "lane_mark":
        return {"mIoU": result["IoU"][-1]["AVERAGE"], "pixAcc": result["pAcc"]}
    out = {}
    for radius in (1, 2, 5):
        *_, parts, average = result[f"F1_pix{radius}"]
        out[f"average_F1@{radius}"] = average["AVERAGE"]
        out |= {f"{part.lower()}_F1@{radius}": value for part, value in parts.items()}
    return out
