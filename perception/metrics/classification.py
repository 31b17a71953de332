"""Accuracy, macro F1 and calibration error of frame attributes."""

from collections.abc import Mapping, Sequence

import numpy as np

from perception.metrics.base import Metric, chosen, nanmean, percent


class ClassificationMetric(Metric):
    """Scores of each attribute in percent; unlabelled frames (-1) are not counted.

    Macro F1 is over the classes that occur in truth or prediction, and NaN where fewer than two
    do, as in the toolkit's tagging evaluation. ECE is the expected calibration error of the
    best class's probability in ten bins (Guo et al. 2017, arXiv 1706.04599, eq. 3); 0 is best.
    """

    official = ("accuracy*", "F1*")

    def __init__(self, groups: Mapping[str, Sequence[str]]) -> None:
        self.groups = {name: tuple(classes) for name, classes in groups.items()}
        self._frames: list[np.ndarray] = []  # (3, groups): truth, prediction, its probability

    def update(self, decoded: np.ndarray, target: Mapping[str, np.ndarray]) -> None:
        """One frame: probabilities (groups, classes padded) and labels int (groups)."""
        parts = [decoded[g, : len(c)] for g, c in enumerate(self.groups.values())]
        best = [part.argmax() for part in parts], [part.max() for part in parts]
        self._frames.append(np.stack([target["labels"], *best]).astype(np.float32))

    def compute(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """accuracy, F1, ECE (means over attributes), and each /<attribute>; F1 also /<class>."""
        frames = chosen(self._frames, rows) if self._frames else np.empty((0, 3, len(self.groups)))
        accuracy: dict[str, float] = {}
        macro: dict[str, float] = {}
        errors: dict[str, float] = {}
        single: dict[str, float] = {}
        for g, (name, classes) in enumerate(self.groups.items()):
            known = frames[frames[:, 0, g] >= 0][:, :, g]
            truth, predicted = known[:, :2].T.astype(np.int64)
            accuracy[name] = percent((truth == predicted).sum(), len(truth))
            errors[name] = calibration_error(known[:, 2], truth == predicted)
            f1 = _f1(truth, predicted, len(classes))
            single |= {f"F1/{name}/{classes[c]}": float(f1[c]) for c in range(len(classes))}
            macro[name] = nanmean(f1) if (~np.isnan(f1)).sum() > 1 else float("nan")
        every = {"accuracy": accuracy, "F1": macro, "ECE": errors}
        scores = {score: nanmean(list(values.values())) for score, values in every.items()}
        for score, values in every.items():
            scores |= {f"{score}/{name}": value for name, value in values.items()}
        return scores | single

    def counts(self, rows: np.ndarray | None = None) -> dict[str, int]:
        """Frames with a label per attribute, and per attribute/class."""
        if not self._frames:
            return {}
        truth = chosen(self._frames, rows)[:, 0]
        out = {name: int((truth[:, g] >= 0).sum()) for g, name in enumerate(self.groups)}
        for g, (name, classes) in enumerate(self.groups.items()):
            out |= {f"{name}/{c}": int((truth[:, g] == v).sum()) for v, c in enumerate(classes)}
        return out


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Mean gap between confidence (N,) and accuracy, in percent; NaN without samples."""
    if not len(right):
        return float("nan")
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, right.astype(float) - confidence, minlength=bins)
    return float(100.0 * np.abs(gaps).sum() / len(right))


def _f1(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """F1 of each class in percent, NaN where it occurs in neither."""
    right = np.bincount(truth[truth == predicted], minlength=classes)
    occurs = np.bincount(truth, minlength=classes) + np.bincount(predicted, minlength=classes)
    return np.where(occurs > 0, 200.0 * right / np.maximum(occurs, 1), np.nan)
