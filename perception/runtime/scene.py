"""A model's outputs for one frame, by kind, in the frame's own pixels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import cv2
import numpy as np

from perception.runtime.description import BOXES, LABEL, LANE_BYTE, MAP, MASK, NORMALS, View
from perception.runtime.letterbox import Letterbox, resize


@dataclass
class Boxes:
    """Detections, best first."""

    xyxy: np.ndarray  # float32 (N, 4), frame pixels
    scores: np.ndarray  # float32 (N,)
    classes: np.ndarray  # int64 (N,)
    names: tuple[str, ...]
    track_ids: np.ndarray | None = None  # int64 (N,), -1 = not confirmed; None = not tracked

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score: float | Sequence[float]) -> "Boxes":
        """The boxes with at least this score; a sequence has one score per class."""
        least = score if isinstance(score, int | float) else np.asarray(score)[self.classes]
        return self.take(self.scores >= least)

    def take(self, index: np.ndarray) -> "Boxes":
        """The boxes at a boolean or integer index."""
        ids = None if self.track_ids is None else self.track_ids[index]
        return Boxes(self.xyxy[index], self.scores[index], self.classes[index], self.names, ids)

    def name(self, i: int) -> str:
        """Class name of box i."""
        return self.names[self.classes[i]]

    def text(self, i: int) -> str:
        """Box i in one line: class, score in percent, and the track id of a confirmed track."""
        text = f"{self.name(i)} {100 * self.scores[i]:.0f}"
        if self.track_ids is not None and self.track_ids[i] >= 0:
            text += f" #{self.track_ids[i]}"
        return text

    def array(self, native: bool = True) -> np.ndarray:
        """float32 (N, 6): x1 y1 x2 y2 score class."""
        return np.column_stack([self.xyxy, self.scores, self.classes]).astype(np.float32)


@dataclass
class Mask:
    """A class mask at the model's resolution, resized to the frame on request."""

    small: np.ndarray  # uint8 (h, w): the frame at the model's resolution, padding cropped away
    frame_hw: tuple[int, int]
    view: View

    @cached_property
    def full(self) -> np.ndarray:
        """uint8 (H, W) at frame size."""
        return resize(self.small, self.frame_hw, cv2.INTER_NEAREST)

    def array(self, native: bool = True) -> np.ndarray:
        """uint8 (H, W) at frame size, or at the model's resolution if not `native`."""
        return self.full if native else self.small

    @property
    def is_lane_byte(self) -> bool:
        """Whether values are lane bytes (bits) rather than class indices."""
        return self.view.encoding == LANE_BYTE


@dataclass
class Labels:
    """Attributes of the whole frame: per group, a probability per class."""

    groups: dict[str, dict[str, float]]

    def best(self) -> dict[str, tuple[str, float]]:
        """{group: (class, probability)} of the most probable class; empty groups are left out."""
        return {
            group: max(classes.items(), key=lambda item: item[1])
            for group, classes in self.groups.items()
            if classes
        }

    def array(self, native: bool = True) -> np.ndarray:
        """float32 (groups, classes) probabilities; shorter groups are padded with 0."""
        rows = [list(classes.values()) for classes in self.groups.values()]
        array = np.zeros((len(rows), max(map(len, rows), default=0)), np.float32)
        for row, values in enumerate(rows):
            array[row, : len(values)] = values
        return array


@dataclass
class Map:
    """A value (small is 2-D) or a unit vector (small is 3-D) per pixel."""

    small: np.ndarray  # float32 (h, w) or (3, h, w), padding cropped away
    frame_hw: tuple[int, int]
    view: View

    @cached_property
    def full(self) -> np.ndarray:
        """float32 (H, W) or (3, H, W) at frame size; vectors have length 1 again."""
        if self.small.ndim == 2:
            return resize(self.small, self.frame_hw, cv2.INTER_LINEAR)
        full = np.stack([resize(axis, self.frame_hw, cv2.INTER_LINEAR) for axis in self.small])
        return full / np.maximum(np.linalg.norm(full, axis=0, keepdims=True), 1e-6)

    def array(self, native: bool = True) -> np.ndarray:
        """float32 (H, W) or (3, H, W) at frame size, or as `small` if not `native`."""
        return self.full if native else self.small


Output = Boxes | Mask | Labels | Map
Kind = TypeVar("Kind", Boxes, Mask, Labels, Map)


@dataclass
class Scene:
    """All outputs for one frame, by output name."""

    frame_hw: tuple[int, int]
    outputs: dict[str, Output]
    timings_ms: dict[str, float] = field(default_factory=dict)

    def of(self, kind: type[Kind]) -> Iterator[tuple[str, Kind]]:
        """(name, output) of every output of a kind, in the model's order."""
        for name, output in self.outputs.items():
            if isinstance(output, kind):
                yield name, output


def read_scene(
    arrays: Mapping[str, np.ndarray], views: Mapping[str, View], box: Letterbox
) -> Scene:
    """All outputs of the model for one frame, in frame coordinates. Evaluation uses it too."""
    outputs = {name: read_output(arrays[name], view, box) for name, view in views.items()}
    return Scene(box.frame_hw, outputs)


def read_output(array: np.ndarray, view: View, box: Letterbox) -> Output:
    """One decoded output of the model, in frame coordinates."""
    return READERS[view.kind](array, view, box)


def _boxes(array: np.ndarray, view: View, box: Letterbox) -> Boxes:
    """From (N, 6) x1 y1 x2 y2 score class. Invalid rows (NaN, empty, unknown class, wholly in the
    padding) are dropped."""
    rows = np.asarray(array, np.float32).reshape(-1, 6)
    known = (rows[:, 5] >= 0) & (rows[:, 5] < len(view.classes))
    rows = rows[np.isfinite(rows).all(axis=1) & known]
    xyxy = box.boxes_to_frame(rows[:, :4])
    classes = rows[:, 5].astype(np.int64)
    keep = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
    return Boxes(xyxy[keep], rows[keep, 4], classes[keep], view.classes)


def _mask(array: np.ndarray, view: View, box: Letterbox) -> Mask:
    return Mask(np.ascontiguousarray(box.crop(array)), box.frame_hw, view)


def _labels(array: np.ndarray, view: View, box: Letterbox) -> Labels:
    return Labels(
        {
            group.name: dict(zip(group.classes, map(float, row), strict=False))
            for group, row in zip(view.groups, array, strict=True)
        }
    )


def _map(array: np.ndarray, view: View, box: Letterbox) -> Map:
    return Map(np.ascontiguousarray(box.crop(array)), box.frame_hw, view)


READERS: dict[str, Callable[[np.ndarray, View, Letterbox], Output]] = {
    BOXES: _boxes,
    MASK: _mask,
    LABEL: _labels,
    MAP: _map,
    NORMALS: _map,
}
