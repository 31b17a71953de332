"""Compare the outputs of PyTorch and of the exported file on the same frames.

Each output is compared by its kind: boxes may swap places where their scores are equal to the last
bit, and a pixel may change its class where two classes tie.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from perception.model import Deployed, HydraNet
from perception.runtime.description import BOXES, LABEL, MAP, MASK, NORMALS, Description
from perception.runtime.providers import load


@dataclass(frozen=True)
class Difference:
    """One measure of one output on its worst frame, and the largest value allowed."""

    output: str
    kind: str
    measure: str
    value: float
    limit: float

    @property
    def agrees(self) -> bool:
        """False also where the value is NaN."""
        return self.value <= self.limit


@dataclass(frozen=True)
class Limits:
    """Largest differences allowed between a precision and PyTorch in float32."""

    score: float  # probabilities
    pixels: float  # boxes, in model pixels
    share: float  # of mask pixels
    boxes: float  # share of boxes without a counterpart
    relative: float  # maps, against the largest value; normals, absolute


LIMITS: Final[dict[str, Limits]] = {
    "fp32": Limits(score=1e-4, pixels=0.1, share=1e-3, boxes=1e-3, relative=1e-3),
    # Whether the weaker of two boxes is suppressed flips where their IoU is close to the threshold:
    # in half precision for about one box in a hundred, hence 0.1 on the worst frame.
    "fp16": Limits(score=0.02, pixels=2.0, share=0.02, boxes=0.1, relative=0.02),
    "int8": Limits(score=0.2, pixels=16.0, share=0.15, boxes=0.15, relative=0.2),
}


class DisagreementError(Exception):
    """The outputs of the file differ from those of the model."""


def check(
    model: HydraNet,
    path: Path,
    description: Description,
    batches: Sequence[np.ndarray],
    precision: str = "fp32",
) -> None:
    """Prints the differences for each batch of frames, uint8 (N, H, W, 3) of any size.

    Raises DisagreementError where one exceeds the limits of `precision`.
    """
    for frames in batches:
        differences = compare(model, path, description, frames, precision)
        count, height, width = frames.shape[:3]
        title = f"PyTorch and ONNX Runtime on {count} frames of {height}x{width}"
        Console().print(_table(differences, title))
        wrong = [d for d in differences if not d.agrees]
        if wrong:
            worst = wrong[0]
            raise DisagreementError(
                f"{worst.output} differs from PyTorch: {worst.measure} is {worst.value:.3g}, "
                f"allowed {worst.limit:.3g}"
            )


def _table(differences: Sequence[Difference], title: str) -> Table:
    table = Table("output", "kind", "measure", "worst frame", "allowed", "", title=title)
    for d in differences:
        verdict = "ok" if d.agrees else "[red]differs"
        table.add_row(d.output, d.kind, d.measure, f"{d.value:.2g}", f"{d.limit:.2g}", verdict)
    return table


def compare(
    model: HydraNet,
    path: Path,
    description: Description,
    frames: np.ndarray,
    precision: str = "fp32",
) -> list[Difference]:
    """One Difference per measure and output, over all frames (N, H, W, 3).

    `model` is the trained one, so that the rewrite for inference is checked as well.
    """
    engine = load(path, "cpu", 0)
    deployed = Deployed(model).eval()
    found: list[list[Difference]] = []
    for frame in frames:
        with torch.no_grad():
            wanted = deployed(torch.from_numpy(frame)[None])
        got = dict(zip(engine.names, engine.run(frame[None]), strict=True))
        found.append([])
        for (name, view), tensor in zip(description.views.items(), wanted, strict=True):
            by_kind = MEASURES[view.kind](tensor.numpy(), got[name], LIMITS[precision])
            found[-1] += [Difference(name, view.kind, *measured) for measured in by_kind]
    return [_worst(column) for column in zip(*found, strict=True)]


Measured = tuple[str, float, float]  # what, value, limit


def _worst(column: Sequence[Difference]) -> Difference:
    return max(column, key=lambda d: np.inf if np.isnan(d.value) else d.value)


def _boxes(wanted: np.ndarray, got: np.ndarray, limits: Limits) -> list[Measured]:
    """Scores by rank, averaged (one additional box shifts all ranks below it); then boxes that are
    clearly above the other list's lowest score must have a counterpart there."""
    wanted, got = wanted.reshape(-1, 6), got.reshape(-1, 6)
    scores = float(np.abs(wanted[:, 4] - got[:, 4]).mean())
    lost = max(_unmatched(wanted, got, limits), _unmatched(got, wanted, limits))
    return [
        ("mean score difference, rank by rank", scores, limits.score),
        (f"share of boxes without a counterpart within {limits.pixels:g} px", lost, limits.boxes),
    ]


def _unmatched(ours: np.ndarray, theirs: np.ndarray, limits: Limits) -> float:
    cutoff = theirs[:, 4].min() + limits.score
    clear = ours[ours[:, 4] > cutoff]
    if not len(clear):
        return 0.0
    apart = np.abs(clear[:, None, :4] - theirs[None, :, :4]).max(-1)  # (clear, theirs)
    same = clear[:, None, 5] == theirs[None, :, 5]
    near = np.abs(clear[:, None, 4] - theirs[None, :, 4]) <= limits.score
    return float(1 - ((apart <= limits.pixels) & same & near).any(1).mean())


def _mask(wanted: np.ndarray, got: np.ndarray, limits: Limits) -> list[Measured]:
    return [("share of pixels that differ", float((wanted != got).mean()), limits.share)]


def _label(wanted: np.ndarray, got: np.ndarray, limits: Limits) -> list[Measured]:
    return [("largest probability difference", _largest(wanted - got), limits.score)]


def _map(wanted: np.ndarray, got: np.ndarray, limits: Limits) -> list[Measured]:
    scale = max(float(np.abs(wanted).max()), 1e-6)
    return [("largest difference / largest value", _largest(wanted - got) / scale, limits.relative)]


def _normals(wanted: np.ndarray, got: np.ndarray, limits: Limits) -> list[Measured]:
    return [("largest component difference", _largest(wanted - got), limits.relative)]


def _largest(difference: np.ndarray) -> float:
    return float(np.abs(difference).max())


MEASURES: Final[dict[str, Callable[[np.ndarray, np.ndarray, Limits], list[Measured]]]] = {
    BOXES: _boxes,
    MASK: _mask,
    LABEL: _label,
    MAP: _map,
    NORMALS: _normals,
}
