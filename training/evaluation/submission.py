"""The files that the official benchmark server takes, written frame by frame.

Boxes become one Scalabel JSON a task, masks a folder of PNGs in the official values (drivable 0, 1,
2; lanes the lane byte). Attributes and maps have no benchmark and are left out.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import cv2
import numpy as np

from perception.errors import UserError
from perception.runtime.description import BOXES, MASK, View


class Submission:
    """A folder that appears whole: it is filled beside its place and renamed on leaving."""

    def __init__(self, folder: Path, views: Mapping[str, View]) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"--submission {folder}: exists and is not empty; name a new folder")
        self.folder, self.views = folder, dict(views)
        self.beside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        self._files: dict[str, IO[str]] = {}
        self.writers: Mapping[str, Callable[[str, str, np.ndarray], None]] = {
            BOXES: self._boxes,
            MASK: self._mask,
        }

    def add(self, name: str, outputs: Mapping[str, np.ndarray]) -> None:
        """One frame's outputs in frame coordinates; `name` is the frame's, without suffix."""
        for task, output in outputs.items():
            write = self.writers.get(self.views[task].kind)
            if write is not None:
                write(task, name, output)

    def __enter__(self) -> "Submission":
        self.beside.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.write("\n]\n")
            file.close()
        if kind is None:
            self.beside.replace(self.folder)
        else:
            shutil.rmtree(self.beside)

    def _boxes(self, task: str, name: str, boxes: np.ndarray) -> None:
        first = task not in self._files
        if first:
            path = self.beside / f"{task}.json"
            self._files[task] = open(path, "w", encoding="utf-8")  # noqa: SIM115
        self._files[task].write("[\n" if first else ",\n")
        json.dump(scalabel_frame(name, boxes, self.views[task].classes), self._files[task])

    def _mask(self, task: str, name: str, mask: np.ndarray) -> None:
        (self.beside / task).mkdir(exist_ok=True)
        _, png = cv2.imencode(".png", mask)
        (self.beside / task / f"{name}.png").write_bytes(png.tobytes())


def scalabel_frame(name: str, boxes: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """A frame's (N, 6) boxes as the server reads them."""
    labels = [
        {
            "id": str(number),
            "category": classes[int(row[5])],
            "score": float(row[4]),
            "box2d": {key: float(v) for key, v in zip(("x1", "y1", "x2", "y2"), row, strict=False)},
        }
        for number, row in enumerate(boxes[boxes[:, 4] > 0])
    ]
    return {"name": f"{name}.jpg", "labels": labels}
