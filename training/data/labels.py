"""Label kinds: each can be cropped and resized through a window, padded, flipped and collated.

A window is (x0, y0, x1, y1) in fractions of the frame and may reach outside it; what lies outside
is "not annotated". Because windows are fractions, an image decoded at half size and full-size masks
are transformed alike.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, Self

import cv2
import numpy as np

from perception.classes import IGNORE, LANE_IGNORE

Window = tuple[float, float, float, float]
Arrays = dict[str, np.ndarray]


WHOLE: Final[Window] = (0.0, 0.0, 1.0, 1.0)


class Label(Protocol):
    """What augmentations and the collation need of every kind."""

    def window(self, window: Window, size_hw: tuple[int, int]) -> Self:
        """The label inside `window`, resized to `size_hw`."""

    def pad(self, top_left: tuple[int, int], size_hw: tuple[int, int]) -> Self:
        """The label placed at (y, x) of a larger frame, "not annotated" around it."""

    def flip(self) -> Self:
        """Mirrored left to right."""

    def arrays(self) -> Arrays:
        """The target's arrays for one frame (keys as the task's loss and metric read them)."""

    @staticmethod
    def collate(frames: Sequence[Arrays]) -> Arrays:
        """Arrays with a leading batch dimension."""


def crop(array: np.ndarray, window: Window, fill: Any) -> np.ndarray:
    """The pixels of (H, W, ...) inside `window`, padded with `fill` where it reaches outside."""
    height, width = array.shape[:2]
    x0, x1 = round(window[0] * width), round(window[2] * width)
    y0, y1 = round(window[1] * height), round(window[3] * height)
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    inside = array[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    if (y1 - y0, x1 - x0) == inside.shape[:2]:
        return inside
    canvas = np.full((y1 - y0, x1 - x0, *array.shape[2:]), fill, array.dtype)
    top, left = max(-y0, 0), max(-x0, 0)
    if inside.size:
        canvas[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return canvas


def padded(
    array: np.ndarray, top_left: tuple[int, int], size_hw: tuple[int, int], fill: Any
) -> np.ndarray:
    """(..., H, W) placed at (y, x) of an array of `size_hw` that holds `fill`."""
    if array.shape[-2:] == size_hw:
        return array
    (top, left), (height, width) = top_left, array.shape[-2:]
    canvas = np.full((*array.shape[:-2], *size_hw), fill, array.dtype)
    canvas[..., top : top + height, left : left + width] = array
    return canvas


def nearest(array: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Nearest-neighbour resize of (H, W) or (H, W, C)."""
    if array.shape[:2] == size_hw:
        return np.ascontiguousarray(array)
    size_wh = size_hw[::-1]
    return cv2.resize(np.ascontiguousarray(array), size_wh, interpolation=cv2.INTER_NEAREST)


class Stacked:
    """Kinds whose arrays have one shape for all frames."""

    @staticmethod
    def collate(frames: Sequence[Arrays]) -> Arrays:
        return {key: np.stack([frame[key] for frame in frames]) for key in frames[0]}


def _flags(count: int) -> np.ndarray:
    return np.zeros(count, bool)


