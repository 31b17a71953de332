"""COCO average precision, matched frame by frame so that only a few bytes per box are kept.

Follows pycocotools' COCOeval as the BDD100K toolkit calls it: boxes include their last pixel (one
is added to width and height), ignored ground truth is a crowd region.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from pycocotools import mask as coco

from perception.metrics.base import Metric, nanmean

IOU_THRESHOLDS: Final = np.linspace(0.5, 0.95, 10)
RECALL_POINTS: Final = np.linspace(0.0, 1.0, 101)
AREAS: Final = {
    "all": (0.0, 1e10),
    "s": (0.0, 32.0**2),
    "m": (32.0**2, 96.0**2),
    "l": (96.0**2, 1e10),
}
MAX_BOXES: Final = 100  # per class and frame
MAX_TRUTH: Final = 2000  # ground truth boxes matched at once; of more, only possible matches
SHOWN_PRECISION: Final = 0.7  # of the boxes of a class that are drawn
RARE: Final = 30  # objects of a class below which bootstrap intervals are unreliable
# One prediction: bit t of tp[a] / fp[a] is set for a true / false positive at IoU threshold t in
# area range a.
RECORD: Final = np.dtype(
    [("class", "u2"), ("rank", "u1"), ("score", "f4"), ("tp", "u2", 4), ("fp", "u2", 4)]
)


class DetectionMetric(Metric):
    """AP and AR of COCO in percent, over all classes and per class, and thresholds for display."""

    official = ("mAP", "mAP50", "mAP75", "AP*", "AR*")
    unit = "objects"

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._found: list[np.ndarray] = []  # RECORD, per frame
        self._wanted: list[np.ndarray] = []  # (classes, areas) number of objects, per frame

    def update(self, decoded: np.ndarray, target: Mapping[str, np.ndarray]) -> None:
        """One frame: (N, 6) x1 y1 x2 y2 score class, and boxes_xyxy, classes, ignore (M)."""
        truth_class = np.asarray(target["classes"])
        crowd_all = np.asarray(target.get("ignore", np.zeros(len(truth_class), bool)), dtype=bool)
        predictions = decoded[decoded[:, 4] > 0]
        found = [np.empty(0, RECORD)]
        wanted = np.zeros((len(self.classes), len(AREAS)), np.int32)
        for c in range(len(self.classes)):
            boxes = predictions[predictions[:, 5] == c]
            mine = truth_class == c
            if len(boxes) == 0 and not mine.any():
                continue
            order = np.argsort(-boxes[:, 4], kind="stable")[:MAX_BOXES]
            truth, crowd = _xywh(target["boxes_xyxy"][mine]), crowd_all[mine]
            outside = _outside(truth) | crowd  # (areas, M)
            wanted[c] = (~outside).sum(1)
            found.append(_evaluate(boxes[order], c, truth, crowd, outside))
        self._found.append(np.concatenate(found))
        self._wanted.append(wanted)

    def compute(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """mAP, mAP50, mAP75, APs/m/l, AR1/10/100, ARs/m/l, AP/<class>, AP50/<class>.

        In addition to COCO's: bestF1, the largest F1 of all classes together at IoU 0.5 over all
        score thresholds, and two kinds of score thresholds, in percent of the largest score:
        `threshold`, where bestF1 is reached, and `shown_threshold/<class>`, the lowest one from
        which boxes of the class have a precision of SHOWN_PRECISION at IoU 0.5 (100: not reached;
        NaN: no object of the class, so it cannot be measured).
        """
        picked = range(len(self._found)) if rows is None else rows
        found = np.concatenate([np.empty(0, RECORD), *(self._found[i] for i in picked)])
        wanted = sum((self._wanted[i] for i in picked), np.zeros((len(self.classes), len(AREAS))))
        found = found[np.argsort(-found["score"], kind="stable")]
        precision = np.full((len(self.classes), len(AREAS), len(IOU_THRESHOLDS)), np.nan)
        recall = precision.copy()
        recall_at = {1: precision[:, 0].copy(), 10: precision[:, 0].copy()}
        for c in range(len(self.classes)):
            mine = found[found["class"] == c]
            for a in range(len(AREAS)):
                if wanted[c, a] == 0:
                    continue
                tp, fp = _bits(mine["tp"][:, a]), _bits(mine["fp"][:, a])  # (N, thresholds)
                precision[c, a] = _average_precision(tp, fp, wanted[c, a])
                recall[c, a] = tp.sum(0) / wanted[c, a]
            for most, table in recall_at.items():
                if wanted[c, 0]:
                    first = mine["rank"] < most
                    table[c] = _bits(mine["tp"][first, 0]).sum(0) / wanted[c, 0]
        best, threshold = _best_f1(found, wanted[:, 0].sum())
        shown = {
            f"shown_threshold/{name}": _shown_threshold(found[found["class"] == c], wanted[c, 0])
            for c, name in enumerate(self.classes)
        }
        scores = self._named(precision, recall, recall_at)
        return scores | {"bestF1": best, "threshold": threshold} | shown

    def counts(self, rows: np.ndarray | None = None) -> dict[str, int]:
        """Objects of each class, ignored ones not counted."""
        picked = range(len(self._wanted)) if rows is None else rows
        wanted = sum((self._wanted[i][:, 0] for i in picked), np.zeros(len(self.classes)))
        return dict(zip(self.classes, map(int, wanted), strict=True))

    def notes(self) -> list[str]:
        rare = [f"{name} ({n})" for name, n in self.counts().items() if 0 < n < RARE]
        if not rare:
            return []
        return [
            f"fewer than {RARE} objects of {', '.join(rare)}: their AP is uncertain, and bootstrap "
            "intervals of means over classes are not centred on the score"
        ]

    def _named(
        self, precision: np.ndarray, recall: np.ndarray, recall_at: Mapping[int, np.ndarray]
    ) -> dict[str, float]:
        scores = {
            "mAP": nanmean(precision[:, 0]),
            "mAP50": nanmean(precision[:, 0, 0]),
            "mAP75": nanmean(precision[:, 0, 5]),
        }
        scores |= {f"AP{s}": nanmean(precision[:, a]) for a, s in enumerate(AREAS) if a}
        scores |= {f"AR{most}": nanmean(table) for most, table in recall_at.items()}
        scores["AR100"] = nanmean(recall[:, 0])
        scores |= {f"AR{s}": nanmean(recall[:, a]) for a, s in enumerate(AREAS) if a}
        scores |= {f"AP/{n}": nanmean(precision[c, 0]) for c, n in enumerate(self.classes)}
        scores |= {f"AP50/{n}": precision[c, 0, 0] for c, n in enumerate(self.classes)}
        return {key: 100.0 * float(value) for key, value in scores.items()}


def _xywh(boxes_xyxy: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2] + 1], axis=1)


def _outside(boxes_xywh: np.ndarray) -> np.ndarray:
    """Whether each box is outside each area range: (areas, N)."""
    area = boxes_xywh[:, 2] * boxes_xywh[:, 3]
    return np.stack([(area < low) | (area > high) for low, high in AREAS.values()])


def _evaluate(
    boxes: np.ndarray, c: int, truth: np.ndarray, crowd: np.ndarray, ignored: np.ndarray
) -> np.ndarray:
    """One class in one frame: the RECORDs of `boxes` (N, 6), best first."""
    found = np.zeros(len(boxes), RECORD)
    found["class"], found["rank"], found["score"] = c, np.arange(len(boxes)), boxes[:, 4]
    xywh = _xywh(boxes[:, :4])
    matched, excused = _match(xywh, truth, crowd, ignored)
    excused |= ~matched & _outside(xywh).T[:, :, None]
    weights = 1 << np.arange(len(IOU_THRESHOLDS))
    found["tp"] = (matched & ~excused) @ weights
    found["fp"] = (~matched & ~excused) @ weights
    return found


def _match(
    boxes: np.ndarray, truth: np.ndarray, crowd: np.ndarray, ignored: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """COCO's greedy matching: (matched, matched to ignored truth), each (N, areas, thresholds).

    Boxes come best first; each takes the free truth of largest IoU (the last of equals), and
    ignored truth only if no other overlaps enough. A crowd can be matched any number of times.
    """
    shape = (len(boxes), len(ignored), len(IOU_THRESHOLDS))
    matched, excused = np.zeros(shape, bool), np.zeros(shape, bool)
    if not len(boxes) or not len(truth):
        return matched, excused
    keep = _candidates(boxes, truth, crowd)
    truth, crowd, ignored = truth[keep], crowd[keep], ignored[:, keep]
    if not len(truth):
        return matched, excused
    ious = np.asarray(coco.iou(boxes, truth, crowd.astype(np.uint8)))  # (N, M)
    taken = np.zeros((*shape[1:], len(truth)), bool)  # (areas, thresholds, M)
    area, step = np.ix_(range(shape[1]), range(shape[2]))
    for n in np.flatnonzero(ious.max(1) >= IOU_THRESHOLDS[0]):
        near = np.flatnonzero(ious[n] >= IOU_THRESHOLDS[0])
        iou = ious[n, near]
        free = (iou >= IOU_THRESHOLDS[:, None]) & (~taken[:, :, near] | crowd[near])
        regular = free & ~ignored[:, None, near]
        pool = np.where(regular.any(2, keepdims=True), regular, free)
        best = near[len(near) - 1 - np.where(pool, iou, -1.0)[..., ::-1].argmax(2)]
        matched[n] = pool.any(2)
        excused[n] = matched[n] & ignored[area, best]
        taken[area, step, best] |= matched[n]
    return matched, excused


def _candidates(boxes: np.ndarray, truth: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Indices, in order, of the truth that some box overlaps enough: few, of any number."""
    if len(truth) <= MAX_TRUTH:
        return np.arange(len(truth))
    parts = [slice(start, start + MAX_TRUTH) for start in range(0, len(truth), MAX_TRUTH)]
    best = [coco.iou(boxes, truth[part], crowd[part].astype(np.uint8)).max(0) for part in parts]
    return np.flatnonzero(np.concatenate(best) >= IOU_THRESHOLDS[0])


