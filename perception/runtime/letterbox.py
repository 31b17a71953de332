"""Frame to model input and back: scale to fit, centre, pad. The one place that knows how.

Training's validation and the car both use it, so it needs numpy and OpenCV only.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from perception.errors import UserError
from perception.images import MAX_PIXELS


def as_bgr(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) from what cameras and files give: grey, grey+alpha, BGRA, 16 bit.

    An opaque 3-channel frame is returned as it is, without a copy; alpha is dropped.
    Raises UserError where `image` is not a picture or is larger than 8192 x 8192 pixels.
    """
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size == 0:
        raise UserError(f"a frame must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        raise UserError(f"a frame of {image.shape[1]}x{image.shape[0]} is too large; resize it")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels == 3:
        return image
    if channels in (1, 2):
        grey = image if image.ndim == 2 else image[..., 0]
        return cv2.cvtColor(np.ascontiguousarray(grey), cv2.COLOR_GRAY2BGR)
    if channels == 4:
        return np.ascontiguousarray(image[..., :3])
    raise UserError(f"a frame has {channels} channels; 1 (grey), 3 (BGR) or 4 (BGRA) are read")


@dataclass(frozen=True)
class Letterbox:
    """The geometry between a frame and the model's input, both (height, width)."""

    frame_hw: tuple[int, int]
    size_hw: tuple[int, int]
    pad_value: int = 114

    @property
    def inner_hw(self) -> tuple[int, int]:
        """Size of the scaled frame inside the model's input; at least one pixel per side."""
        scale = min(s / f for s, f in zip(self.size_hw, self.frame_hw, strict=True))
        height, width = (
            min(size, max(1, round(frame * scale)))
            for frame, size in zip(self.frame_hw, self.size_hw, strict=True)
        )
        return height, width

    @property
    def top_left(self) -> tuple[int, int]:
        """(y, x) of the scaled frame's corner; an odd pixel of padding goes below and right."""
        (height, width), (inner_h, inner_w) = self.size_hw, self.inner_hw
        return (height - inner_h) // 2, (width - inner_w) // 2

    @property
    def inner(self) -> tuple[slice, slice]:
        """Index of the scaled frame inside a model-size array."""
        (top, left), (height, width) = self.top_left, self.inner_hw
        return slice(top, top + height), slice(left, left + width)

    def apply(self, frame: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) at the model's size: scaled linearly, halved before while more than twice
        as large, so that every pixel counts and thin lanes stay visible. By area takes five times
        as long, for the same scores (docs/latency.md)."""
        out = np.full((*self.size_hw, 3), self.pad_value, np.uint8)
        height, width = self.inner_hw
        while frame.shape[0] > 2 * height or frame.shape[1] > 2 * width:
            frame = cv2.resize(frame, (max(1, frame.shape[1] // 2), max(1, frame.shape[0] // 2)))
        cv2.resize(frame, (width, height), dst=out[self.inner])
        return out

    def boxes_to_frame(self, boxes_xyxy: np.ndarray) -> np.ndarray:
        """float32 (N, 4) in frame pixels, clipped to the frame.

        Each axis has its own scale because the inner size is rounded to whole pixels.
        """
        (top, left), (inner_h, inner_w) = self.top_left, self.inner_hw
        height, width = self.frame_hw
        scale = np.array([inner_w / width, inner_h / height] * 2)
        boxes = (boxes_xyxy.reshape(-1, 4) - [left, top] * 2) / scale
        return np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)

    def crop(self, array: np.ndarray) -> np.ndarray:
        """The part of a model-size (..., H, W) array that shows the frame, as a view."""
        rows, columns = self.inner
        return array[..., rows, columns]


def resize(array: np.ndarray, size_hw: tuple[int, int], how: int) -> np.ndarray:
    """A copy of a 2-D array at `size_hw`."""
    if array.shape == size_hw:
        return array.copy()
    return cv2.resize(np.ascontiguousarray(array), size_hw[::-1], interpolation=how)
