"""Drivable areas and lanes drawn from their outlines, straight or Bezier, as the toolkit does.

The toolkit draws with matplotlib's Agg renderer, not antialiased. The same renderer is called here
without a figure; tests compare the masks pixel for pixel.
"""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.path import Path as Outline
from matplotlib.transforms import Affine2D

DPI: Final = 100.0  # matplotlib's default, which the toolkit keeps
PIECES: Final = 256  # of a line drawn at once: bounds the memory
UNPAINTED: Final = 255  # red of a pixel that Agg has not touched

Shape = tuple[int, np.ndarray, np.ndarray]  # value, vertices (V, 2), curve flags (V,)


def paint(
    shapes: Sequence[Shape], size_hw: tuple[int, int], background: int, *, filled: bool
) -> np.ndarray:
    """(H, W) uint8: shapes filled, or drawn as lines, over `background`. Values are below 254.

    Lines are one point wide at 100 dpi and snapped to pixels. Agg then sets each pixel that the
    line touches, so they are about 2.5 px wide.
    """
    height, width = size_hw
    renderer = RendererAgg(width, height, DPI)
    context = renderer.new_gc()
    context.set_linewidth(0.0 if filled else 1.0)  # points
    context.set_antialiased(False)
    context.set_snap(True)
    context.set_joinstyle("miter")
    context.set_capstyle("butt")
    down = Affine2D().scale(1, -1).translate(0, height)  # matplotlib counts rows from below
    for value, vertices, curve in shapes:
        colour = (value / 255, 0.0, 0.0, 1.0)
        context.set_foreground(colour, isRGBA=True)
        renderer.draw_path(
            context, _path(vertices, curve, filled), down, colour if filled else None
        )
    table = np.arange(256, dtype=np.uint8)
    table[UNPAINTED] = background
    return cv2.LUT(cv2.extractChannel(np.asarray(renderer.buffer_rgba()), 0), table)


def _path(vertices: np.ndarray, curve: np.ndarray, closed: bool = False) -> Outline:
    """matplotlib's path; three vertices from a C on are one cubic Bezier.

    Only the type of the first of the three is used, as in the toolkit's rasteriser: the releases
    mark the last one C or L ("CCCL" is one curve over all four).
    """
    codes = [int(Outline.LINETO)] * len(curve)
    codes[0], at = int(Outline.MOVETO), 1
    while at < len(curve):
        if curve[at] and at + 2 < len(curve):
            codes[at : at + 3] = [int(Outline.CURVE4)] * 3
            at += 3
        else:
            at += 1
    if closed:
        return Outline(np.vstack([vertices, vertices[:1]]), [*codes, int(Outline.CLOSEPOLY)])
    return Outline(vertices, codes)


def outline(vertices: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """(K, 2) points along (V, 2) vertices, with Beziers as straight pieces."""
    flat = _path(vertices, curve).cleaned(simplify=False, curves=False)
    assert flat.codes is not None
    return np.asarray(flat.vertices, float)[flat.codes != Outline.STOP]


def repeat(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(owner, step) for counts[i] steps of each owner i."""
    owner = np.repeat(np.arange(len(counts)), counts)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return owner, np.arange(len(owner)) - first[owner]


def stroke(mask: np.ndarray, points: np.ndarray, width: float, value: int) -> None:
    """Sets the pixels whose centre lies within width / 2 of a line through (K, 2) points.

    (cv2.polylines draws 3 pixels for 2 and 9 for 8.)
    """
    steps = np.hypot(*np.diff(points, axis=0).T)
    keep = np.concatenate([[True], steps > 1e-6])
    points = points[keep]
    _set_spans(mask, _disc_spans(points, width / 2), value)
    for first in range(0, len(points) - 1, PIECES):
        some = points[first : first + PIECES + 1]
        _set_spans(mask, _bar_spans(some, width / 2, len(mask)), value)


def _disc_spans(points: np.ndarray, radius: float) -> tuple[np.ndarray, ...]:
    """(row, left, right) of a disc at each inner point: round joints, flat ends."""
    inner = points[1:-1]
    reach = int(np.ceil(radius)) + 1
    rows = np.floor(inner[:, 1]).astype(int)[:, None] + np.arange(-reach, reach + 1)
    away = rows + 0.5 - inner[:, 1:2]
    half = np.sqrt(np.maximum(radius**2 - away**2, 0))
    seen = np.abs(away) < radius
    return rows[seen], (inner[:, :1] - half)[seen], (inner[:, :1] + half)[seen]


def _bar_spans(points: np.ndarray, radius: float, height: int) -> tuple[np.ndarray, ...]:
    """(row, left, right) of a rectangle around each piece of the line, where it is in the frame."""
    start, stop = points[:-1], points[1:]
    along = stop - start
    aside = np.stack([-along[:, 1], along[:, 0]], 1)
    aside *= radius / np.hypot(*along.T)[:, None]
    corners = np.stack([start + aside, stop + aside, stop - aside, start - aside], 1)
    first = np.ceil(corners[:, :, 1].min(1) - 0.5).astype(int)
    last = np.floor(corners[:, :, 1].max(1) - 0.5).astype(int)
    first, last = np.maximum(first, 0), np.minimum(last, height - 1)
    owner, step = repeat(np.maximum(last - first + 1, 0))
    row = first[owner] + step
    a, b = corners[owner], np.roll(corners, -1, 1)[owner]
    rise = b[:, :, 1] - a[:, :, 1]
    share = (row[:, None] + 0.5 - a[:, :, 1]) / np.where(rise == 0, 1, rise)
    cut = (rise != 0) & (share >= 0) & (share <= 1)
    x = a[:, :, 0] + share * (b[:, :, 0] - a[:, :, 0])
    left, right = np.where(cut, x, np.inf).min(1), np.where(cut, x, -np.inf).max(1)
    return row, left, right


def _set_spans(mask: np.ndarray, spans: tuple[np.ndarray, ...], value: int) -> None:
    row, left, right = spans
    height, width = mask.shape
    seen = (row >= 0) & (row < height) & (right >= left)
    row, left, right = row[seen], left[seen], right[seen]
    first = np.clip(np.ceil(left - 0.5), 0, width).astype(int)
    stop = np.clip(np.ceil(right - 0.5), 0, width).astype(int)
    owner, step = repeat(np.maximum(stop - first, 0))
    mask[row[owner], first[owner] + step] = value
