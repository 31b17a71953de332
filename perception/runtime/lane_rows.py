"""Follows markings from the bottom of a mask upwards, row by row.

Plain Python on a few runs per row: numpy's calls would cost more than the work.
"""

import numpy as np

ROW_STEP = 2
FIRST_ROWS = 3  # below the vanishing point: above it markings merge
MAX_RUN_SHARE = 0.14  # of the width: a longer run is a marking across the road
MIN_POINTS = 6
SLOPE_POINTS = 8


class _Line:
    def __init__(self) -> None:
        self.x: list[float] = []
        self.y: list[int] = []

    def ahead(self, vanishing_xy: tuple[float, float]) -> tuple[float, int, float]:
        """Column and row of the last point, and columns per row upwards from there: along the last
        points, or towards the vanishing point."""
        xs, ys = self.x, self.y
        x, y = xs[-1], ys[-1]
        if len(xs) < 4:
            return x, y, (vanishing_xy[0] - x) / max(y - vanishing_xy[1], 1.0)
        k = min(len(xs), SLOPE_POINTS)
        return x, y, (x - xs[-k]) / (ys[-k] - y)


def follow_rows(
    marks: np.ndarray, values: np.ndarray, vanishing_xy: tuple[float, float]
) -> list[np.ndarray]:
    """Per marking (N, 3) x, y and value, from the bottom up; x and y in pixels of the mask.

    `marks` is bool (H, W), `values` uint8 (H, W).
    """
    height, width = marks.shape
    rows = np.arange(height - 1, max(int(vanishing_xy[1]) + FIRST_ROWS, 0), -ROW_STEP)
    ended: list[_Line] = []
    open_: list[_Line] = []
    for y, centres in _centres(marks[rows], rows, MAX_RUN_SHARE * width):
        lowest = y + max(8, 0.4 * (y - vanishing_xy[1]))
        ended += [line for line in open_ if line.y[-1] > lowest]
        open_ = [line for line in open_ if line.y[-1] <= lowest]
        taken = _assign(centres, open_, y, vanishing_xy, width)
        for i, x in enumerate(centres):
            if i not in taken:
                taken[i] = _Line()
                open_.append(taken[i])
            taken[i].x.append(x)
            taken[i].y.append(y)
    found = [(np.array(line.x), line.y) for line in ended + open_ if len(line.x) >= MIN_POINTS]
    return [np.column_stack([x, y, values[y, np.rint(x).astype(int)]]) for x, y in found]


def _centres(marks: np.ndarray, rows: np.ndarray, longest: float) -> list[tuple[int, list[float]]]:
    """(row, centres of its runs of True), rows without one left out. A run that is cut off by the
    frame's edge has its centre elsewhere, and a long one is across the road."""
    width = marks.shape[1]
    padded = np.zeros((len(marks), width + 2), bool)
    padded[:, 1:-1] = marks
    edges = np.flatnonzero(padded[:, 1:] != padded[:, :-1])  # starts and ends alternate
    row, start = np.divmod(edges[::2], width + 1)
    end = edges[1::2] % (width + 1)
    keep = (end - start <= longest) & (start > 0) & (end < width)
    out: dict[int, list[float]] = {}
    found = zip(rows[row[keep]].tolist(), ((start + end - 1) / 2)[keep].tolist(), strict=True)
    for y, centre in found:
        out.setdefault(y, []).append(centre)
    return list(out.items())


def _assign(
    centres: list[float], lines: list[_Line], y: int, vanishing_xy: tuple[float, float], width: int
) -> dict[int, _Line]:
    """{index of a run: the line it continues}, closest pairs first."""
    least = max(2.5, 0.006 * width)
    pairs = []
    for j, line in enumerate(lines):
        x0, y0, slope = line.ahead(vanishing_xy)
        expected, reach = x0 + slope * (y0 - y), least + 0.4 * (y0 - y) / ROW_STEP
        low, high = expected - reach, expected + reach
        for i, x in enumerate(centres):
            if low <= x <= high:
                pairs.append((abs(x - expected) / reach, i, j))
    pairs.sort()
    taken: dict[int, _Line] = {}
    used: set[int] = set()
    for _, i, j in pairs:
        if i not in taken and j not in used:
            taken[i] = lines[j]
            used.add(j)
    return taken