@dataclass
class Boxes:
    """Objects as corner boxes in pixels of a frame of `size_hw`.

    `ignore` marks regions whose detections are counted neither right nor wrong (crowds).
    """

    xyxy: np.ndarray  # (N, 4) float32
    classes: np.ndarray  # (N,) int64
    size_hw: tuple[int, int]
    ignore: np.ndarray = field(default_factory=lambda: _flags(0))  # (N,) bool
    occluded: np.ndarray = field(default_factory=lambda: _flags(0))
    truncated: np.ndarray = field(default_factory=lambda: _flags(0))
    # A box of which a window shows less than this share is ignored: too little is left of it.
    min_visible: float = 0.3
    min_side: float = 1.5

    def __post_init__(self) -> None:
        self.xyxy = np.asarray(self.xyxy, np.float32).reshape(-1, 4)
        self.classes = np.asarray(self.classes, np.int64).reshape(-1)
        for name in ("ignore", "occluded", "truncated"):
            flags = np.asarray(getattr(self, name), bool).reshape(-1)
            setattr(self, name, flags if len(flags) else _flags(len(self.xyxy)))

    def _take(self, keep: np.ndarray, xyxy: np.ndarray, size_hw: tuple[int, int]) -> Self:
        return replace(
            self,
            xyxy=xyxy[keep],
            classes=self.classes[keep],
            size_hw=size_hw,
            ignore=self.ignore[keep],
            occluded=self.occluded[keep],
            truncated=self.truncated[keep],
        )

    def window(self, window: Window, size_hw: tuple[int, int]) -> Self:
        height, width = self.size_hw
        scale_x = size_hw[1] / ((window[2] - window[0]) * width)
        scale_y = size_hw[0] / ((window[3] - window[1]) * height)
        origin = np.array([window[0] * width, window[1] * height] * 2, np.float32)
        whole = (self.xyxy - origin) * np.array([scale_x, scale_y] * 2, np.float32)
        limit = np.array([size_hw[1], size_hw[0]] * 2, np.float32)
        seen = np.clip(whole, 0, limit)
        sides, whole_sides = seen[:, 2:] - seen[:, :2], whole[:, 2:] - whole[:, :2]
        share = sides.prod(1) / np.maximum(whole_sides.prod(1), 1e-6)
        keep = sides.min(1, initial=np.inf) >= self.min_side
        kept = self._take(keep, seen, size_hw)
        # What is left of a cut box is no background either: detecting it is not counted as wrong.
        return replace(kept, ignore=kept.ignore | (share < self.min_visible)[keep])

    def pad(self, top_left: tuple[int, int], size_hw: tuple[int, int]) -> Self:
        offset = np.array([top_left[1], top_left[0]] * 2, np.float32)
        return replace(self, xyxy=self.xyxy + offset, size_hw=size_hw)

    def flip(self) -> Self:
        mirrored = self.xyxy.copy()
        mirrored[:, [0, 2]] = self.size_hw[1] - self.xyxy[:, [2, 0]]
        return replace(self, xyxy=mirrored)

    def arrays(self) -> Arrays:
        return {
            "boxes_xyxy": self.xyxy,
            "classes": self.classes,
            "ignore": self.ignore,
            "occluded": self.occluded,
            "truncated": self.truncated,
        }

    @staticmethod
    def collate(frames: Sequence[Arrays]) -> Arrays:
        most = max(1, max(len(frame["classes"]) for frame in frames))

        def pad(array: np.ndarray, fill: float) -> np.ndarray:
            widths = [(0, most - len(array))] + [(0, 0)] * (array.ndim - 1)
            return np.pad(array, widths, constant_values=fill)

        fills = {"classes": -1.0}
        return {
            key: np.stack([pad(frame[key], fills.get(key, 0.0)) for frame in frames])
            for key in frames[0]
        }


@dataclass
class Mask(Stacked):
    """One class index per pixel; 255 = not annotated."""

    mask: np.ndarray  # (H, W) uint8

    def window(self, window: Window, size_hw: tuple[int, int]) -> Self:
        return replace(self, mask=nearest(crop(self.mask, window, IGNORE), size_hw))

    def pad(self, top_left: tuple[int, int], size_hw: tuple[int, int]) -> Self:
        return replace(self, mask=padded(self.mask, top_left, size_hw, IGNORE))

    def flip(self) -> Self:
        return replace(self, mask=np.ascontiguousarray(self.mask[:, ::-1]))

    def arrays(self) -> Arrays:
        return {"mask": self.mask}


