"""The files that the official benchmark server takes, written frame by frame.

Boxes become one Scalabel JSON per task, masks a folder of PNGs in the official values (drivable 0,
1, 2; lanes the lane byte). Attributes and maps have no benchmark and are left out.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import cv2
import numpy as np

from perception.errors import UserError
from perception.runtime.scene import Scene
from perception.runtime.view import BOXES, MASK, View
from training.evaluation.predictor import LabelledFrame


class Submission:
    """A folder that is complete or absent: filled under another name and renamed at the end."""

    def __init__(self, folder: Path, views: Mapping[str, View]) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"--submission {folder}: exists and is not empty; name a new folder")
        self.folder, self.views = folder, dict(views)
        self.partial = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        self._files: dict[str, IO[str]] = {}
        self.writers: Mapping[str, Callable[[str, str, np.ndarray], None]] = {
            BOXES: self._boxes,
            MASK: self._mask,
        }

    def add(self, frame: LabelledFrame, scene: Scene) -> None:
        """One frame's outputs, in frame coordinates."""
        for task, output in scene.outputs.items():
            write = self.writers.get(self.views[task].kind)
            if write is not None:
                write(task, frame.name, output.array())

    def __enter__(self) -> "Submission":
        self.partial.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.write("\n]\n")
            file.close()
        if kind is None:
            self.partial.replace(self.folder)
        else:
            shutil.rmtree(self.partial)

    def _boxes(self, task: str, name: str, boxes: np.ndarray) -> None:
        first = task not in self._files
        if first:
            path = self.partial / f"{task}.json"
            self._files[task] = open(path, "w", encoding="utf-8")  # noqa: SIM115
        self._files[task].write("[\n" if first else ",\n")
        entry = {"name": f"{name}.jpg", "labels": scalabel_labels(boxes, self.views[task].classes)}
        json.dump(entry, self._files[task])

    def _mask(self, task: str, name: str, mask: np.ndarray) -> None:
        (self.partial / task).mkdir(exist_ok=True)
        _, png = cv2.imencode(".png", mask)
        (self.partial / task / f"{name}.png").write_bytes(png.tobytes())


def scalabel_labels(
    boxes: np.ndarray, classes: Sequence[str], scores: bool = True
) -> list[dict[str, Any]]:
    """A frame's (N, 6) boxes as Scalabel labels; padding rows (score 0) are left out."""
    labels = []
    for number, row in enumerate(boxes[boxes[:, 4] > 0]):
        box = dict(zip(("x1", "y1", "x2", "y2"), map(float, row[:4]), strict=True))
        label = {"id": str(number), "category": classes[int(row[5])], "box2d": box}
        labels.append(label | ({"score": float(row[4])} if scores else {}))
    return labels
