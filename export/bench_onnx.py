"""Time ONNX files against each other, in ratios that can be reproduced on another machine.

Example: bench-onnx timm:resnet50 model.onnx --providers cpu,openvino-bf16 --threads 2
         bench-onnx timm:resnet50 zoo:pvt-hydranet-b0 zoo:yolop-like

All models run in one process, interleaved in a random order per round, after warm-up, pinned to
as many cores as threads. The first model is the reference of all ratios. Of networks of the zoo,
which are untrained, parameters and multiply-adds are counted too.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from perception.arguments import parse
from perception.errors import cli, require_extra
from perception.files import write_atomic
from perception.hub import ONNX, local_file

if TYPE_CHECKING:  # these need extras, which main() checks first
    from export.arguments import BenchOnnxArguments
    from export.bench import Subject
    from perception.model import HydraNet

TIMM: Final = "timm:"
ZOO: Final = "zoo:"
COSTS: Final = (("parameters", "params M", 1e6), ("multiply_adds", "GMAC", 1e9))  # of the zoo


def subjects(arguments: "BenchOnnxArguments", folder: Path) -> "list[Subject]":
    """Every model on every provider, loaded; networks by name are exported to the folder."""
    from export.bench import open_subject

    found = []
    for model in arguments.models:
        cost: dict[str, int] = {}
        if model.startswith((TIMM, ZOO)):
            path, cost = _export(model, arguments, folder)
        else:
            path = local_file(model, ONNX)
        for provider in arguments.providers:
            subject = open_subject(
                model, path, provider, arguments.threads, arguments.frame, arguments.size
            )
            subject.cost = cost
            found.append(subject)
    return found


def _export(
    model: str, arguments: "BenchOnnxArguments", folder: Path
) -> tuple[Path, dict[str, int]]:
    """The file of a network by name, and what one of the zoo costs."""
    require_extra("train", "torch", "timm")
    require_extra("export", "onnx", "onnxslim")
    from timm.layers import set_fused_attn

    from export.to_onnx import describe, latency_reference, save, to_onnx
    from perception.checkpoint import Meta
    from perception.model import build
    from perception.tasks import TASKS

    name, size_hw = model.partition(":")[2], arguments.size
    path = folder / f"{name}.onnx"
    if model.startswith(TIMM):
        save(latency_reference(name, size_hw), path)
        return path, {}
    set_fused_attn(False)  # multiply_adds cannot see inside the fused call
    tasks = list(arguments.tasks or list(TASKS)[:4])
    network = build(name, tasks).eval()
    save(to_onnx(network, describe(network, Meta(name, tasks, size_hw), size_hw)), path)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return path, {"parameters": parameters, "multiply_adds": multiply_adds(network, size_hw)}


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


def report(found: "Sequence[Subject]") -> list[dict[str, Any]]:
    """One JSON-able row per subject; ratios are to the first."""
    from export.bench import MODEL, ratio, summary

    base = found[0].times[MODEL]
    return [
        {
            **{key: value for key, value in vars(subject).items() if key != "run"},
            "ms": {stage: summary(times) for stage, times in subject.times.items()},
            "ratio": ratio(subject.times[MODEL], base),
        }
        for subject in found
    ]


def show(rows: Sequence[dict[str, Any]], title: str) -> None:
    """Prints the table."""
    from rich.console import Console
    from rich.table import Column, Table

    from export.bench import MODEL

    others = list(dict.fromkeys(s for row in rows for s in row["ms"] if s != MODEL))
    table = Table(
        Column("model", overflow="fold"), "provider", "MB", "load s", "p10 / median / p90 ms"
    )
    table.title = title
    costs = COSTS if any(row["cost"] for row in rows) else ()
    heads = (*(head for _, head, _ in costs), *(f"{stage} ms" for stage in others))
    for head in ("x first (95 %)", "x first, p10", *heads):
        table.add_column(head, justify="right")
    for row in rows:
        times, share = row["ms"][MODEL], row["ratio"]
        apart = [f"{row['ms'][s]['median']:.1f}" if s in row["ms"] else "" for s in others]
        table.add_row(
            row["name"],
            row["provider"],
            f"{row['megabytes']:.1f}",
            f"{row['load_s']:.2f}",
            f"{times['p10']:.1f} / {times['median']:.1f} / {times['p90']:.1f}",
            f"{share['median']:.3f} ({share['low']:.3f}-{share['high']:.3f})",
            f"{share['p10']:.3f}",
            *(f"{row['cost'][key] / unit:.2f}" if row["cost"] else "" for key, _, unit in costs),
            *apart,
        )
    # rich assumes 80 columns where stdout is a file or a pipe.
    console = Console()
    (console if console.is_terminal else Console(width=180)).print(table)


def run(arguments: "BenchOnnxArguments") -> int:
    """The whole command."""
    from rich.progress import Progress

    from export.bench import machine, measure, pin

    cores = pin(arguments.threads)
    load_before = os.getloadavg()[0]
    with TemporaryDirectory() as folder, Progress(transient=True) as progress:
        found = subjects(arguments, Path(folder))
        bar = progress.add_task("timing", total=arguments.rounds * len(found))
        measure(found, arguments.rounds, arguments.warmup, tick=lambda: progress.advance(bar))
    rows = report(found)
    show(rows, f"{arguments.rounds} rounds, {arguments.threads} threads, batch 1")
    if load_before > 0.5:
        print(
            f"The machine was busy (load {load_before:.1f} before the start): "
            "quote ratios, not milliseconds."
        )
    if arguments.json is not None:
        about = {"machine": machine(), "cores_used": cores, "load_before": load_before}
        data = {"settings": asdict(arguments), **about, "subjects": rows}
        write_atomic(arguments.json, json.dumps(data, indent=1, default=str))
    return 0


def main() -> int:
    def command() -> int:
        require_extra("export", "rich", "tyro")
        require_extra("cpu", "onnxruntime")
        from export.arguments import BenchOnnxArguments

        return run(parse(BenchOnnxArguments, "bench-onnx", __doc__))

    return cli(command)


if __name__ == "__main__":
    raise SystemExit(main())
