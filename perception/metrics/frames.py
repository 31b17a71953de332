"""Per-frame records, so that one pass scores the whole set, any slice of it and a bootstrap."""

from collections.abc import Sequence

import numpy as np


def chosen(records: Sequence[np.ndarray], rows: np.ndarray | None) -> np.ndarray:
    """The records (one array a frame, equal shapes) of `rows`, stacked: (frames, ...).

    `rows` are frame indices in the order of update(), repeats allowed; None is every frame.
    """
    stacked = np.stack(records)
    return stacked if rows is None else stacked[rows]


def percent(part: float, whole: float) -> float:
    """100 part / whole, NaN for an empty whole."""
    return 100.0 * float(part) / float(whole) if whole else float("nan")


def nanmean(values: Sequence[float] | np.ndarray) -> float:
    """The mean of what is not NaN; NaN (and no warning) where nothing is left."""
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if known.size else float("nan")
