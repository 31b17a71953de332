"""Measure what the models of the zoo cost: parameters, multiply-adds, file, memory, latency.

Example: bench-models --models pvt-hydranet-b0,yolop-like --size 384x640 --threads 2

Models are untrained (weights do not change the cost). Latency is measured in ONNX Runtime and
divided by that of a timm backbone in the same run.
"""

import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from perception.errors import cli, require_extra
from perception.files import write_atomic

if TYPE_CHECKING:
    from export.arguments import BenchModelsArguments
    from perception.model import HydraNet


def collect(arguments: "BenchModelsArguments", folder: Path) -> list[dict[str, Any]]:
    """One row per model, the latency reference first."""
    from timm.layers import set_fused_attn

    from export.bench import MODEL, measure, open_subject, pin, ratio, summary
    from export.to_onnx import latency_reference, save
    from perception.model import ZOO

    set_fused_attn(False)  # multiply_adds cannot see inside the fused call
    size_hw = arguments.size
    path = folder / "reference.onnx"
    save(latency_reference(arguments.reference, size_hw), path)
    rows: list[dict[str, Any]] = [{"name": f"timm:{arguments.reference}", "path": path}]
    rows += [cost(name, arguments, folder) for name in arguments.models or ZOO]
    pin(arguments.threads)
    subjects = [
        open_subject(row["name"], row.pop("path"), "cpu", arguments.threads, size_hw, size_hw)
        for row in rows
    ]
    measure(subjects, arguments.rounds, warmup=2, pause=0.01)
    for row, subject in zip(rows, subjects, strict=True):
        row["megabytes"] = subject.megabytes
        row["ms"] = summary(subject.times[MODEL])
        row["ratio"] = ratio(subject.times[MODEL], subjects[0].times[MODEL])
    return rows


def cost(name: str, arguments: "BenchModelsArguments", folder: Path) -> dict[str, Any]:
    """What needs no clock: parameters, multiply-adds, and the exported file with its memory."""
    from export.memory import peak_megabytes
    from export.to_onnx import describe, save, to_onnx
    from perception.checkpoint import Meta
    from perception.model import build
    from perception.tasks import TASKS

    tasks = list(arguments.tasks or list(TASKS)[:4])
    model = build(name, tasks).eval()
    path = folder / f"{name}.onnx"
    description = describe(model, Meta(name, tasks, arguments.size), arguments.size)
    save(to_onnx(model, description), path)
    return {
        "name": name,
        "path": path,
        "tasks": tasks,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "multiply_adds": multiply_adds(model, arguments.size),
        "peak_megabytes": peak_megabytes(path, arguments.threads),
    }


def multiply_adds(model: "HydraNet", size_hw: tuple[int, int]) -> int:
    """Multiply-adds per deployed frame: convolutions and all matrix products, attention included.

    Build the model with timm's fused attention off; the products of the fused call are not counted.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from export.inference_rewrite import rewrite_for_inference
    from perception.model import Deployed

    deployed = Deployed(rewrite_for_inference(model)).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        deployed(torch.zeros(1, *size_hw, 3, dtype=torch.uint8))
    return counter.get_total_flops() // 2


def show(rows: list[dict[str, Any]], title: str) -> None:
    """Prints the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("model", title=title)
    for head in ("params M", "GMAC", "ONNX MB", "peak MB", "p10 / median ms", "x first (95 %)"):
        table.add_column(head, justify="right")
    for row in rows:
        share, known = row["ratio"], "parameters" in row
        table.add_row(
            row["name"],
            f"{row['parameters'] / 1e6:.2f}" if known else "",
            f"{row['multiply_adds'] / 1e9:.2f}" if known else "",
            f"{row['megabytes']:.1f}",
            f"{row['peak_megabytes']:.0f}" if known else "",
            f"{row['ms']['p10']:.1f} / {row['ms']['median']:.1f}",
            f"{share['median']:.3f} ({share['low']:.3f}-{share['high']:.3f})",
        )
    console = Console()
    (console if console.is_terminal else Console(width=120)).print(table)


def run(arguments: "BenchModelsArguments") -> int:
    """The whole command."""
    from export.bench import machine

    with TemporaryDirectory() as folder:
        rows = collect(arguments, Path(folder))
    height, width = arguments.size
    show(rows, f"{height}x{width}, {arguments.threads} threads, {arguments.rounds} rounds")
    if arguments.json is not None:
        data = {"settings": asdict(arguments), "machine": machine(), "models": rows}
        write_atomic(arguments.json, json.dumps(data, indent=1, default=str))
    return 0


def main() -> int:
    """The command."""

    def command() -> int:
        require_extra("train", "torch", "timm")
        require_extra("export", "onnx", "onnxslim", "tyro", "rich")
        require_extra("cpu", "onnxruntime")
        import tyro

        from export.arguments import BenchModelsArguments

        return run(tyro.cli(BenchModelsArguments, prog="bench-models", description=__doc__))

    return cli(command)


if __name__ == "__main__":
    raise SystemExit(main())
