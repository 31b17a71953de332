"""A model's outputs for one frame, by kind, in the frame's own pixels.

A kind of output is a subclass of `Output` and a line in KINDS: the description, the runner, the
overlay, the logs and the checks of exports and providers look there (docs/extending.md adds one).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import zip_longest
from typing import Any, ClassVar, Final, TypeVar

import cv2
import numpy as np

from perception.runtime.colours import map_picture, vector_picture
from perception.runtime.compare import Limits, Measured, unmatched_boxes
from perception.runtime.letterbox import Letterbox, resize
from perception.runtime.view import BOX_SCORE, BOXES, LABEL, LANE_BYTE, MAP, MASK, NORMALS, View


class Output(ABC):
    """One output for one frame."""

    convention: ClassVar[str]
    """For readers of the file in any language; part of every description."""

    @staticmethod
    @abstractmethod
    def fits(array: np.ndarray, view: View, size_hw: tuple[int, int]) -> bool:
        """Whether a decoded output, without the batch axis, has this kind's type and shape."""

    @classmethod
    @abstractmethod
    def read(cls, array: np.ndarray, view: View, box: Letterbox) -> "Output":
        """From the decoded output, in frame coordinates."""

    @abstractmethod
    def array(self, native: bool = True) -> np.ndarray:
        """As one array in frame coordinates; masks and maps at the model's size if not `native`."""

    @staticmethod
    def compare(wanted: np.ndarray, got: np.ndarray, limits: Limits) -> list[Measured]:
        """How far two decoded outputs differ: a file's from PyTorch's (export-onnx), a provider's
        from the CPU's (provider `auto`)."""
        scale = max(float(np.abs(wanted).max()), 1e-6)
        difference = float(np.abs(wanted - got).max()) / scale
        return [("largest difference / largest value", difference, limits.relative)]

    def caption(self, name: str) -> str:
        """For the line at the top of the overlay; `name` is the output's."""
        return ""

    def picture(self) -> np.ndarray | None:
        """uint8 (h, w, 3) BGR for a corner of the overlay."""
        return None

    def attributes(self, name: str) -> dict[str, Any]:
        """JSON values that describe the whole frame, for logs."""
        return {}


