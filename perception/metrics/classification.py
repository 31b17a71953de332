"""Accuracy and macro F1 of frame attributes."""

from collections.abc import Mapping, Sequence

import numpy as np

from perception.metrics.frames import chosen, nanmean, percent


class ClassificationMetric:
    """Scores of each attribute in percent, unlabelled frames (-1) left out.

    Macro F1 is over the classes that occur in truth or prediction, and NaN where fewer than two
    do, as the toolkit's tagging evaluation has it.
    """

    def __init__(self, groups: Mapping[str, Sequence[str]]) -> None:
        self.groups = {name: tuple(classes) for name, classes in groups.items()}
        self._frames: list[np.ndarray] = []  # (2, groups): truth, prediction

    def update(self, decoded: np.ndarray, target: Mapping[str, np.ndarray]) -> None:
        """One frame: probabilities (groups, classes padded) and labels int (groups)."""
        best = [decoded[g, : len(c)].argmax() for g, c in enumerate(self.groups.values())]
        self._frames.append(np.stack([target["labels"], best]).astype(np.int16))

    def compute(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """accuracy, F1 (means over attributes), accuracy/<attribute>, F1/<attribute>[/<class>]."""
        frames = chosen(self._frames, rows) if self._frames else np.empty((0, 2, len(self.groups)))
        accuracy: dict[str, float] = {}
        macro: dict[str, float] = {}
        single: dict[str, float] = {}
        for g, (name, classes) in enumerate(self.groups.items()):
            truth, predicted = frames[frames[:, 0, g] >= 0][:, :, g].T.astype(np.int64)
            accuracy[name] = percent((truth == predicted).sum(), len(truth))
            f1 = _f1(truth, predicted, len(classes))
            single |= {f"F1/{name}/{classes[c]}": float(f1[c]) for c in range(len(classes))}
            macro[name] = nanmean(f1) if (~np.isnan(f1)).sum() > 1 else float("nan")
        return (
            {"accuracy": nanmean(list(accuracy.values())), "F1": nanmean(list(macro.values()))}
            | {f"accuracy/{name}": value for name, value in accuracy.items()}
            | {f"F1/{name}": value for name, value in macro.items()}
            | single
        )


def _f1(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """F1 of each class in percent, NaN where it occurs in neither."""
    right = np.bincount(truth[truth == predicted], minlength=classes)
    occurs = np.bincount(truth, minlength=classes) + np.bincount(predicted, minlength=classes)
    return np.where(occurs > 0, 200.0 * right / np.maximum(occurs, 1), np.nan)
