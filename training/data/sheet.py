"""A contact sheet: frames of a split with all their labels drawn, to look at."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from perception.classes import (
    LANE_BACKGROUND,
    LANE_BACKGROUND_BIT,
    LANE_CATEGORY_BITS,
    LANE_CATEGORY_UNKNOWN,
)
from perception.errors import UserError
from training.data.classes import OFFICIAL, ONLY
from training.data.dataset import Dataset
from training.data.labels import Boxes, LaneMask, Mask
from training.data.sample import Sample

TILE_HW = (270, 480)
AREA_BGR = np.array([[80, 80, 220], [220, 130, 60]], np.uint8)  # direct, alternative
LANE_BGR = np.array(
    [[255, 255, 0], [255, 0, 255], [255, 255, 255], [0, 220, 255],
     [0, 128, 255], [200, 100, 200], [230, 230, 230], [0, 255, 255]], np.uint8,
)  # fmt: skip
UNTYPED_BGR = (0, 255, 0)


def contact_sheet(datasets: Mapping[str, Dataset], columns: int = 4, rows: int = 3) -> np.ndarray:
    """uint8 (H, W, 3): readable frames of each split, evenly spread, with their labels drawn."""
    tiles: list[np.ndarray] = []
    each = max(columns * rows // max(len(datasets), 1), 1)
    for split, dataset in datasets.items():
        names = dataset.classes.get("det", OFFICIAL["det"])[ONLY]
        for index in np.linspace(0, len(dataset) - 1, min(each, len(dataset))).astype(int):
            try:
                sample = dataset[int(index)]
            except UserError:
                continue
            tiles.append(tile(sample, f"{split} {sample.name}", names))
    blank = np.full((*TILE_HW, 3), 40, np.uint8)
    tiles += [blank] * (-len(tiles) % columns or (columns if not tiles else 0))
    return np.vstack(
        [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    )


def tile(sample: Sample, caption: str, names: Sequence[str]) -> np.ndarray:
    """One frame with its labels; below, which tasks have one."""
    size_wh = TILE_HW[::-1]
    canvas = cv2.resize(sample.image, size_wh, interpolation=cv2.INTER_AREA)
    for label in sorted(sample.labels.values(), key=lambda label: not isinstance(label, Mask)):
        if isinstance(label, Mask):  # below lanes and boxes
            _areas(canvas, label)
        elif isinstance(label, LaneMask):
            _lanes(canvas, label)
        elif isinstance(label, Boxes):
            _boxes(canvas, label, names)
    _text(canvas, caption, (6, 16))
    _text(canvas, ", ".join(sample.labels), (6, TILE_HW[0] - 8))
    return canvas


def _areas(canvas: np.ndarray, label: Mask) -> None:
    mask = label.window((0, 0, 1, 1), TILE_HW).mask
    seen = mask < len(AREA_BGR)
    canvas[seen] = (canvas[seen] // 2) + AREA_BGR[mask[seen]] // 2


def _lanes(canvas: np.ndarray, label: LaneMask) -> None:
    lane = label.window((0, 0, 1, 1), TILE_HW).lane
    line = (lane & LANE_BACKGROUND_BIT == 0) & (lane != LANE_BACKGROUND)
    canvas[line] = np.where(
        (lane[line] & LANE_CATEGORY_UNKNOWN > 0)[:, None],
        UNTYPED_BGR,
        LANE_BGR[lane[line] & LANE_CATEGORY_BITS],
    )


def _boxes(canvas: np.ndarray, boxes: Boxes, names: Sequence[str]) -> None:
    scale = np.array([TILE_HW[1] / boxes.size_hw[1], TILE_HW[0] / boxes.size_hw[0]] * 2)
    corners = np.round(boxes.xyxy * scale).astype(int).tolist()
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
