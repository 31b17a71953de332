"""Follows markings from the bottom of a mask upwards, row by row."""

from dataclasses import dataclass, field

import numpy as np

from perception.runtime.lanes import row_runs

ROW_STEP = 2
FIRST_ROWS = 3  # below the vanishing point: above it markings merge
MAX_RUN_SHARE = 0.14  # of the width: a longer run is a marking across the road
MIN_POINTS = 6
SLOPE_POINTS = 8


@dataclass
class _Line:
    x: list[float] = field(default_factory=list)
    y: list[int] = field(default_factory=list)
    value: list[int] = field(default_factory=list)

    def expected(self, y: int, vanishing_xy: tuple[float, float]) -> float:
        """Column at row y: along the last points, or towards the vanishing point."""
        x0, y0 = self.x[-1], self.y[-1]
        if len(self.x) < 4:
            share = (y0 - y) / max(y0 - vanishing_xy[1], 1.0)
            return x0 + (vanishing_xy[0] - x0) * share
        k = min(len(self.x), SLOPE_POINTS)
        return x0 + (x0 - self.x[-k]) * (y - y0) / (y0 - self.y[-k])


def follow_rows(
    marks: np.ndarray, values: np.ndarray, vanishing_xy: tuple[float, float]
) -> list[np.ndarray]:
    """Per marking (N, 3) x, y and value, from the bottom up; x and y in pixels of the mask.

    `marks` is bool (H, W), `values` uint8 (H, W).
    """
    height, width = marks.shape
    top = max(int(vanishing_xy[1]) + FIRST_ROWS, 0)
    rows = np.arange(height - 1, top, -ROW_STEP)
    runs = row_runs(marks[rows])
    ended: list[_Line] = []
    open_: list[_Line] = []
    for index, y in enumerate(rows.tolist()):
        start, end = runs[index]
        # A run that is cut off by the frame's edge has its centre elsewhere.
        keep = (end - start <= MAX_RUN_SHARE * width) & (start > 0) & (end < width)
        centres = (start[keep] + end[keep] - 1) / 2
        v = y - vanishing_xy[1]
        gone = [line for line in open_ if line.y[-1] - y > max(8, 0.4 * v)]
        ended += gone
        open_ = [line for line in open_ if line.y[-1] - y <= max(8, 0.4 * v)]
        taken = _assign(centres, open_, y, vanishing_xy, width)
        for i, x in enumerate(centres.tolist()):
            line = taken.get(i)
            if line is None:
                line = _Line()
                open_.append(line)
            line.x.append(x)
            line.y.append(y)
            line.value.append(int(values[y, round(x)]))
    lines = [line for line in ended + open_ if len(line.x) >= MIN_POINTS]
    return [np.column_stack([line.x, line.y, line.value]).astype(np.float64) for line in lines]


def _assign(
    centres: np.ndarray,
    lines: list[_Line],
    y: int,
    vanishing_xy: tuple[float, float],
    width: int,
) -> dict[int, _Line]:
    """{index of a run: the line it continues}, closest pairs first."""
    if not len(centres) or not lines:
        return {}
    expected = np.array([line.expected(y, vanishing_xy) for line in lines])
    gap = np.array([line.y[-1] - y for line in lines]) / ROW_STEP
    reach = np.maximum(2.5, 0.006 * width) + 0.4 * gap
    off = np.abs(centres[:, None] - expected) / reach
    taken: dict[int, _Line] = {}
    used: set[int] = set()
    for at in np.argsort(off, axis=None):
        i, j = divmod(int(at), len(lines))
        if off[i, j] > 1:
            break
        if i not in taken and j not in used:
            taken[i] = lines[j]
            used.add(j)
    return taken
