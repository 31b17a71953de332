"""Drivable areas and lanes drawn from their outlines, straight or Bezier."""

from typing import Final

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.path import Path as Outline
from matplotlib.transforms import Affine2D

from perception.classes import LANE_BACKGROUND
from training.data.bdd import raster
from training.data.bdd.categories import BACKGROUND_DRIVABLE
from training.data.bdd.index import Index

DPI: Final = 100.0  # matplotlib's default, which the toolkit keeps
PIECES: Final = 256  # of a line drawn at once: bounds the memory


def draw(
    index: Index, task: str, frame: int, size_hw: tuple[int, int], width: int | None
) -> np.ndarray:
    """The mask (H, W) uint8 of a frame: drivable ids, or lane bytes.

    Lanes are `width` pixels wide; None draws them as the toolkit does. Later outlines cover
    earlier ones, as in the toolkit.
    """
    if task == "drivable":
        return _drivable(index, frame, size_hw)
    return _lanes(index, frame, size_hw, width)


def _drivable(index: Index, frame: int, size_hw: tuple[int, int]) -> np.ndarray:
    mask = np.full(size_hw, BACKGROUND_DRIVABLE, np.uint8)
    for value, vertices, curve in _outlines(index, index.drivable_rows[frame]):
        raster.fill(mask, outline(raster.snapped(vertices), curve), value)
    return mask


def _lanes(index: Index, frame: int, size_hw: tuple[int, int], width: int | None) -> np.ndarray:
    lines = _outlines(index, index.lane_rows[frame])
    if width is None:
        return toolkit_lanes(lines, size_hw)
    mask = np.full(size_hw, LANE_BACKGROUND, np.uint8)
    for value, vertices, curve in lines:
        stroke(mask, outline(vertices, curve), float(width), value)
    return mask


def toolkit_lanes(
    lines: list[tuple[int, np.ndarray, np.ndarray]], size_hw: tuple[int, int]
) -> np.ndarray:
    """(H, W) uint8 lane bytes of (byte, vertices, curve) lines, equal to the toolkit's masks.

    The toolkit draws with matplotlib: lines of one point at 100 dpi, not antialiased and snapped
    to pixels. Agg then sets each pixel that the line touches, so lines are about 2.5 px wide.
    """
    height, width = size_hw
    mask = np.full(size_hw, LANE_BACKGROUND, np.uint8)
    renderer = RendererAgg(width, height, DPI)
    context = renderer.new_gc()
    context.set_linewidth(1.0)  # points
    context.set_antialiased(False)
    context.set_snap(True)
    context.set_joinstyle("miter")
    context.set_capstyle("butt")
    down = Affine2D().scale(1, -1).translate(0, height)  # matplotlib counts rows from below
    for value, vertices, curve in lines:
        context.set_foreground((value / 255, 0.0, 0.0, 1.0), isRGBA=True)
        renderer.draw_path(context, Outline(vertices, _path_codes(curve)), down)
    pixels = np.asarray(renderer.buffer_rgba())
    drawn = pixels[..., 3] > 0
    mask[drawn] = pixels[drawn][:, 0]
    return mask


def _path_codes(curve: np.ndarray) -> list[int]:
    """matplotlib's path codes; three vertices from a C on are one curve, see `outline`."""
    codes = [int(Outline.LINETO)] * len(curve)
    codes[0], at = int(Outline.MOVETO), 1
    while at < len(curve):
        if curve[at] and at + 2 < len(curve):
            codes[at : at + 3] = [int(Outline.CURVE4)] * 3
            at += 3
        else:
            at += 1
    return codes


def _outlines(index: Index, rows: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
    start, count = rows.tolist()
    bounds = index.vertex_start[start : start + count + 1].tolist()
    return [
        (
            int(index.polygon_value[start + number]),
            np.array(index.vertex_xy[bounds[number] : bounds[number + 1]]),
            np.array(index.vertex_curve[bounds[number] : bounds[number + 1]]),
        )
        for number in range(count)
    ]


def outline(vertices: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """(K, 2) points along (V, 2) vertices. Three vertices from a C on end one cubic Bezier.

    Only the first of the three counts: the releases mark the last one C or L as they please
    ("CCCL" is one curve over all four), and the toolkit's rasteriser reads it so.
    """
    points = [(float(vertices[0, 0]), float(vertices[0, 1]))]
    at = 1
    while at < len(vertices):
        if curve[at] and at + 2 < len(vertices):
            points.extend(raster.bezier(vertices[at - 1 : at + 3]))
            at += 3
        else:
            points.append((float(vertices[at, 0]), float(vertices[at, 1])))
            at += 1
    return np.array(points)


def stroke(mask: np.ndarray, points: np.ndarray, width: float, value: int) -> None:
    """Sets the pixels whose centre lies within width / 2 of a line through (K, 2) points.

    (cv2.polylines draws 3 pixels for 2 and 9 for 8.)
    """
    steps = np.hypot(*np.diff(points, axis=0).T)
    keep = np.concatenate([[True], steps > 1e-6])
    points = points[keep]
    _paint(mask, _disc_spans(points, width / 2), value)
    for first in range(0, len(points) - 1, PIECES):
        some = points[first : first + PIECES + 1]
        _paint(mask, _bar_spans(some, width / 2, len(mask)), value)


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
    owner, step = raster.repeat(np.maximum(last - first + 1, 0))
    row = first[owner] + step
    a, b = corners[owner], np.roll(corners, -1, 1)[owner]
    rise = b[:, :, 1] - a[:, :, 1]
    share = (row[:, None] + 0.5 - a[:, :, 1]) / np.where(rise == 0, 1, rise)
    cut = (rise != 0) & (share >= 0) & (share <= 1)
    x = a[:, :, 0] + share * (b[:, :, 0] - a[:, :, 0])
    left, right = np.where(cut, x, np.inf).min(1), np.where(cut, x, -np.inf).max(1)
    return row, left, right


def _paint(mask: np.ndarray, spans: tuple[np.ndarray, ...], value: int) -> None:
    row, left, right = spans
    height, width = mask.shape
    seen = (row >= 0) & (row < height) & (right >= left)
    row, left, right = row[seen], left[seen], right[seen]
    first = np.clip(np.ceil(left - 0.5), 0, width).astype(int)
    stop = np.clip(np.ceil(right - 0.5), 0, width).astype(int)
    owner, step = raster.repeat(np.maximum(stop - first, 0))
    mask[row[owner], first[owner] + step] = value
