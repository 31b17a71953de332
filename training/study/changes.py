"""One decision of the training recipe changed, for ablations."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True)
class Change:
    """What is told to the run otherwise than in the study's other rows."""

    data: Mapping[str, Any] = field(default_factory=dict)
    """Fields of DataArgs."""
    ema: float = 0.0
    """Decay of averaged weights. Studies judge the last weights: averages lag in short runs."""


CHANGES: Final[dict[str, Change]] = {
    "no augmentation": Change({"augment": "none"}),
    "flip alone": Change({"augment": "flip"}),
    "geometry alone": Change({"augment": "geometry"}),
    "colour alone": Change({"augment": "colour"}),
    "strong augmentation": Change({"augment": "strong"}),
    "mosaic": Change({"mosaic": 0.5}),
    "mixup": Change({"mixup": 0.3}),
    "rare frames repeated": Change({"repeat_rare": True}),
    "averaged weights": Change(ema=0.99),
}
