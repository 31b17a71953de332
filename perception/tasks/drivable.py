"""Drivable area: direct, alternative or background for every pixel."""

from perception.classes import DRIVABLE
from perception.metrics.base import Metric
from perception.metrics.confusion import ConfusionMetric
from perception.runtime.view import View
from perception.tasks.semantic import Semantic

BACKGROUND = "background"


class Drivable(Semantic):
    """Class logits at stride 4, upsampled bilinearly: areas have smooth borders."""

    view = View(kind="mask", classes=DRIVABLE)
    # The official mIoU ignores false positives on the background (metrics/confusion.py).
    score = "mIoU_strict"

    @classmethod
    def metric(cls, view: View) -> Metric:
        return ConfusionMetric(view.classes, [c for c in view.classes if c != BACKGROUND])
