"""How far two results of one model differ, by kind of output: an exported file from PyTorch, a
provider from the CPU.

Boxes may swap places where their scores are equal to the last bit, and a pixel may change its class
where two classes tie.
"""

from dataclasses import dataclass

import numpy as np

Measured = tuple[str, float, float]  # what, value, limit
NEAR = 0.05  # of a number that agrees up to bfloat16's rounding (about 3 significant digits)


@dataclass(frozen=True)
class Limits:
    """Largest differences allowed between a precision and PyTorch in float32."""

    score: float  # probabilities
    pixels: float  # boxes, in model pixels
    share: float  # of mask pixels
    boxes: float  # share of boxes without a counterpart
    relative: float  # maps, against the largest value; normals, absolute


def compare_boxes(wanted: np.ndarray, got: np.ndarray, limits: Limits) -> list[Measured]:
    """Boxes that are clearly above the other list's lowest score must have a counterpart there: the
    same class, score and corners within the limits."""
    wanted, got = wanted.reshape(-1, 6), got.reshape(-1, 6)
    lost = max(_unmatched(wanted, got, limits), _unmatched(got, wanted, limits))
    what = f"share of boxes without a counterpart within {limits.pixels:g} px"
    return [(what, lost, limits.boxes)]


def _unmatched(ours: np.ndarray, theirs: np.ndarray, limits: Limits) -> float:
    cutoff = theirs[:, 4].min() + limits.score
    clear = ours[ours[:, 4] > cutoff]
    if not len(clear):
        return 0.0
    apart = np.abs(clear[:, None, :4] - theirs[None, :, :4]).max(-1)  # (clear, theirs)
    same = clear[:, None, 5] == theirs[None, :, 5]
    near = np.abs(clear[:, None, 4] - theirs[None, :, 4]) <= limits.score
    return float(1 - ((apart <= limits.pixels) & same & near).any(1).mean())


def compare_pixels(wanted: np.ndarray, got: np.ndarray, limits: Limits) -> list[Measured]:
    """Share of the pixels with another class."""
    return [("share of pixels that differ", float((wanted != got).mean()), limits.share)]


def compare_shares(wanted: np.ndarray, got: np.ndarray, limits: Limits) -> list[Measured]:
    """Probabilities."""
    return [("largest probability difference", largest(wanted - got), limits.score)]


def compare_numbers(wanted: np.ndarray, got: np.ndarray, limits: Limits) -> list[Measured]:
    """Numbers of any unit, relative to the largest."""
    scale = max(float(np.abs(wanted).max()), 1e-6)
    return [("largest difference / largest value", largest(wanted - got) / scale, limits.relative)]


def compare_vectors(wanted: np.ndarray, got: np.ndarray, limits: Limits) -> list[Measured]:
    """Unit vectors."""
    return [("largest component difference", largest(wanted - got), limits.relative)]


def largest(difference: np.ndarray) -> float:
    return float(np.abs(difference).max())


def same_numbers(expected: np.ndarray, got: np.ndarray) -> float:
    """Share of the numbers that agree within NEAR, relative to themselves and to the median."""
    scale = max(float(np.nanmedian(np.abs(expected))), 1e-3)
    return float((np.abs(expected - got) <= NEAR * np.abs(expected) + NEAR * scale).mean())


def same_shares(expected: np.ndarray, got: np.ndarray) -> float:
    """Share of the probabilities that agree within NEAR."""
    return float((np.abs(expected - got) <= NEAR).mean())


def same_scores(expected: np.ndarray, got: np.ndarray) -> float:
    """Share of the boxes' sorted scores that agree: near-equal boxes may change places by rounding
    alone."""
    scores, others = (np.sort(rows.reshape(-1, 6)[:, 4]) for rows in (expected, got))
    return same_shares(scores, others)


def same_pixels(expected: np.ndarray, got: np.ndarray) -> float:
    """Share of the pixels with the same class."""
    return float((expected == got).mean())