@dataclass
class LaneMask(Stacked):
    """The official lane byte, 254 = not annotated, bits 6 and 7 = type not annotated.

    Foreground bytes are below background (255) and ignore (254), and typed ones below untyped, so
    a minimum over the pixels that fall into one is OR-pooling: a 2 px line survives any reduction.
    """

    lane: np.ndarray  # (H, W) uint8

    def window(self, window: Window, size_hw: tuple[int, int]) -> Self:
        seen = np.ascontiguousarray(crop(self.lane, window, LANE_IGNORE))
        reach_y = math.ceil(seen.shape[0] / size_hw[0] - 1e-6)
        reach_x = math.ceil(seen.shape[1] / size_hw[1] - 1e-6)
        if reach_y > 1 or reach_x > 1:
            seen = cv2.erode(seen, np.ones((reach_y, reach_x), np.uint8), anchor=(0, 0))
        return replace(self, lane=nearest(seen, size_hw))

    def pad(self, top_left: tuple[int, int], size_hw: tuple[int, int]) -> Self:
        return replace(self, lane=padded(self.lane, top_left, size_hw, LANE_IGNORE))

    def flip(self) -> Self:
        return replace(self, lane=np.ascontiguousarray(self.lane[:, ::-1]))

    def arrays(self) -> Arrays:
        return {"lane": self.lane}


@dataclass
class Map(Stacked):
    """One number per pixel that does not depend on the scale of the frame; NaN = unknown."""

    map: np.ndarray  # (H, W) float32

    def window(self, window: Window, size_hw: tuple[int, int]) -> Self:
        return replace(self, map=nearest(crop(self.map, window, np.nan), size_hw))

    def pad(self, top_left: tuple[int, int], size_hw: tuple[int, int]) -> Self:
        return replace(self, map=padded(self.map, top_left, size_hw, np.nan))

    def flip(self) -> Self:
        return replace(self, map=np.ascontiguousarray(self.map[:, ::-1]))

    def arrays(self) -> Arrays:
        return {"map": self.map}


@dataclass
class Distance(Map):
    """A map of distances from the camera: enlarging a crop by 2 halves them.

    Through half the window everything looks twice as large, as it would at half the distance.
    """

    def window(self, window: Window, size_hw: tuple[int, int]) -> Self:
        zoom = min(window[2] - window[0], window[3] - window[1], 1.0)
        seen = super().window(window, size_hw)
        return replace(seen, map=seen.map * np.float32(zoom)) if zoom < 1 else seen


@dataclass
class Normals(Stacked):
    """Unit surface normals in camera axes (x right); NaN = unknown."""

    normals: np.ndarray  # (3, H, W) float32

    def window(self, window: Window, size_hw: tuple[int, int]) -> Self:
        pixels = nearest(crop(self.normals.transpose(1, 2, 0), window, np.nan), size_hw)
        return replace(self, normals=np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def pad(self, top_left: tuple[int, int], size_hw: tuple[int, int]) -> Self:
        return replace(self, normals=padded(self.normals, top_left, size_hw, np.nan))

    def flip(self) -> Self:
        mirrored = self.normals[:, :, ::-1].copy()
        mirrored[0] *= -1
        return replace(self, normals=mirrored)

    def arrays(self) -> Arrays:
        return {"normals": self.normals}


@dataclass
class Labels(Stacked):
    """One class index per attribute; -1 = unknown."""

    labels: np.ndarray  # (G,) int64

    def window(self, window: Window, size_hw: tuple[int, int]) -> Self:
        return self

    def pad(self, top_left: tuple[int, int], size_hw: tuple[int, int]) -> Self:
        return self

    def flip(self) -> Self:
        return self

    def arrays(self) -> Arrays:
        return {"labels": np.asarray(self.labels, np.int64)}


def crop_image(image: np.ndarray, window: Window, size_hw: tuple[int, int]) -> np.ndarray:
    """The image through the window: area-averaged when shrinking, linear when growing."""
    seen = crop(image, window, 114)
    if seen.shape[:2] == size_hw:
        return np.ascontiguousarray(seen)
    shrinks = seen.shape[0] > size_hw[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(seen, size_hw[::-1], interpolation=method)


def label_arrays(labels: Mapping[str, Label]) -> dict[str, Arrays]:
    """Every task's arrays of one frame."""
    return {task: label.arrays() for task, label in labels.items()}
