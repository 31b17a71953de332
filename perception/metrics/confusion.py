"""Intersection over union of segmentation masks, from one confusion matrix per frame."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from perception.metrics.base import Metric, chosen, nanmean, percent


class ConfusionMetric(Metric):
    """mIoU, pixel accuracy and IoU of each class, in percent; 255 in the truth is not counted.

    `counted` names the classes of the mean (all by default). Where some are left out, as the
    background of drivable, there are two definitions. The BDD100K toolkit drops every pixel whose
    *truth* is a class that is not counted, so false positives on the background cost nothing:
    `mIoU`, `pixAcc` and `IoU` equal the toolkit's. `mIoU_strict`, `pixAcc_strict` and `IoU_strict`
    keep those pixels.
    """

    official = ("mIoU", "pixAcc", "IoU/*")

    def __init__(self, classes: Sequence[str], counted: Sequence[str] | None = None) -> None:
        self.classes = tuple(classes)
        self.counted = [self.classes.index(name) for name in counted or classes]
        self._frames: list[np.ndarray] = []  # (4, classes) per frame

    def update(self, decoded: np.ndarray, target: Mapping[str, np.ndarray]) -> None:
        """One frame: decoded uint8 (H, W) and mask uint8 (H, W)."""
        table = confusion(decoded, target["mask"], len(self.classes))
        inner = table[:, :-1]
        self._frames.append(
            np.stack([np.diag(inner), table.sum(1), inner.sum(0), inner[self.counted].sum(0)])
        )

    def compute(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """mIoU, pixAcc, IoU/<class>; with `counted`, the same with `_strict`."""
        if not self._frames:
            return dict.fromkeys(("mIoU", "mIoU_strict", "pixAcc"), float("nan"))
        right, truth, predicted, predicted_counted = chosen(self._frames, rows).sum(
            0, dtype=np.int64
        )
        iou = self._iou(right, truth, predicted_counted)
        scores = {
            "mIoU": nanmean(list(iou.values())),
            "pixAcc": percent(right[self.counted].sum(), truth[self.counted].sum()),
        }
        scores |= {f"IoU/{name}": value for name, value in iou.items()}
        if len(self.counted) < len(self.classes):
            strict = self._iou(right, truth, predicted)
            scores["mIoU_strict"] = nanmean(list(strict.values()))
            scores["pixAcc_strict"] = percent(right.sum(), truth.sum())
            scores |= {f"IoU_strict/{name}": value for name, value in strict.items()}
        return scores

    def counts(self, rows: np.ndarray | None = None) -> dict[str, int]:
        """Frames that show each class."""
        if not self._frames:
            return {}
        shown = (chosen(self._frames, rows)[:, 1] > 0).sum(0)
        return {self.classes[c]: int(shown[c]) for c in self.counted}

    def notes(self) -> list[str]:
        if len(self.counted) == len(self.classes):
            return []
        return [
            "mIoU and pixAcc are the toolkit's, which does not count false positives on the "
            "background; mIoU_strict and pixAcc_strict count them"
        ]

    def _iou(self, right: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
        """IoU of the counted classes, NaN (out of the mean) where the truth has none."""
        return {
            self.classes[c]: percent(right[c], truth[c] + predicted[c] - right[c])
            if truth[c]
            else float("nan")
            for c in self.counted
        }


def confusion(decoded: np.ndarray, mask: np.ndarray, classes: int) -> np.ndarray:
    """Pixel counts (classes, classes + 1): truth in rows, prediction in columns.

    The last column holds predictions that are not a class. Pixels whose truth is not a class are
    dropped. Counted by OpenCV's histogram, which is several times faster than numpy's.
    """
    side = classes + 1
    code = np.minimum(mask, classes).astype(np.uint16)
    code *= side
    code += np.minimum(decoded, classes)
    counts = cv2.calcHist([code], [0], None, [side * side], [0, side * side])
    return counts.reshape(side, side).astype(np.int32)[:classes]
