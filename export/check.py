"""Compare the outputs of PyTorch and of the exported file on the same frames, each by its kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from perception.model import Deployed, HydraNet
from perception.runtime.compare import Limits
from perception.runtime.description import Description
from perception.runtime.providers import load
from perception.runtime.scene import KINDS


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


# Which of two duplicates is suppressed flips where their scores are equal or their IoU is at the
# threshold. In float32 that was one box in 800 frames with a trained model, but up to 5 % of a
# frame's boxes with a head after three steps; in half precision about one box in a hundred.
LIMITS: Final[dict[str, Limits]] = {
    "fp32": Limits(score=1e-4, pixels=0.1, share=1e-3, boxes=0.1, relative=1e-3),
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
            by_kind = KINDS[view.kind].compare(tensor.numpy(), got[name], LIMITS[precision])
            found[-1] += [Difference(name, view.kind, *measured) for measured in by_kind]
    return [_worst(column) for column in zip(*found, strict=True)]


def _worst(column: Sequence[Difference]) -> Difference:
    return max(column, key=lambda d: np.inf if np.isnan(d.value) else d.value)
