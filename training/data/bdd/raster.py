"""Filled outlines exactly as the BDD100K toolkit draws them (matplotlib's Agg, not antialiased).

The toolkit needs 50 ms a frame through a figure, and matplotlib. What decides which pixels are set
is small: vertices snapped to whole pixels, Beziers split until flat, and Agg's integer scan
conversion. This is that arithmetic in closed form over all edges at once (Maxim Shemanarev's
Anti-Grain Geometry 2.4: curve4_div, outline_aa). A test compares it with the toolkit, pixel for
pixel.
"""

from typing import Final

import numpy as np

ONE: Final = 256  # sub-pixel steps
FLATNESS: Final = 0.25  # squared distance in pixels
DEPTH: Final = 32
COLLINEAR: Final = 1e-30
EDGES: Final = 512  # cut into cells at once: bounds the memory


def fill(mask: np.ndarray, points: np.ndarray, value: int) -> None:
    """Sets the pixels of (H, W) uint8 that a closed outline of (K, 2) pixel positions covers."""
    height, width = mask.shape
    edges = _edges(points, height, width)
    if not len(edges):
        return
    parts = [
        _placed(_cells(edges[start : start + EDGES]), height, width)
        for start in range(0, len(edges), EDGES)
    ]
    place, cover, areas = parts[0]
    if len(parts) > 1:
        place, cover, areas = _summed(*map(np.concatenate, zip(*parts, strict=True)))
    if not len(place):
        return
    # A row's covers sum to zero, so one running sum serves all rows.
    covers = cover.cumsum()
    _fill_cells(mask, place[np.abs((covers * 2 * ONE - areas) // (2 * ONE)) > 0], value)
    _fill_spans(mask, place, covers, value)


def _placed(cells: tuple[np.ndarray, ...], height: int, width: int) -> tuple[np.ndarray, ...]:
    row, column, cover, area = cells
    inside = row < height  # the lowest border's own row is empty
    return _summed(row[inside] * (width + 1) + column[inside], cover[inside], area[inside])


def _summed(place: np.ndarray, cover: np.ndarray, area: np.ndarray) -> tuple[np.ndarray, ...]:
    """Places sorted, each once, with the sums of what was there."""
    order = np.argsort(place, kind="stable")
    place = place[order]
    first = np.flatnonzero(np.diff(place, prepend=-1))
    if not len(first):
        return place, cover, area
    return place[first], np.add.reduceat(cover[order], first), np.add.reduceat(area[order], first)


def _fill_cells(mask: np.ndarray, place: np.ndarray, value: int) -> None:
    rows, columns = np.divmod(place, mask.shape[1] + 1)
    seen = columns < mask.shape[1]
    mask[rows[seen], columns[seen]] = value


def _fill_spans(mask: np.ndarray, place: np.ndarray, covers: np.ndarray, value: int) -> None:
    """What lies between one cell and the next of its row, where the outline winds around it."""
    starts, stops = place[:-1] + 1, place[1:]
    wound = (covers[:-1] != 0) & (stops > starts)
    rows, columns = np.divmod(starts[wound], mask.shape[1] + 1)
    lengths = (stops - starts)[wound]
    for row, column, length in zip(rows.tolist(), columns.tolist(), lengths.tolist(), strict=True):
        mask[row, column : column + length] = value


def snapped(vertices: np.ndarray) -> np.ndarray:
    """Vertices on whole pixels, as a fill without outline is snapped."""
    return np.floor(vertices + 0.5)


def bezier(control: np.ndarray) -> list[tuple[float, float]]:
    """Points after the first of a cubic Bezier with (4, 2) control points, split until flat."""
    points: list[tuple[float, float]] = []
    x1, y1, x2, y2, x3, y3, x4, y4 = control.astype(float).reshape(-1).tolist()
    _split(x1, y1, x2, y2, x3, y3, x4, y4, points, 0)
    points.append((x4, y4))
    return points


def _split(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    x3: float,
    y3: float,
    x4: float,
    y4: float,
    points: list[tuple[float, float]],
    depth: int,
) -> None:
    if depth > DEPTH:
        return
    x12, y12, x23, y23 = (x1 + x2) / 2, (y1 + y2) / 2, (x2 + x3) / 2, (y2 + y3) / 2
    x34, y34 = (x3 + x4) / 2, (y3 + y4) / 2
    x123, y123, x234, y234 = (x12 + x23) / 2, (y12 + y23) / 2, (x23 + x34) / 2, (y23 + y34) / 2
    dx, dy = x4 - x1, y4 - y1
    d2 = abs((x2 - x4) * dy - (y2 - y4) * dx)
    d3 = abs((x3 - x4) * dy - (y3 - y4) * dx)
    far2, far3 = d2 > COLLINEAR, d3 > COLLINEAR
    if far2 or far3:
        deviation = (d2 if far2 else 0.0) + (d3 if far3 else 0.0)
        if deviation * deviation <= FLATNESS * (dx * dx + dy * dy):
            points.append((x23, y23))
            return
    else:
        along = _collinear(x1, y1, x2, y2, x3, y3, x4, y4)
        if along is not None:
            points.extend(along)
            return
    x, y = (x123 + x234) / 2, (y123 + y234) / 2
    _split(x1, y1, x12, y12, x123, y123, x, y, points, depth + 1)
    _split(x, y, x234, y234, x34, y34, x4, y4, points, depth + 1)


def _collinear(
    x1: float, y1: float, x2: float, y2: float, x3: float, y3: float, x4: float, y4: float
) -> list[tuple[float, float]] | None:
    """Points of a Bezier whose control points lie on one line; None = split further."""
    dx, dy = x4 - x1, y4 - y1
    length = dx * dx + dy * dy
    if length == 0:
        far2, far3 = _square(x1, y1, x2, y2), _square(x4, y4, x3, y3)
    else:
        t2 = ((x2 - x1) * dx + (y2 - y1) * dy) / length
        t3 = ((x3 - x1) * dx + (y3 - y1) * dy) / length
        if 0 < t2 < 1 and 0 < t3 < 1:
            return []
        t2, t3 = min(max(t2, 0.0), 1.0), min(max(t3, 0.0), 1.0)
        far2 = _square(x2, y2, x1 + t2 * dx, y1 + t2 * dy)
        far3 = _square(x3, y3, x1 + t3 * dx, y1 + t3 * dy)
    if far2 > far3:
        return [(x2, y2)] if far2 < FLATNESS else None
    return [(x3, y3)] if far3 < FLATNESS else None


def _square(x1: float, y1: float, x2: float, y2: float) -> float:
    return (x2 - x1) ** 2 + (y2 - y1) ** 2


def _edges(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """(E, 4) int64 x1 y1 x2 y2 in 1/256 pixel, cut to the frame; what is beside it stays as
    vertical edges on its border, so that what they enclose is still filled."""
    start = np.asarray(points, float)
    segments = np.hstack([start, np.roll(start, -1, 0)])
    for axis, limit in ((1, 0.0), (1, float(height)), (0, 0.0), (0, float(width))):
        segments = _cut(segments, axis, limit)
    segments[:, 0::2] = np.clip(segments[:, 0::2], 0, width)
    segments[:, 1::2] = np.clip(segments[:, 1::2], 0, height)
    fixed = np.floor(segments * ONE + 0.5).astype(np.int64)
    return fixed[fixed[:, 1] != fixed[:, 3]]


def _cut(segments: np.ndarray, axis: int, limit: float) -> np.ndarray:
    """Segments that cross the line become two that end on it."""
    a, b = segments[:, axis], segments[:, axis + 2]
    crossing = (a - limit) * (b - limit) < 0
    if not crossing.any():
        return segments
    across = segments[crossing]
    share = (limit - across[:, axis]) / (across[:, axis + 2] - across[:, axis])
    middle = across[:, :2] + share[:, None] * (across[:, 2:] - across[:, :2])
    middle[:, axis] = limit
    first, second = np.hstack([across[:, :2], middle]), np.hstack([middle, across[:, 2:]])
    return np.vstack([segments[~crossing], first, second])


def _cells(edges: np.ndarray) -> tuple[np.ndarray, ...]:
    """(row, column, cover, area) of every pixel an edge passes through; a pixel may occur often."""
    row, x1, y1, x2, y2 = _scanlines(edges)
    return _hlines(row, x1, y1, x2, y2)


def repeat(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(owner, step) for counts[i] steps of each owner i."""
    owner = np.repeat(np.arange(len(counts)), counts)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return owner, np.arange(len(owner)) - first[owner]


def _scanlines(edges: np.ndarray) -> tuple[np.ndarray, ...]:
    """Each edge cut at the rows it crosses: (row, x_from, y_from, x_to, y_to), y within the row."""
    x1, y1, x2, y2 = edges.T
    row1, row2 = y1 // ONE, y2 // ONE
    down = y2 > y1
    owner, step = repeat(np.abs(row2 - row1) + 1)
    run, rise = (x2 - x1)[owner], np.abs(y2 - y1)[owner]
    into = np.where(down, ONE - y1 % ONE, y1 % ONE)[owner]
    # x where the edge leaves row `step`, and where it entered it: floors of the exact positions.
    leaves = x1[owner] + (into * run + step * ONE * run) // rise
    enters = x1[owner] + (into * run + (step - 1) * ONE * run) // rise
    first, last = step == 0, step == np.abs(row2 - row1)[owner]
    edge_out, edge_in = np.where(down, ONE, 0)[owner], np.where(down, 0, ONE)[owner]
    return (
        row1[owner] + np.where(down[owner], step, -step),
        np.where(first, x1[owner], enters),
        np.where(first, (y1 % ONE)[owner], edge_in),
        np.where(last, x2[owner], leaves),
        np.where(last, (y2 % ONE)[owner], edge_out),
    )


def _hlines(
    row: np.ndarray, x1: np.ndarray, y1: np.ndarray, x2: np.ndarray, y2: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Each piece of a row cut at the columns it crosses: cover and doubled area of each pixel."""
    moving = y1 != y2
    row, x1, y1, x2, y2 = row[moving], x1[moving], y1[moving], x2[moving], y2[moving]
    column1, column2 = x1 // ONE, x2 // ONE
    right = x2 > x1
    span = np.abs(column2 - column1)
    owner, step = repeat(span + 1)
    run, rise = np.maximum(np.abs(x2 - x1), 1)[owner], (y2 - y1)[owner]
    into = np.where(right, ONE - x1 % ONE, x1 % ONE)[owner]
    leaves = (into * rise + step * ONE * rise) // run
    enters = (into * rise + (step - 1) * ONE * rise) // run
    first, last = step == 0, step == span[owner]
    cover = np.where(last, rise, leaves) - np.where(first, 0, enters)
    border_out, border_in = np.where(right, ONE, 0)[owner], np.where(right, 0, ONE)[owner]
    from_x = np.where(first, (x1 % ONE)[owner], border_in)
    to_x = np.where(last, (x2 % ONE)[owner], border_out)
    column = column1[owner] + np.where(right[owner], step, -step)
    return row[owner], column, cover, (from_x + to_x) * cover
