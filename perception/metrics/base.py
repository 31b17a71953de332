"""The interface of metrics, and helpers for the per-frame records that all of them keep.

Metrics are numpy only. They keep a small record per frame, so that one pass over a split scores
the whole set, any slice of it and bootstrap samples.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np


class Metric(Protocol):
    """Accumulates over frames; make a new one for each evaluation (there is no reset).

    Keys of `compute` are the name of a score, or NAME/CLASS for the score of one class.
    Implementations inherit from it for the defaults of the optional members.
    """

    official: tuple[str, ...] = ()
    """Patterns (fnmatch) of the keys computed exactly as by the reference code of the protocol."""
    headlines: tuple[str, ...] = ()
    """Headline scores of protocols other than the task's own."""
    unit: str = "frames"
    """What `counts` counts."""

    def update(self, decoded: np.ndarray, target: Mapping[str, np.ndarray]) -> None:
        """Adds a frame: the decoded output and the label's arrays."""

    def compute(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """Scores in percent or physical units; NaN where there is nothing to score.

        `rows` are indices of frames in the order of `update`, repeats allowed; None: all frames.
        """

    def counts(self, rows: np.ndarray | None = None) -> dict[str, int]:
        """{class: number of `unit` of it in the truth}, with the classes named as in `compute`."""
        return {}

    def notes(self) -> list[str]:
        """What must be known to read the scores, one sentence each."""
        return []


def chosen(records: Sequence[np.ndarray], rows: np.ndarray | None) -> np.ndarray:
    """The records (one array per frame, equal shapes) of `rows`, stacked: (frames, ...)."""
    stacked = np.stack(records)
    return stacked if rows is None else stacked[rows]


def percent(part: float, whole: float) -> float:
    """100 part / whole, NaN for an empty whole."""
    return 100.0 * float(part) / float(whole) if whole else float("nan")


def nanmean(values: Sequence[float] | np.ndarray) -> float:
    """The mean of the values that are not NaN; NaN (without a warning) if there are none."""
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if known.size else float("nan")
