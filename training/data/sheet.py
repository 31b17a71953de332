"""Frames with all their labels drawn, for the contact sheet of check-bdd."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from perception.classes import LANE_CATEGORY_UNKNOWN
from perception.errors import UserError
from perception.runtime.colours import lookup
from perception.runtime.view import View
from perception.tasks import TASKS
from training.data.classes import views_of
from training.data.dataset import Dataset
from training.data.labels import WHOLE, Boxes, LaneMask, Mask
from training.data.sample import Sample

TILE_HW = (270, 480)
UNTYPED_BGR = (0, 255, 0)


def drawn_frames(datasets: Mapping[str, Dataset], count: int = 12) -> list[np.ndarray]:
    """About `count` readable frames, evenly spread over each split, uint8 (*TILE_HW, 3)."""
    tiles: list[np.ndarray] = []
    each = max(count // max(len(datasets), 1), 1)
    for split, dataset in datasets.items():
        views = {task: TASKS[task].view for task in dataset.tasks} | views_of(dataset.classes)
        for index in np.linspace(0, len(dataset) - 1, min(each, len(dataset))).astype(int):
            try:
                sample = dataset[int(index)]
            except UserError:
                continue
            tiles.append(tile(sample, f"{split} {sample.name}", views))
    return tiles


def tile(sample: Sample, caption: str, views: Mapping[str, View]) -> np.ndarray:
    """One frame with its labels; below, which tasks have one."""
    sample = sample.window(WHOLE, TILE_HW)
    canvas = sample.image
    for task, label in sorted(sample.labels.items(), key=lambda item: type(item[1]) is not Mask):
        if isinstance(label, Mask):  # below lanes and boxes
            _areas(canvas, label.mask, views[task])
        elif isinstance(label, LaneMask):
            _lanes(canvas, label.lane, views[task])
        elif isinstance(label, Boxes):
            _boxes(canvas, label, views[task].classes)
    _text(canvas, caption, (6, 16))
    _text(canvas, ", ".join(sample.labels), (6, TILE_HW[0] - 8))
    return canvas


def _areas(canvas: np.ndarray, mask: np.ndarray, view: View) -> None:
    colours, opacity = lookup(view)
    seen = opacity[mask] > 0
    canvas[seen] = canvas[seen] // 2 + colours[mask[seen], 0] // 2


def _lanes(canvas: np.ndarray, lane: np.ndarray, view: View) -> None:
    colours, opacity = lookup(view)
    known = lane & (LANE_CATEGORY_UNKNOWN - 1)  # without the bits of what is not annotated
    seen = opacity[known] > 0
    canvas[seen] = colours[known[seen], 0]
    canvas[seen & (lane & LANE_CATEGORY_UNKNOWN > 0)] = UNTYPED_BGR


def _boxes(canvas: np.ndarray, boxes: Boxes, names: Sequence[str]) -> None:
    corners = np.round(boxes.xyxy).astype(int).tolist()
    for (x1, y1, x2, y2), kind, ignore in zip(corners, boxes.classes, boxes.ignore, strict=True):
        colour = (128, 128, 128) if ignore else (0, 255, 255)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, 1)
        if x2 - x1 > 24 and 0 <= kind < len(names):
            _text(canvas, names[int(kind)], (x1, max(y1 - 2, 8)), 0.32)


def _text(canvas: np.ndarray, text: str, at: tuple[int, int], size: float = 0.42) -> None:
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(
            canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thickness, cv2.LINE_AA
        )
