"""Label kinds: each can be cropped and resized through a window, padded, flipped and collated.

A window is (x0, y0, x1, y1) in fractions of the frame and may reach outside it, where nothing is
annotated. Because windows are fractions, an image decoded at half size and full-size masks
are transformed alike.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

import cv2
import numpy as np
from typing_extensions import Self

from perception.classes import IGNORE, LANE_IGNORE

Window = tuple[float, float, float, float]
Arrays = dict[str, np.ndarray]

WHOLE: Final[Window] = (0.0, 0.0, 1.0, 1.0)
MIN_VISIBLE: Final = 0.3  # share of a box; with less left in a window it is ignored
MIN_SIDE: Final = 1.5  # pixels; a box with a shorter side in a window is dropped
FLAGS: Final = ("ignore", "occluded", "truncated")  # of boxes
COLUMNS: Final = ("xyxy", "classes", *FLAGS)


class Label(ABC):
    """What augmentations and the collation need of every kind.

    By default a label describes the frame as a whole, whatever part of it is seen, and its arrays
    have one shape for all frames.
    """

    def window(self, window: Window, size_hw: tuple[int, int]) -> Self:
        """The label inside `window`, resized to `size_hw`."""
        return self

    def pad(self, top_left: tuple[int, int], size_hw: tuple[int, int]) -> Self:
        """The label placed at (y, x) of a larger frame, "not annotated" around it."""
        return self

    def flip(self) -> Self:
        """Mirrored left to right."""
        return self

    @abstractmethod
    def arrays(self) -> Arrays:
        """The target's arrays for one frame (keys as the task's loss and metric read them)."""

    @staticmethod
    def collate(frames: Sequence[Arrays]) -> Arrays:
        """Arrays with a leading batch dimension."""
        return {key: np.stack([frame[key] for frame in frames]) for key in frames[0]}


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


def nearest(array: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Nearest-neighbour resize of (H, W) or (H, W, C)."""
    if array.shape[:2] == size_hw:
        return np.ascontiguousarray(array)
    size_wh = size_hw[::-1]
    return cv2.resize(np.ascontiguousarray(array), size_wh, interpolation=cv2.INTER_NEAREST)


@dataclass
class Boxes(Label):
    """Objects as corner boxes in pixels of a frame of `size_hw`.

    `ignore` marks regions whose detections are counted neither right nor wrong (crowds).
    """

    xyxy: np.ndarray  # (N, 4) float32
    classes: np.ndarray  # (N,) int64
    size_hw: tuple[int, int]
    ignore: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))  # (N,) bool
    occluded: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    truncated: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def __post_init__(self) -> None:
        self.xyxy = np.asarray(self.xyxy, np.float32).reshape(-1, 4)
        self.classes = np.asarray(self.classes, np.int64).reshape(-1)
        for name in FLAGS:
            flags = np.asarray(getattr(self, name), bool).reshape(-1)
            setattr(self, name, flags if len(flags) else np.zeros(len(self.xyxy), bool))

    def window(self, window: Window, size_hw: tuple[int, int]) -> Self:
        """A box of which less than MIN_VISIBLE is left is ignored: it is no background either."""
        height, width = self.size_hw
        scale_x = size_hw[1] / ((window[2] - window[0]) * width)
        scale_y = size_hw[0] / ((window[3] - window[1]) * height)
        origin = np.array([window[0] * width, window[1] * height] * 2, np.float32)
        xyxy = (self.xyxy - origin) * np.array([scale_x, scale_y] * 2, np.float32)
        seen = np.clip(xyxy, 0, np.array(size_hw[::-1] * 2, np.float32))
        sides, whole_sides = seen[:, 2:] - seen[:, :2], xyxy[:, 2:] - xyxy[:, :2]
        share = sides.prod(1) / np.maximum(whole_sides.prod(1), 1e-6)
        ignore = self.ignore | (share < MIN_VISIBLE)
        found = replace(self, xyxy=seen, size_hw=size_hw, ignore=ignore)
        return found.rows(sides.min(1, initial=np.inf) >= MIN_SIDE)

    def rows(self, keep: np.ndarray) -> Self:
        """Some of the boxes."""
        return replace(self, **{name: getattr(self, name)[keep] for name in COLUMNS})

    def joined(self, other: "Boxes") -> Self:
        """These boxes, then those of another label of the frame."""
        both = {name: (getattr(self, name), getattr(other, name)) for name in COLUMNS}
        columns: dict[str, Any] = {name: np.concatenate(pair) for name, pair in both.items()}
        return replace(self, **columns)

    def pad(self, top_left: tuple[int, int], size_hw: tuple[int, int]) -> Self:
        offset = np.array([top_left[1], top_left[0]] * 2, np.float32)
        return replace(self, xyxy=self.xyxy + offset, size_hw=size_hw)

    def flip(self) -> Self:
        mirrored = self.xyxy.copy()
        mirrored[:, [0, 2]] = self.size_hw[1] - self.xyxy[:, [2, 0]]
        return replace(self, xyxy=mirrored)

    def arrays(self) -> Arrays:
        return {"boxes_xyxy": self.xyxy} | {name: getattr(self, name) for name in COLUMNS[1:]}

    @staticmethod
    def collate(frames: Sequence[Arrays]) -> Arrays:
        most = max(1, max(len(frame["classes"]) for frame in frames))

        def stacked(key: str) -> np.ndarray:
            fill = -1 if key == "classes" else 0
            shape = (len(frames), most, *frames[0][key].shape[1:])
            found = np.full(shape, fill, frames[0][key].dtype)
            for row, frame in zip(found, frames, strict=True):
                row[: len(frame[key])] = frame[key]
            return found

        return {key: stacked(key) for key in frames[0]}