def _bits(flags: np.ndarray) -> np.ndarray:
    return (flags[:, None] >> np.arange(len(IOU_THRESHOLDS))) & 1


def _best_f1(found: np.ndarray, wanted: float) -> tuple[float, float]:
    """The best F1 at IoU 0.5 over all boxes, best first, and its score; both in percent."""
    tp, fp = (_bits(found[name][:, 0])[:, 0].cumsum() for name in ("tp", "fp"))
    if not len(found) or not wanted:
        return float("nan"), float("nan")
    f1 = 2 * tp / np.maximum(tp + fp + wanted, 1)
    best = int(f1.argmax())
    return 100.0 * float(f1[best]), 100.0 * float(found["score"][best])


def _shown_threshold(found: np.ndarray, wanted: float) -> float:
    """Lowest score, in percent, from which one class's boxes, best first, reach SHOWN_PRECISION."""
    if not wanted:
        return float("nan")
    tp, fp = (_bits(found[name][:, 0])[:, 0].cumsum() for name in ("tp", "fp"))
    # Boxes of equal score are shown together or not at all.
    last = np.append(np.diff(found["score"]) != 0, True)[: len(found)]
    enough = np.flatnonzero(last & (tp > 0) & (tp >= SHOWN_PRECISION * (tp + fp)))
    return 100.0 * float(found["score"][enough[-1]]) if len(enough) else 100.0


def _average_precision(tp: np.ndarray, fp: np.ndarray, wanted: float) -> np.ndarray:
    """The mean of the precision envelope at 101 recalls, for each IoU threshold."""
    tp_sum, fp_sum = tp.cumsum(0), fp.cumsum(0)
    recall = tp_sum / wanted
    precision = tp_sum / (tp_sum + fp_sum + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    padded = np.concatenate([envelope, np.zeros((1, envelope.shape[1]))])
    at = [np.searchsorted(column, RECALL_POINTS, side="left") for column in recall.T]
    return np.array([padded[index, t].mean() for t, index in enumerate(at)])
