"""Small, readable text on any picture: anti-aliased, on a backing of its own."""

import cv2
import numpy as np

from perception.runtime.colours import BGR

FONT = cv2.FONT_HERSHEY_SIMPLEX
INK: BGR = (245, 245, 245)
PAPER: BGR = (30, 26, 24)


def text_height(frame_hw: tuple[int, int]) -> int:
    """A letter height in pixels that reads well on a frame of this size."""
    return int(np.clip(min(frame_hw) / 52, 8, 40))


def text_size(text: str, height: int) -> tuple[int, int]:
    """(width, height) of a chip: the text with its margins, in pixels."""
    (width, _), _ = cv2.getTextSize(text, FONT, height / 22, _weight(height))
    return width + height, round(height * 1.75)


def chip(
    image: np.ndarray,
    text: str,
    top_left: tuple[int, int],
    height: int,
    paper: BGR = PAPER,
    opacity: float = 0.8,
) -> None:
    """Draws text at (x, y) on a translucent backing, moved inside the image where it can be.

    The ink is dark on light paper and light on dark.
    """
    width, tall = text_size(text, height)
    x = max(0, min(top_left[0], image.shape[1] - width))
    y = max(0, min(top_left[1], image.shape[0] - tall))
    blend_rectangle(image, (x, y, x + width, y + tall), paper, opacity)
    light = 0.114 * paper[0] + 0.587 * paper[1] + 0.299 * paper[2] > 120
    at = (x + height // 2, y + round(height * 1.3))
    ink = (20, 16, 14) if light else INK
    cv2.putText(image, text, at, FONT, height / 22, ink, _weight(height), cv2.LINE_AA)


def blend_rectangle(
    image: np.ndarray, box_xyxy: tuple[int, int, int, int], paper: BGR, opacity: float
) -> None:
    """Tints a part of the image in place; the part outside the image is ignored."""
    x1, y1, x2, y2 = box_xyxy
    part = image[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    if part.size:
        flat = np.full_like(part, paper)
        part[:] = cv2.addWeighted(part, 1 - opacity, flat, opacity, 0)


def _weight(height: int) -> int:
    return max(1, round(height / 14))