@dataclass
class Boxes(Output):
    """Detections, best first."""

    convention = (
        "rows x1 y1 x2 y2 score class in pixels of the model's input, best first; no NMS needed. "
        "To the frame: subtract the padding, divide by scaled size / frame size per axis, clip to "
        "the frame"
    )
    xyxy: np.ndarray  # float32 (N, 4), frame pixels
    scores: np.ndarray  # float32 (N,)
    classes: np.ndarray  # int64 (N,)
    names: tuple[str, ...]
    track_ids: np.ndarray | None = None  # int64 (N,), -1 = not confirmed; None = not tracked
    least: float | Sequence[float] = BOX_SCORE  # lowest score that counts, or one per class

    @staticmethod
    def fits(array: np.ndarray, view: View, size_hw: tuple[int, int]) -> bool:
        return array.dtype.kind == "f" and array.ndim == 2 and array.shape[1] == 6

    @classmethod
    def read(cls, array: np.ndarray, view: View, box: Letterbox) -> "Boxes":
        """From (N, 6) x1 y1 x2 y2 score class. Invalid rows (NaN, empty, unknown class, wholly in
        the padding) are dropped."""
        rows = np.asarray(array, np.float32).reshape(-1, 6)
        known = (rows[:, 5] >= 0) & (rows[:, 5] < len(view.classes))
        rows = rows[np.isfinite(rows).all(axis=1) & known]
        xyxy = box.boxes_to_frame(rows[:, :4])
        classes = rows[:, 5].astype(np.int64)
        keep = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
        return cls(xyxy[keep], rows[keep, 4], classes[keep], view.classes)

    @staticmethod
    def compare(wanted: np.ndarray, got: np.ndarray, limits: Limits) -> list[Measured]:
        wanted, got = wanted.reshape(-1, 6), got.reshape(-1, 6)
        lost = max(unmatched_boxes(wanted, got, limits), unmatched_boxes(got, wanted, limits))
        what = f"share of boxes without a counterpart within {limits.pixels:g} px"
        return [(what, lost, limits.boxes)]

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def counted(self) -> np.ndarray:
        """bool (N,): the boxes that are drawn, logged, measured and sent."""
        least = self.least
        each = least if isinstance(least, int | float) else np.asarray(least)[self.classes]
        return self.scores >= each

    def above(self, score: float | Sequence[float]) -> "Boxes":
        """The boxes with at least this score; a sequence has one score per class."""
        boxes = replace(self, least=score)
        return boxes.take(boxes.counted)

    def take(self, index: np.ndarray) -> "Boxes":
        """The boxes at a boolean or integer index."""
        ids = None if self.track_ids is None else self.track_ids[index]
        parts = self.xyxy[index], self.scores[index], self.classes[index]
        return Boxes(*parts, self.names, ids, self.least)

    def name(self, i: int) -> str:
        """Class name of box i."""
        return self.names[self.classes[i]]

    def text(self, i: int) -> str:
        """Box i in one line, as "car 91 %  #0": class, score, and the id of a confirmed track."""
        text = f"{self.name(i)} {100 * self.scores[i]:.0f} %"
        if self.track_ids is not None and self.track_ids[i] >= 0:
            text += f"  #{self.track_ids[i]}"
        return text

    def array(self, native: bool = True) -> np.ndarray:
        """float32 (N, 6): x1 y1 x2 y2 score class."""
        return np.column_stack([self.xyxy, self.scores, self.classes]).astype(np.float32)


@dataclass
class Pixels(Output):
    """A value per pixel at the model's resolution, resized to the frame on request."""

    interpolation: ClassVar[int]
    small: np.ndarray  # (..., h, w): the frame at the model's resolution, padding cropped away
    frame_hw: tuple[int, int]
    view: View

    @classmethod
    def read(cls, array: np.ndarray, view: View, box: Letterbox) -> "Pixels":
        return cls(np.ascontiguousarray(box.crop(array)), box.frame_hw, view)

    @cached_property
    def full(self) -> np.ndarray:
        """(H, W) at frame size."""
        return resize(self.small, self.frame_hw, self.interpolation)

    def array(self, native: bool = True) -> np.ndarray:
        return self.full if native else self.small


class Mask(Pixels):
    """uint8 classes, or lane bytes."""

    convention = (
        "uint8 class index, or bits of bdd100k-lane-byte: 0-2 category, 3 background, 4 style, 5 "
        "direction. To the frame: cut off the padding, nearest neighbour"
    )
    interpolation = cv2.INTER_NEAREST

    @staticmethod
    def fits(array: np.ndarray, view: View, size_hw: tuple[int, int]) -> bool:
        return array.dtype == np.uint8 and array.shape == size_hw

    @staticmethod
    def compare(wanted: np.ndarray, got: np.ndarray, limits: Limits) -> list[Measured]:
        return [("share of pixels that differ", float((wanted != got).mean()), limits.share)]

    @cached_property
    def counts(self) -> np.ndarray:
        """(256,) pixels of each value, at the model's resolution."""
        # Most pixels are of the first one's class, as in every mask of a road; counting those only
        # takes a fifth of the time.
        first = self.small[0, 0]
        others = self.small[self.small != first]
        counts = np.bincount(others, minlength=256)
        counts[first] = self.small.size - len(others)
        return counts

    @property
    def is_lane_byte(self) -> bool:
        """Whether values are lane bytes (bits) rather than class indices."""
        return self.view.encoding == LANE_BYTE


