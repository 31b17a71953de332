"""Steadier masks and labels over time, at the price of at most one frame's delay."""

from collections import deque
from dataclasses import replace

import numpy as np

from perception.runtime.scene import Labels, Mask, Scene


class Smooth:
    """Changes the scenes it is shown, in order."""

    def __init__(self, weight: float = 0.15) -> None:
        self.weight = weight
        self.before: dict[str, deque[np.ndarray]] = {}
        self.labels: dict[str, Labels] = {}

    def update(self, scene: Scene) -> None:
        """Masks: each pixel's majority over three frames. Labels: an exponential mean."""
        for name, mask in list(scene.of(Mask)):
            before = self.before.setdefault(name, deque(maxlen=2))
            steady = majority(before, mask.small)
            before.append(mask.small)
            scene.outputs[name] = replace(mask, small=steady)
        for name, labels in list(scene.of(Labels)):
            self.labels[name] = self._mean(self.labels.get(name), labels)
            scene.outputs[name] = self.labels[name]

    def _mean(self, before: Labels | None, now: Labels) -> Labels:
        if before is None:
            return now
        return Labels(
            {
                group: {
                    name: share + (1 - self.weight) * (before.groups[group][name] - share)
                    for name, share in classes.items()
                }
                for group, classes in now.groups.items()
            }
        )


def majority(before: deque[np.ndarray], now: np.ndarray) -> np.ndarray:
    """The value two of the last three masks agree on; the newest where all differ.

    Works for any encoding, lane bytes included, because it only compares values.
    """
    if len(before) < 2 or any(mask.shape != now.shape for mask in before):
        return now
    older, old = before
    return np.where(older == old, old, now)
