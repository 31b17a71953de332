"""The "panoptic driving" protocol: the scores of YOLOP and its successors, rule by rule.

Follows YOLOP's lib/core/function.py (validate), lib/core/general.py (NMS and AP) and
lib/dataset/AutoDriveDataset.py. Vehicles are matched in frame pixels; areas and lanes are compared
on the frame shrunk to 640 px (360 x 640 for 720p), the model's own resolution without padding.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import cv2
import numpy as np

from perception.classes import IGNORE, LANE_BACKGROUND_BIT, LANE_IGNORE
from perception.metrics.base import Metric, chosen
from perception.runtime.view import BOXES, LANE_BYTE, MASK, View

VEHICLES: Final = ("car", "bus", "truck", "train")
AREAS: Final = ("direct", "alternative")
CONFIDENCE: Final = 0.001
MOST_BOXES: Final = 300
IOU: Final = 0.5
NMS_IOU: Final = 0.6
# Distance of the last sentinel of the precision-recall curve from the last recall.
SENTINEL: Final = 0.01
SENTINEL_YOLOP: Final = 0.001
BATCH: Final = 24
LONG_SIDE: Final = 640
# RMT-PPAD widens the 2 px truth of the test set to the 8 px of training: 3 px on each side.
WIDER_BY: Final = 3

Rule = Callable[[np.ndarray], float]  # a score of one confusion table


class VehicleMetric(Metric):
    """Recall and AP50 of car, bus, truck and train as one class, in percent.

    Predictions come in order of confidence, and each takes the free ground truth it overlaps most:
    `mAP50`, `recall`. `mAP50_yolop` and `recall_yolop` are what YOLOP's validation computes: NMS
    at IoU 0.6 over the merged class first; a prediction is a false positive if the ground truth it
    overlaps most is taken; and the last sentinel is at recall + 0.001 instead of + 0.01.
    """

    headlines = ("recall", "mAP50")
    official = ("*_yolop",)
    unit = "objects"

    def __init__(self, classes: Sequence[str]) -> None:
        self.merged = [c for c, name in enumerate(classes) if name in VEHICLES]
        self._found: list[np.ndarray] = []  # (N, 2) per frame: confidence, right
        self._found_yolop: list[np.ndarray] = []
        self._wanted: list[int] = []

    def update(self, decoded: np.ndarray, target: Mapping[str, np.ndarray]) -> None:
        """One frame, in frame pixels: (N, 6) x1 y1 x2 y2 score class, and the boxes' arrays."""
        mine = np.isin(target["classes"], self.merged)
        if "ignore" in target:  # such as "other vehicle": not part of the protocol
            mine &= ~np.asarray(target["ignore"], dtype=bool)
        truth = target["boxes_xyxy"][mine]
        boxes = decoded[np.isin(decoded[:, 5], self.merged) & (decoded[:, 4] > CONFIDENCE)]
        boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
        kept = boxes[nms(boxes[:, :4], NMS_IOU)][:MOST_BOXES]
        boxes = boxes[:MOST_BOXES]
        right = match(box_iou(boxes[:, :4], truth))
        right_yolop = match(box_iou(kept[:, :4], truth), only_best=True)
        self._found.append(np.column_stack([boxes[:, 4], right]))
        self._found_yolop.append(np.column_stack([kept[:, 4], right_yolop]))
        self._wanted.append(len(truth))

    def compute(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """mAP50 and recall, and both as in YOLOP's validation."""
        picked = range(len(self._wanted)) if rows is None else rows
        wanted = sum(self._wanted[i] for i in picked)
        scores: dict[str, float] = {}
        for records, suffix, sentinel in (
            (self._found, "", SENTINEL),
            (self._found_yolop, "_yolop", SENTINEL_YOLOP),
        ):
            found = np.concatenate([np.empty((0, 2)), *(records[i] for i in picked)])
            found = found[np.argsort(-found[:, 0], kind="stable")]
            ap, recall = average_precision(found[:, 1], wanted, sentinel)
            scores |= {f"mAP50{suffix}": 100 * ap, f"recall{suffix}": 100 * recall}
        return scores

    def notes(self) -> list[str]:
        return [f"vehicles of the panoptic protocol: {sum(self._wanted)} objects"]


def nms(boxes_xyxy: np.ndarray, iou: float) -> np.ndarray:
    """Indices of the boxes, best first, that no better kept box overlaps by more than `iou`."""
    ious = box_iou(boxes_xyxy, boxes_xyxy)
    kept = np.ones(len(boxes_xyxy), bool)
    for n in range(len(boxes_xyxy)):
        if kept[n]:
            kept[n + 1 :] &= ious[n, n + 1 :] <= iou
    return np.flatnonzero(kept)


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of corner boxes, continuous coordinates: (N, M)."""
    a, b = a.astype(np.float64).reshape(-1, 1, 4), b.astype(np.float64).reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = sides.clip(min=0).prod(-1)
    area_a, area_b = ((x[..., 2:] - x[..., :2]).prod(-1) for x in (a, b))
    return shared / np.maximum(area_a + area_b - shared, 1e-12)


def match(ious: np.ndarray, only_best: bool = False) -> np.ndarray:
    """Which predictions (rows, best first) take a ground truth (columns): (N,) bool."""
    right = np.zeros(len(ious), bool)
    if not ious.shape[1]:
        return right
    taken = np.zeros(ious.shape[1], bool)
    for n in np.flatnonzero(ious.max(1) > IOU):
        row = ious[n] if only_best else np.where(taken, 0.0, ious[n])
        best = int(row.argmax())
        right[n] = row[best] > IOU and not taken[best]
        taken[best] |= right[n]
    return right


def average_precision(
    right: np.ndarray, wanted: int, sentinel: float = SENTINEL
) -> tuple[float, float]:
    """(AP50, recall) of predictions in order of confidence, from 0 to 1; NaN without truth.

    AP: precision envelope between the points (0, 1) and (last recall + `sentinel`, 0), read at 101
    recalls and integrated by trapezoids. Recall: YOLOP takes it at the confidence where the mean
    recall is largest, which is the lowest one, so it is the largest recall reached.
    """
    if not wanted:
        return float("nan"), float("nan")
    if not len(right):
        return 0.0, 0.0
    hits = np.cumsum(right)
    recall, precision = hits / wanted, hits / np.arange(1, len(right) + 1)
    at = np.concatenate([[0.0], recall, [recall[-1] + sentinel]])
    height = np.concatenate([[1.0], precision, [0.0]])
    envelope = np.maximum.accumulate(height[::-1])[::-1]
    points = np.linspace(0, 1, 101)
    values = np.interp(points, at, envelope)
    area = ((values[1:] + values[:-1]) / 2 * np.diff(points)).sum()
    return float(area), float(recall[-1])


class _Batched(Metric):
    """Scores by batches, as YOLOP computes them, and over the whole set."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.official = (f"*_batch{BATCH}",)

    def notes(self) -> list[str]:
        return [
            f"_batch{self.batch} scores are means over batches of {self.batch} frames, as in "
            "YOLOP: they depend on the order of the frames (--protocol-batch sets the size); "
            "_set scores do not"
        ]


class AreaMetric(_Batched):
    """Drivable area (direct and alternative merged): the mean of background and drivable IoU."""

    def __init__(self, classes: Sequence[str], batch: int = BATCH) -> None:
        super().__init__(batch)
        self.headlines = (f"mIoU_batch{batch}", "mIoU_set")
        self.merged = [c for c, name in enumerate(classes) if name in AREAS]
        self._tables: list[np.ndarray] = []

    def update(self, decoded: np.ndarray, target: Mapping[str, np.ndarray]) -> None:
        """One frame: decoded uint8 at the model's size without padding, mask at the frame's."""
        truth, known = shrink(np.isin(target["mask"], self.merged), target["mask"] == IGNORE)
        self._tables.append(_table(np.isin(decoded, self.merged), truth, known))

    def compute(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """mIoU and pixel accuracy, each by batches and over the set."""
        rules = {"mIoU": _mean_iou, "accuracy": _pixel_accuracy}
        return both_ways(self._tables, rows, rules, self.batch)


class LineMetric(_Batched):
    """Lanes as one class: IoU of the lane alone, and both scores that are called accuracy.

    `recall` is TP / (TP + FN) (YOLOP, YOLOPX, YOLOPv3); `balanced` is the mean of sensitivity and
    specificity (HybridNets, A-YOLOM, RMT-PPAD, TwinLiteNet+); `_dilated` are RMT-PPAD's, against
    truth as wide as in training.
    """

    headlines = ("recall_set", "balanced_set", "IoU_set", "IoU_dilated_set")

    def __init__(self, batch: int = BATCH) -> None:
        super().__init__(batch)
        self._tables: list[np.ndarray] = []
        self._dilated: list[np.ndarray] = []

    def update(self, decoded: np.ndarray, target: Mapping[str, np.ndarray]) -> None:
        """One frame: decoded lane byte at the model's size without padding, lane at the frame's."""
        lane, ignore = (target["lane"] & LANE_BACKGROUND_BIT) == 0, target["lane"] == LANE_IGNORE
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * WIDER_BY + 1,) * 2)
        wide = cv2.dilate(lane.view(np.uint8), disc).astype(bool)
        found = (decoded & LANE_BACKGROUND_BIT) == 0
        self._tables.append(_table(found, *shrink(lane, ignore)))
        self._dilated.append(_table(found, *shrink(wide, ignore)))

    def compute(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """IoU, recall and balanced, plain and dilated, by batches and over the set."""
        rules = {"IoU": _iou, "recall": _recall, "balanced": _balanced}
        wide = {f"{name}_dilated": rule for name, rule in rules.items()}
        plain = both_ways(self._tables, rows, rules, self.batch)
        return plain | both_ways(self._dilated, rows, wide, self.batch)


def shrink(mask: np.ndarray, ignore: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mask, known) with the long side at 640, by area averaging and `> 1` of 255.

    In effect every pixel that touches the mask belongs to it (OR-pooling). `known` is where no
    ignored pixel contributes.
    """
    scale = LONG_SIDE / max(mask.shape)
    size_wh = int(mask.shape[1] * scale), int(mask.shape[0] * scale)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(mask.view(np.uint8) * 255, size_wh, interpolation=how) > 1
    if not ignore.any():
        return small, np.ones_like(small)
    return small, cv2.resize(ignore.view(np.uint8) * 255, size_wh, interpolation=how) == 0


def both_ways(
    tables: Sequence[np.ndarray],
    rows: np.ndarray | None,
    rules: Mapping[str, Rule],
    batch: int = BATCH,
) -> dict[str, float]:
    """Each rule as `<name>_batch<batch>` and `<name>_set`, in percent.

    YOLOP resets its counters every batch (24 frames) and averages the batches' scores weighted by
    their sizes; `set` is one table over all frames.
    """
    if not tables:
        return {f"{n}_{how}": float("nan") for n in rules for how in (f"batch{batch}", "set")}
    frames = chosen(tables, rows)
    starts = range(0, len(frames), batch)
    sizes = [len(frames[start : start + batch]) for start in starts]
    batches = [frames[start : start + batch].sum(0) for start in starts]
    scores = {}
    for name, rule in rules.items():
        mean = np.average([rule(b) for b in batches], weights=sizes)
        scores[f"{name}_batch{batch}"] = 100 * float(mean)
        scores[f"{name}_set"] = 100 * rule(frames.sum(0))
    return scores


def _table(found: np.ndarray, truth: np.ndarray, known: np.ndarray) -> np.ndarray:
    """[[TN, FP], [FN, TP]] of the known pixels; `found` is brought to the truth's size."""
    if found.shape != truth.shape:
        size_wh = truth.shape[::-1]
        found = cv2.resize(found.view(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST) > 0
    found, truth = found & known, truth & known
    both, seen, real = (np.count_nonzero(m) for m in (found & truth, found, truth))
    total = np.count_nonzero(known)
    return np.array([[total - seen - real + both, seen - both], [real - both, both]])


def _share(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else 0.0  # absent classes score 0 in YOLOP


def _iou(table: np.ndarray) -> float:
    return _share(table[1, 1], table[1].sum() + table[0, 1])


def _mean_iou(table: np.ndarray) -> float:
    return (_iou(table) + _iou(table[::-1, ::-1])) / 2


def _pixel_accuracy(table: np.ndarray) -> float:
    return _share(table.trace(), table.sum())


def _recall(table: np.ndarray) -> float:
    return _share(table[1, 1], table[1].sum())


def _balanced(table: np.ndarray) -> float:
    return (_recall(table) + _recall(table[::-1, ::-1])) / 2


def panoptic_metric(view: View, batch: int = BATCH) -> Metric | None:
    """The protocol's metric for an output, by its description; None if it has none."""
    if view.kind == BOXES and set(view.classes) & set(VEHICLES):
        return VehicleMetric(view.classes)
    if view.kind == MASK and view.encoding == LANE_BYTE:
        return LineMetric(batch)
    if view.kind == MASK and set(view.classes) & set(AREAS):
        return AreaMetric(view.classes, batch)
    return None
