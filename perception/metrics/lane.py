"""F1 of lane pixels within 1, 2 and 5 pixels: equal to bdd100k.eval.lane, ten times as fast.

The toolkit dilates by discs; within a disc of radius r means at Euclidean distance <= r, so one
exact distance transform per mask serves all three radii.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import cv2
import numpy as np

from perception.classes import (
    LANE_BACKGROUND_BIT,
    LANE_CATEGORIES,
    LANE_CATEGORY_BITS,
    LANE_CATEGORY_UNKNOWN,
    LANE_DIRECTION_SHIFT,
    LANE_DIRECTIONS,
    LANE_IGNORE,
    LANE_STYLE_SHIFT,
    LANE_STYLES,
    LANE_TYPE_UNKNOWN,
)
from perception.metrics.base import Metric, chosen, percent
from perception.runtime.view import View

RADII: Final = (1, 2, 5)
# part: (shift, bit mask, the flag of a pixel where the part is unknown).
# The toolkit's order, which its averages' last digit depends on.
PARTS: Final[Mapping[str, tuple[int, int, int]]] = {
    "direction": (LANE_DIRECTION_SHIFT, 1, LANE_TYPE_UNKNOWN),
    "style": (LANE_STYLE_SHIFT, 1, LANE_TYPE_UNKNOWN),
    "category": (0, LANE_CATEGORY_BITS, LANE_CATEGORY_UNKNOWN),
}
OFFICIAL: Final = View(
    "mask", categories=LANE_CATEGORIES, styles=LANE_STYLES, directions=LANE_DIRECTIONS
)


class LaneMetric(Metric):
    """F1@1/2/5 of the foreground and of each part of the lane byte, IoU and recall, in percent.

    F1 is the mean over frames, as in the toolkit; IoU and recall are over all pixels of the set.
    Pixels that are not annotated (254) are not counted. Where the category or type of the truth is
    unknown, a prediction within the radius is not counted for that part. Frames whose lanes are all
    of unknown type (binary truth) are not counted for it, and a set of only such frames scores NaN.
    `view` names the classes of the parts; the official ones where it lists none.
    """

    official = ("average_F1@*", "direction_F1@*", "style_F1@*", "category_F1@*", "F1@*/*")

    def __init__(self, view: View = OFFICIAL) -> None:
        self.classes = {
            "direction": view.directions or LANE_DIRECTIONS,
            "style": view.styles or LANE_STYLES,
            "category": view.categories or LANE_CATEGORIES,
        }
        self._binary: list[np.ndarray] = []  # (radii) F1
        self._pixels: list[np.ndarray] = []  # (3) true positives, false positives, misses
        self._parts: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}  # (classes, radii)
        # (2, classes) bool: the class occurs in the truth, in truth or prediction
        self._occurs: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}

    def update(self, decoded: np.ndarray, target: Mapping[str, np.ndarray]) -> None:
        """One frame: decoded official lane byte (H, W) and lane (H, W), with training flags."""
        truth, known = target["lane"], target["lane"] != LANE_IGNORE
        found, real = (decoded & LANE_BACKGROUND_BIT) == 0, (truth & LANE_BACKGROUND_BIT) == 0
        blank = None if known.all() else ~known
        self._binary.append(f1(real, found, blank) if known.any() else np.full(len(RADII), np.nan))
        seen = found if blank is None else found & known
        hits, predicted, wanted = (np.count_nonzero(m) for m in (seen & real, seen, real))
        self._pixels.append(np.array([hits, predicted - hits, wanted - hits]))
        for part, (shift, bits, flag) in PARTS.items():
            classes = self.classes[part]
            unknown = real & ((truth & flag) != 0)
            typed = real & ~unknown
            if not typed.any() and (unknown.any() or not known.any()):
                self._parts[part].append(np.full((len(classes), len(RADII)), np.nan))
                self._occurs[part].append(np.zeros((2, len(classes)), bool))
                continue
            hidden = unknown if blank is None else unknown | blank
            truth_class, found_class = (truth >> shift) & bits, (decoded >> shift) & bits
            pairs = [
                (typed & (truth_class == v), found & (found_class == v))
                for v in range(len(classes))
            ]
            self._parts[part].append(np.stack([f1(gt, pd, hidden) for gt, pd in pairs]))
            in_truth = np.array([gt.any() for gt, _ in pairs])
            in_either = in_truth | [pd.any() for _, pd in pairs]
            self._occurs[part].append(np.stack([in_truth, in_either]))

    def compute(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """F1@r, IoU, recall, average_F1@r, <part>_F1@r and F1@r/<part>/<class>.

        The toolkit scores frames in which a class is neither annotated nor predicted as 100; the
        means of parts contain that. A class without a pixel in the whole set is NaN here.
        """
        if not self._binary:
            return {"F1@5": float("nan"), "IoU": float("nan"), "recall": float("nan")}
        scores = _per_radius("F1", _mean(chosen(self._binary, rows)))
        hits, false, missed = chosen(self._pixels, rows).sum(0)
        scores |= {"IoU": percent(hits, hits + false + missed)}
        scores |= {"recall": percent(hits, hits + missed)}
        tables = {part: self._part(part, rows) for part in PARTS}
        means = {part: table.mean(axis=0) for part, table in tables.items()}
        scores |= _per_radius("average_F1", np.stack(list(means.values())).mean(axis=0))
        for part, mean in means.items():
            scores |= _per_radius(f"{part}_F1", mean)
        for part, table in tables.items():
            occurs = chosen(self._occurs[part], rows)[:, 1].sum(0)
            for c, name in enumerate(self.classes[part]):
                row = table[c] if occurs[c] else np.full(len(RADII), np.nan)
                scores |= _per_radius("F1", row, f"/{part}/{name}")
        return scores

    def _part(self, part: str, rows: np.ndarray | None) -> np.ndarray:
        """(classes, radii) in percent; NaN where all truth is binary."""
        frames = chosen(self._parts[part], rows)
        skipped = np.isnan(frames[:, 0, 0])
        if skipped.any() and not chosen(self._occurs[part], rows)[:, 0].any():
            return np.full(frames.shape[1:], np.nan)
        return _mean(frames)

    def typed(self, part: str) -> int:
        """Number of frames that are scored for a part of the lane byte."""
        if not self._parts[part] or np.isnan(self._part(part, None)).all():
            return 0
        return int((~np.isnan(chosen(self._parts[part], None)[:, 0, 0])).sum())

    def counts(self, rows: np.ndarray | None = None) -> dict[str, int]:
        """Frames that show each class."""
        out: dict[str, int] = {}
        if self._binary:
            for part, records in self._occurs.items():
                shown = chosen(records, rows)[:, 0].sum(0)
                names = [f"{part}/{name}" for name in self.classes[part]]
                out |= dict(zip(names, map(int, shown), strict=True))
        return out

    def notes(self) -> list[str]:
        typed = {part: self.typed(part) for part in PARTS}
        frames = ", ".join(f"{part} {count}" for part, count in typed.items())
        note = f"frames scored for lane types, of {len(self._binary)}: {frames}"
        if any(typed.values()):
            note += (
                "; in the toolkit's averages, a class that a frame neither has nor is predicted to "
                "have counts as 100"
            )
        return [note]


def f1(truth: np.ndarray, found: np.ndarray, unknown: np.ndarray | None = None) -> np.ndarray:
    """F1 (0 to 1) at each radius of two bool masks (H, W); both empty is 1, one empty 0.

    A found pixel that matches nothing but lies within the radius of `unknown` is not counted.
    """
    nothing = unknown is None or not unknown.any()
    if not truth.any() or (nothing and not found.any()):
        spared = np.zeros(len(RADII), int) if nothing else _near(found, unknown).sum(1)
        return np.where(np.count_nonzero(found) > spared, 0.0, 1.0 - float(truth.any()))
    if not found.any():
        return np.zeros(len(RADII))
    right = _near(found, truth)  # (radii, N)
    recall = _near(truth, found).sum(1) / float(np.count_nonzero(truth))
    counted = np.full(len(RADII), np.count_nonzero(found))
    if not nothing:
        counted -= (_near(found, unknown) & ~right).sum(1)
    precision = right.sum(1) / np.maximum(counted, 1).astype(np.float64)
    both = precision + recall
    return np.where(both == 0, 0.0, 2.0 * precision * recall / np.where(both == 0, 1.0, both))


def _near(mask: np.ndarray, other: np.ndarray | None) -> np.ndarray:
    """(radii, N): which of the N pixels of `mask` have one of `other` within each radius."""
    if other is None or not other.any():
        return np.zeros((len(RADII), np.count_nonzero(mask)), bool)
    x, y, w, h = cv2.boundingRect((mask | other).view(np.uint8))
    window = np.s_[y : y + h, x : x + w]
    empty = (~other[window]).view(np.uint8)
    distance = cv2.distanceTransform(empty, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[mask[window]]
    return distance <= np.array(RADII)[:, None] + 0.01  # Euclidean


def _mean(frames: np.ndarray) -> np.ndarray:
    """The mean over the frames (axis 0) that are not NaN, in percent."""
    kept = frames[~np.isnan(frames.reshape(len(frames), -1)[:, 0])]
    return kept.mean(axis=0) * 100 if len(kept) else np.full(frames.shape[1:], np.nan)


def _per_radius(name: str, values: np.ndarray, suffix: str = "") -> dict[str, float]:
    pairs: Sequence[tuple[int, float]] = list(zip(RADII, values, strict=True))
    return {f"{name}@{r}{suffix}": float(value) for r, value in pairs}
