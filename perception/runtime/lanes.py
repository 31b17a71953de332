"""Lane lines of a lane mask: thinned to their centre, one category per line, in frame pixels.

A line is followed row by row as the centre of its run of pixels, which is its centre wherever it
is not horizontal. Crosswalks and markings across the road are left to the mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perception.classes import (
    LANE_BACKGROUND_BIT,
    LANE_CATEGORY_BITS,
    LANE_DIRECTION_BIT,
    LANE_STYLE_BIT,
)
from perception.runtime.scene import Mask

CROSSWALK = "crosswalk"
MIN_ROWS = 0.02  # of the height: shorter pieces are noise
MAX_GAP = 0.12  # of the height, between two pieces of one line
MAX_MISS = 0.02  # of the width, between a piece and the continuation of the one before it
# Width of a marking over the height of the camera, both in metres: what a marking spans in a row,
# in pixels per row below the horizon.
WIDTH_PER_ROW = 0.14 / 1.4


@dataclass
class LaneLine:
    """One line, from the far end to the near one."""

    points: np.ndarray  # float (N, 2) xy of the centre in the frame, y increases
    widths: np.ndarray  # float (N,) horizontal width of the marking in frame pixels
    category: str
    dashed: bool


def lane_lines(mask: Mask) -> list[LaneLine]:
    """The lines of a lane mask that run along the road."""
    along = marks_along(mask)
    height, width = along.shape
    chains = [_trimmed(np.array(chain)) for chain in _chains(along)]
    pieces = [chain for chain in chains if len(chain) >= max(3, MIN_ROWS * height)]
    scale = frame_scale(mask)
    horizon = _horizon(pieces, height)
    lines = []
    for group in _joined(pieces, (height, width)):
        values = np.concatenate([mask.small[piece[:, 1], piece[:, 0]] for piece in group])
        name = most_frequent(mask.view.categories, values & LANE_CATEGORY_BITS)
        dashed = bool(((values & LANE_STYLE_BIT) > 0).mean() > 0.5)
        for piece in group:
            below = np.maximum(piece[:, 1] - horizon, 4.0)
            points = (_smoothed(piece) + 0.5) * scale
            lines.append(LaneLine(points, WIDTH_PER_ROW * below * scale[1], name, dashed))
    return lines


def marks_along(mask: Mask) -> np.ndarray:
    """bool (h, w): markings that run along the road, without crosswalks and stop lines."""
    byte = mask.small
    along = (byte & (LANE_BACKGROUND_BIT | LANE_DIRECTION_BIT)) == 0
    if CROSSWALK in mask.view.categories:
        along &= (byte & LANE_CATEGORY_BITS) != mask.view.categories.index(CROSSWALK)
    return along


def frame_scale(mask: Mask) -> np.ndarray:
    """(2,) frame pixels per pixel of the mask, x and y."""
    return np.array(mask.frame_hw[::-1]) / mask.small.shape[::-1]


def most_frequent(names: Sequence[str], index: np.ndarray) -> str:
    """The name of the most frequent index; "" for an index without a name."""
    value = int(np.bincount(index).argmax())
    return names[value] if value < len(names) else ""


def _chains(along: np.ndarray) -> list[list[tuple[int, int, int]]]:
    """Chains of runs (centre x, y, length), each overlapping the one above it. Where two lines
    meet, the chain whose run overlaps most continues and the others end or begin."""
    done: list[list[tuple[int, int, int]]] = []
    open_: list[tuple[int, int, list[tuple[int, int, int]]]] = []  # start, end and chain of a run
    for y, (row_starts, row_ends) in enumerate(row_runs(along)):
        runs = list(zip(row_starts.tolist(), row_ends.tolist(), strict=True))
        overlaps = sorted(
            (max(start, a) - min(end, b), i, j)
            for i, (start, end) in enumerate(runs)
            for j, (a, b, _) in enumerate(open_)
            if start <= b and a <= end
        )
        chains: dict[int, list[tuple[int, int, int]]] = {}
        continued: set[int] = set()
        for _, i, j in overlaps:
            if i not in chains and j not in continued:
                chains[i] = open_[j][2]
                continued.add(j)
        done += [chain for j, (_, _, chain) in enumerate(open_) if j not in continued]
        open_ = []
        for i, (start, end) in enumerate(runs):
            chain = chains.get(i, [])
            chain.append(((start + end - 1) // 2, y, end - start))
            open_.append((start, end, chain))
    return done + [chain for _, _, chain in open_]


def row_runs(rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Starts and ends (exclusive) of the runs of True in each row of a bool (H, W)."""
    padded = np.zeros((len(rows), rows.shape[1] + 2), np.int8)
    padded[:, 1:-1] = rows
    steps = np.diff(padded, axis=1)
    at_start, at_end = np.nonzero(steps == 1), np.nonzero(steps == -1)
    cut = np.searchsorted(at_start[0], np.arange(1, len(rows)))
    return list(zip(np.split(at_start[1], cut), np.split(at_end[1], cut), strict=True))


def _trimmed(chain: np.ndarray) -> np.ndarray:
    """int (N, 2) xy without the ends, where the runs of a slanted band are cut off on one side."""
    slope = abs(chain[-1, 0] - chain[0, 0]) / max(len(chain) - 1, 1)
    rows = round(0.6 * float(np.median(chain[:, 2])) * slope / (1 + slope**2))
    rows = min(rows, len(chain) // 3)
    return chain[rows : len(chain) - rows, :2]


def _joined(pieces: list[np.ndarray], size_hw: tuple[int, int]) -> list[list[np.ndarray]]:
    """Pieces grouped into lines: a piece belongs to the one above whose continuation it meets."""
    height, width = size_hw
    groups: list[list[np.ndarray]] = []
    for piece in sorted(pieces, key=lambda piece: piece[0, 1]):
        x, y = piece[0]
        best, best_miss = None, MAX_MISS * width
        for group in groups:
            last = group[-1]
            if 0 < y - last[-1, 1] <= MAX_GAP * height:
                tail = last[-min(len(last), 20) :]
                slope = (tail[-1, 0] - tail[0, 0]) / max(tail[-1, 1] - tail[0, 1], 1)
                miss = abs(tail[-1, 0] + slope * (y - tail[-1, 1]) - x)
                if miss <= best_miss:
                    best, best_miss = group, miss
        if best is None:
            groups.append([piece])
        else:
            best.append(piece)
    return groups


def _horizon(pieces: list[np.ndarray], height: int) -> float:
    """The row where markings have no width: just above the farthest one, near the middle."""
    top = min((piece[0, 1] for piece in pieces), default=height // 2)
    return float(np.clip(top - 2, 0.3 * height, 0.6 * height))


def _smoothed(piece: np.ndarray) -> np.ndarray:
    """float (N, 2): the chain with x as a polynomial of y, of at most third degree."""
    x, y = piece.astype(float).T
    t = (y - y.mean()) / max(float(np.ptp(y)), 1.0)  # keeps the fit well conditioned
    fit = np.polyfit(t, x, min(3, len(piece) // 8 + 1))
    return np.column_stack([np.polyval(fit, t), y])


def outline(line: LaneLine, wider: float = 0.0) -> np.ndarray:
    """int32 (M, 1, 2): the marking's outline with 4 fractional bits, for cv2.fillPoly."""
    half = line.widths / 2 + wider
    left, right = line.points.copy(), line.points[::-1].copy()
    left[:, 0] -= half
    right[:, 0] += half[::-1]
    return np.round(16 * np.concatenate([left, right])).astype(np.int32)[:, None]