@dataclass
class Labels(Output):
    """Attributes of the whole frame: per group, a probability per class."""

    convention = "a row per group: probabilities of its classes, padded with 0"
    groups: dict[str, dict[str, float]]

    @staticmethod
    def fits(array: np.ndarray, view: View, size_hw: tuple[int, int]) -> bool:
        return array.dtype.kind == "f" and array.ndim == 2 and len(array) == len(view.groups)

    @staticmethod
    def compare(wanted: np.ndarray, got: np.ndarray, limits: Limits) -> list[Measured]:
        difference = float(np.abs(wanted - got).max())
        return [("largest probability difference", difference, limits.score)]

    @classmethod
    def read(cls, array: np.ndarray, view: View, box: Letterbox) -> "Labels":
        return cls(
            {
                group.name: dict(zip(group.classes, map(float, row), strict=False))
                for group, row in zip(view.groups, array, strict=True)
            }
        )

    def best(self) -> dict[str, tuple[str, float]]:
        """{group: (class, probability)} of the most probable class; empty groups are left out."""
        return {
            group: max(classes.items(), key=lambda item: item[1])
            for group, classes in self.groups.items()
            if classes
        }

    def array(self, native: bool = True) -> np.ndarray:
        """float32 (groups, classes) probabilities; shorter groups are padded with 0."""
        rows = (classes.values() for classes in self.groups.values())
        columns = list(zip_longest(*rows, fillvalue=0.0))
        return np.array(columns, np.float32).reshape(len(columns), len(self.groups)).T

    def caption(self, name: str) -> str:
        return "   ".join(f"{best} {100 * share:.0f}%" for best, share in self.best().values())

    def attributes(self, name: str) -> dict[str, Any]:
        return {group: best for group, (best, _) in self.best().items()}


class Map(Pixels):
    """A float32 number per pixel."""

    convention = "float32 in `unit`. To the frame: cut off the padding, bilinear"
    interpolation = cv2.INTER_LINEAR

    @staticmethod
    def fits(array: np.ndarray, view: View, size_hw: tuple[int, int]) -> bool:
        return array.dtype.kind == "f" and array.shape == size_hw

    def picture(self) -> np.ndarray | None:
        return map_picture(self.small, self.view.range)


class Normals(Map):
    """A unit vector per pixel; `small` is (3, h, w)."""

    convention = "unit vectors, x right, y down, z forward"

    @staticmethod
    def fits(array: np.ndarray, view: View, size_hw: tuple[int, int]) -> bool:
        return array.dtype.kind == "f" and array.shape == (3, *size_hw)

    @cached_property
    def full(self) -> np.ndarray:
        """float32 (3, H, W) at frame size, of length 1 again."""
        full = np.stack([resize(axis, self.frame_hw, self.interpolation) for axis in self.small])
        return full / np.maximum(np.linalg.norm(full, axis=0, keepdims=True), 1e-6)

    def picture(self) -> np.ndarray | None:
        return vector_picture(self.small)


Kind = TypeVar("Kind", bound=Output)


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

    def from_score(self, least: float | Mapping[str, Sequence[float]]) -> "Scene":
        """The scene with boxes that count from this score on, or {output: from one per class}."""
        boxes = {
            name: replace(boxes, least=least[name] if isinstance(least, Mapping) else least)
            for name, boxes in self.of(Boxes)
        }
        return replace(self, outputs=self.outputs | boxes)


KINDS: Final[dict[str, type[Output]]] = {
    BOXES: Boxes,
    MASK: Mask,
    LABEL: Labels,
    MAP: Map,
    NORMALS: Normals,
}


def read_scene(
    arrays: Mapping[str, np.ndarray], views: Mapping[str, View], box: Letterbox
) -> Scene:
    """All outputs of the model for one frame, in frame coordinates. Evaluation uses it too."""
    outputs = {name: KINDS[view.kind].read(arrays[name], view, box) for name, view in views.items()}
    return Scene(box.frame_hw, outputs)
