"""Masks written as run lengths (COCO, CVAT), as outlines that are painted to the same pixels."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from perception.images import MAX_PIXELS
from training.data.builder import MOST_VERTICES, Builder
from training.data.table import AREA


def runs_of_text(text: str) -> list[int]:
    """The runs of COCO's compressed text: six bits per letter, from the third run on as differences
    to the run before the last. Raises ValueError.

    pycocotools reads these too, but not safely: wrong sizes crash it, and pixels that the runs
    leave out get any value.
    """
    runs, value, shift = list[int](), 0, 0
    for code in text.encode():
        bits = code - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("no run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)  # the sign
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def mask_of_runs(runs: Sequence[int], size_hw: tuple[int, int], order: str) -> np.ndarray:
    """(H, W) uint8 of runs of 0, 1, 0, ... by rows ("C") or columns ("F"). Raises ValueError."""
    height, width = size_hw
    if not 0 < height * width <= MAX_PIXELS or min(runs) < 0 or sum(runs) != height * width:
        raise ValueError(f"{sum(runs)} pixels in runs, not {width}x{height}")
    values = np.arange(len(runs), dtype=np.uint8) % 2
    return np.repeat(values, runs).reshape(size_hw, order=order)  # type: ignore[call-overload]


def mask_outlines(mask: np.ndarray) -> Iterator[np.ndarray]:
    """(V, 2) outline of each part of a mask. Holes are joined to it by lines without width.

    Traced at twice the size, an outline passes between the centres and the edges of the border's
    pixels, so the area in it has the same pixels. Longer ones than the table takes are simplified.
    """
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return
    mask = mask[top : top + height, left : left + width]
    double = np.pad(cv2.resize(mask, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST), 1)
    contours, found = cv2.findContours(double, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    for contour, (_, _, hole, parent) in zip(contours, found[0], strict=True):
        if parent >= 0:
            continue
        parts, epsilon = [contour], 0.5
        while hole >= 0:
            parts.append(contours[hole])
            hole = found[0][hole][0]
        while sum(len(part) + 2 for part in parts) > MOST_VERTICES:
            epsilon *= 2
            parts = [cv2.approxPolyDP(part, epsilon, True) for part in parts]
        joined = [piece for part in parts for piece in (part, part[:1], parts[0][:1])]
        yield (np.concatenate(joined)[:, 0] - 0.5) / 2 + (left, top)


def add_mask(
    builder: Builder, frame: int, name: str, where: str, runs: str | Sequence[int],
    size_hw: tuple[int, int], order: str, left_top: tuple[float, float] = (0, 0),
) -> None:  # fmt: skip
    """Adds the areas of a mask in runs, of which COCO's may be a text, or the problem it has."""
    try:
        counts = runs_of_text(runs) if isinstance(runs, str) else runs
        mask = mask_of_runs(counts, size_hw, order)
    except (ValueError, TypeError) as error:
        builder.problem(frame, f"{where}: mask cannot be read ({error!s:.100}); export it again")
        return
    for points in mask_outlines(mask):
        builder.shape(frame, name, points + left_top, where, AREA)