class Pixels(Label):
    """Kinds that are one array (..., H, W): the field `key`, which is also its name in targets."""

    key: ClassVar[str]
    unknown: ClassVar[float]
    """Value of a pixel that is not annotated."""

    @property
    def pixels(self) -> np.ndarray:
        """The array, by one name for all kinds."""
        return getattr(self, self.key)

    def with_pixels(self, pixels: np.ndarray) -> Self:
        """The same kind of label with another array."""
        return replace(self, **{self.key: np.ascontiguousarray(pixels)})  # type: ignore[type-var]

    def window(self, window: Window, size_hw: tuple[int, int]) -> Self:
        return self.with_pixels(nearest(crop(self.pixels, window, self.unknown), size_hw))

    def pad(self, top_left: tuple[int, int], size_hw: tuple[int, int]) -> Self:
        (top, left), (height, width) = top_left, self.pixels.shape[-2:]
        canvas = np.full((*self.pixels.shape[:-2], *size_hw), self.unknown, self.pixels.dtype)
        canvas[..., top : top + height, left : left + width] = self.pixels
        return self.with_pixels(canvas)

    def flip(self) -> Self:
        return self.with_pixels(self.pixels[..., ::-1])

    def arrays(self) -> Arrays:
        return {self.key: self.pixels}


@dataclass
class Mask(Pixels):
    """One class index per pixel; 255 = not annotated."""

    key, unknown = "mask", IGNORE
    mask: np.ndarray  # (H, W) uint8


@dataclass
class LaneMask(Pixels):
    """The official lane byte, 254 = not annotated, bits 6 and 7 = type not annotated.

    Foreground bytes are below background (255) and ignore (254), and typed ones below untyped, so
    a minimum over the pixels that fall into one is OR-pooling: a 2 px line survives any reduction.
    """

    key, unknown = "lane", LANE_IGNORE
    lane: np.ndarray  # (H, W) uint8

    def window(self, window: Window, size_hw: tuple[int, int]) -> Self:
        seen = np.ascontiguousarray(crop(self.lane, window, LANE_IGNORE))
        reach_y = math.ceil(seen.shape[0] / size_hw[0] - 1e-6)
        reach_x = math.ceil(seen.shape[1] / size_hw[1] - 1e-6)
        if reach_y > 1 or reach_x > 1:
            seen = cv2.erode(seen, np.ones((reach_y, reach_x), np.uint8), anchor=(0, 0))
        return self.with_pixels(nearest(seen, size_hw))


@dataclass
class Map(Pixels):
    """One number per pixel that does not depend on the scale of the frame; NaN = unknown."""

    key, unknown = "map", math.nan
    map: np.ndarray  # (H, W) float32


@dataclass
class Distance(Map):
    """A map of distances from the camera: enlarging a crop by 2 halves them.

    A crop of half the size shows objects twice as large, as they would appear at half the
    distance.
    """

    def window(self, window: Window, size_hw: tuple[int, int]) -> Self:
        zoom = min(window[2] - window[0], window[3] - window[1], 1.0)
        seen = super().window(window, size_hw)
        return seen.with_pixels(seen.map * np.float32(zoom)) if zoom < 1 else seen


@dataclass
class Normals(Pixels):
    """Unit surface normals in camera axes (x right); NaN = unknown."""

    key, unknown = "normals", math.nan
    normals: np.ndarray  # (3, H, W) float32

    def window(self, window: Window, size_hw: tuple[int, int]) -> Self:
        pixels = nearest(crop(self.normals.transpose(1, 2, 0), window, np.nan), size_hw)
        return self.with_pixels(pixels.transpose(2, 0, 1))

    def flip(self) -> Self:
        mirror = np.array([-1, 1, 1], np.float32)[:, None, None]
        return self.with_pixels(self.normals[:, :, ::-1] * mirror)


@dataclass
class Labels(Label):
    """One class index per attribute; -1 = unknown."""

    labels: np.ndarray  # (G,) int64

    def arrays(self) -> Arrays:
        return {"labels": np.asarray(self.labels, np.int64)}


@dataclass
class Number(Label):
    """One number per frame; NaN = unknown."""

    number: np.ndarray  # () float32

    def arrays(self) -> Arrays:
        return {"number": np.asarray(self.number, np.float32)}


def crop_image(image: np.ndarray, window: Window, size_hw: tuple[int, int]) -> np.ndarray:
    """The image through the window: area-averaged when shrinking, linear when growing."""
    seen = crop(image, window, 114)
    if seen.shape[:2] == size_hw:
        return np.ascontiguousarray(seen)
    shrinks = seen.shape[0] > size_hw[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(seen, size_hw[::-1], interpolation=method)
