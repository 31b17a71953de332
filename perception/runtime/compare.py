"""How far two results of one model may differ: an exported file from PyTorch, a provider from the
CPU. `Output.compare` measures it by kind.

Boxes may swap places where their scores are equal to the last bit, and a pixel may change its class
where two classes tie.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

Measured = tuple[str, float, float]  # what, value, limit


@dataclass(frozen=True)
class Difference:
    """One measure of one output, and the largest value allowed."""

    output: str
    kind: str
    measure: str
    value: float
    limit: float

    @property
    def agrees(self) -> bool:
        """False also where the value is NaN."""
        return self.value <= self.limit

    def text(self, reference: str) -> str:
        """In one line; `reference`: whose output this one differs from."""
        numbers = f"{self.measure} is {self.value:.3g}, allowed {self.limit:.3g}"
        return f"{self.output} differs from {reference}: {numbers}"


@dataclass(frozen=True)
class Limits:
    """Largest differences allowed between a precision and float32."""

    score: float  # probabilities
    pixels: float  # boxes, in model pixels
    share: float  # of mask pixels
    boxes: float  # share of boxes without a counterpart
    relative: float  # maps, against the largest value; normals, absolute


# Which of two duplicates is suppressed flips where their scores are equal or their IoU is at the
# threshold. In float32 that was one box in 800 frames with a trained model, but up to 5 % of a
# frame's boxes with a head after three steps; in half precision about one box in a hundred. In
# bfloat16 (about 3 significant digits) of the packaged model up to 3 % of the boxes, 0.2 % of the
# pixels, 0.025 of a probability.
LIMITS: Final[dict[str, Limits]] = {
    "fp32": Limits(score=1e-4, pixels=0.1, share=1e-3, boxes=0.1, relative=1e-3),
    "fp16": Limits(score=0.02, pixels=2.0, share=0.02, boxes=0.1, relative=0.02),
    "bf16": Limits(score=0.1, pixels=8.0, share=0.05, boxes=0.25, relative=0.1),
    "int8": Limits(score=0.2, pixels=16.0, share=0.15, boxes=0.15, relative=0.2),
}


def unmatched_boxes(ours: np.ndarray, theirs: np.ndarray, limits: Limits) -> float:
    """Share of our boxes (N, 6) clearly above their lowest score that have no counterpart: the same
    class, score and corners within the limits. NaN where a number of either is NaN."""
    if np.isnan(ours).any() or np.isnan(theirs).any():
        return math.nan
    cutoff = theirs[:, 4].min() + limits.score
    clear = ours[ours[:, 4] > cutoff]
    if not len(clear):
        return 0.0
    apart = np.abs(clear[:, None, :4] - theirs[None, :, :4]).max(-1)  # (clear, theirs)
    same = clear[:, None, 5] == theirs[None, :, 5]
    near = np.abs(clear[:, None, 4] - theirs[None, :, 4]) <= limits.score
    return float(1 - ((apart <= limits.pixels) & same & near).any(1).mean())
