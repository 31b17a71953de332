"""Published .onnx files of other networks, read as if they had our outputs.

YOLOP (input (1, 3, H, W) RGB, ImageNet mean and deviation; outputs in this order: boxes (1, N, 6)
as centre x, centre y, width, height, objectness, class; drivable area and lane (1, 2, H, W)) and
TwinLiteNet (input (1, 3, H, W) RGB from 0 to 1; outputs drivable area and lane (1, 2, H, W)). The
pages that document them are listed in docs/evaluation.md. Recognised by the types and shapes of
inputs and outputs. All boxes are vehicles; areas are direct, lanes of no known type.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np

from perception.classes import (
    DETECTION,
    DRIVABLE,
    LANE_BACKGROUND,
    LANE_CATEGORIES,
    LANE_DIRECTIONS,
    LANE_STYLES,
    PEER_OUTPUTS,
)
from perception.runtime.description import Description
from perception.runtime.view import BOXES, LANE_BYTE, MASK, View

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION: Final = (0.229, 0.224, 0.225)
CONFIDENCE: Final = 0.001
NMS_IOU: Final = 0.6
MOST_BOXES: Final = 300
VEHICLE: Final = DETECTION.index("car")
LANE_VALUE: Final = LANE_CATEGORIES.index("single white")  # solid, parallel
VIEWS: Final = {
    "boxes": View(BOXES, classes=DETECTION),
    "area": View(MASK, classes=DRIVABLE),
    "line": View(
        MASK,
        encoding=LANE_BYTE,
        categories=LANE_CATEGORIES,
        styles=LANE_STYLES,
        directions=LANE_DIRECTIONS,
    ),
}


@dataclass(frozen=True)
class Adapter(Description):
    """The description of another network's file, and how its input and outputs are converted."""

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)  # RGB, of values from 0 to 1
    deviation: tuple[float, ...] = (1.0, 1.0, 1.0)
    kinds: tuple[str, ...] = ()  # key of VIEWS for each output, in the file's order

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """float32 (1, 3, H, W) RGB from a letterboxed uint8 (1, H, W, 3) BGR image."""
        rgb = image[..., ::-1].astype(np.float32) / 255
        normal = (rgb - np.asarray(self.mean)) / np.asarray(self.deviation)
        return np.ascontiguousarray(normal.transpose(0, 3, 1, 2), dtype=np.float32)

    def read(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Outputs as our own models decode them."""
        readers = {"boxes": _boxes, "area": _area, "line": _line}
        return [readers[kind](array[0]) for kind, array in zip(self.kinds, arrays, strict=True)]


class AdaptedEngine:
    """An engine that takes and returns what those of our own models do."""

    def __init__(self, engine: Any, adapter: Adapter) -> None:
        self.engine, self.adapter = engine, adapter
        self.names = tuple(adapter.views)

    def run(self, image: np.ndarray) -> list[np.ndarray]:
        """Decoded outputs for one uint8 (1, H, W, 3) BGR image."""
        return self.adapter.read(self.engine.run(self.adapter.prepare(image)))


def find_adapter(
    inputs: Sequence[tuple[str, Sequence[Any]]], outputs: Sequence[Sequence[Any]]
) -> Adapter | None:
    """The adapter for a graph with these inputs (type, shape) and outputs (shape), if known."""
    if len(inputs) != 1 or inputs[0][0] != "tensor(float)" or len(inputs[0][1]) != 4:
        return None
    _, channels, height, width = inputs[0][1]
    if channels != 3 or not isinstance(height, int) or not isinstance(width, int):
        return None
    kinds, masks = tuple(VIEWS), tuple(VIEWS)[1:]
    mask, size_hw = (2, height, width), (height, width)
    shapes = [tuple(shape[1:]) for shape in outputs]
    if len(shapes) == 3 and len(shapes[0]) == 2 and shapes[0][1] == 6 and shapes[1:] == [mask] * 2:
        views, mean, deviation = _views(kinds), IMAGENET_MEAN, IMAGENET_DEVIATION
        return Adapter("yolop", size_hw, views, mean=mean, deviation=deviation, kinds=kinds)
    if shapes == [mask] * 2:
        return Adapter("twinlitenet", size_hw, _views(masks), kinds=masks)
    return None


def _views(kinds: tuple[str, ...]) -> dict[str, View]:
    return {PEER_OUTPUTS[kind]: VIEWS[kind] for kind in kinds}


def _boxes(rows: np.ndarray) -> np.ndarray:
    """float32 (N, 6) x1 y1 x2 y2 score class, best first, after NMS."""
    scores = rows[:, 4] * rows[:, 5]
    rows, scores = rows[scores > CONFIDENCE], scores[scores > CONFIDENCE]
    corner = rows[:, :2] - rows[:, 2:4] / 2
    xywh = np.concatenate([corner, rows[:, 2:4]], axis=1)
    found = cv2.dnn.NMSBoxes(xywh.tolist(), scores.tolist(), CONFIDENCE, NMS_IOU)
    kept = np.asarray(found, np.int64).reshape(-1)[:MOST_BOXES]
    xyxy = np.concatenate([corner, corner + rows[:, 2:4]], axis=1)[kept]
    classes = np.full(len(kept), VEHICLE)
    return np.column_stack([xyxy, scores[kept], classes]).astype(np.float32)


def _area(logits: np.ndarray) -> np.ndarray:
    found = logits[1] > logits[0]
    background, direct = DRIVABLE.index("background"), DRIVABLE.index("direct")
    return np.where(found, np.uint8(direct), np.uint8(background))


def _line(logits: np.ndarray) -> np.ndarray:
    return np.where(logits[1] > logits[0], np.uint8(LANE_VALUE), np.uint8(LANE_BACKGROUND))
