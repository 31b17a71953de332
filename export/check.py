"""Compare the outputs of PyTorch and of the exported file on the same frames, each by its kind."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from perception.model import Deployed, HydraNet
from perception.runtime.compare import Difference
from perception.runtime.description import Description
from perception.runtime.providers import load


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
        found = compare(model, path, description, frames, precision)
        count, height, width = frames.shape[:3]
        title = f"PyTorch and ONNX Runtime on {count} frames of {height}x{width}"
        table = Table("output", "kind", "measure", "worst frame", "allowed", "", title=title)
        for d in found:
            verdict = "ok" if d.agrees else "[red]differs"
            table.add_row(d.output, d.kind, d.measure, f"{d.value:.2g}", f"{d.limit:.2g}", verdict)
        Console().print(table)
        for d in found:
            if not d.agrees:
                raise DisagreementError(d.text("PyTorch"))


def compare(
    model: HydraNet,
    path: Path,
    description: Description,
    frames: np.ndarray,
    precision: str = "fp32",
) -> list[Difference]:
    """One Difference per measure and output, of the worst of the frames (N, H, W, 3).

    `model` is the trained one, so that the rewrite for inference is checked as well.
    """
    engine = load(path, "cpu", 0)
    deployed = Deployed(model).eval()
    found: list[list[Difference]] = []
    for frame in frames:
        with torch.no_grad():
            outputs = deployed(torch.from_numpy(frame)[None])
        wanted = {name: one.numpy() for name, one in zip(description.views, outputs, strict=True)}
        got = dict(zip(engine.names, engine.run(frame[None]), strict=True))
        found.append(description.differences(wanted, got, precision))
    columns = zip(*found, strict=True)
    return [max(one, key=lambda d: np.inf if np.isnan(d.value) else d.value) for one in columns]
