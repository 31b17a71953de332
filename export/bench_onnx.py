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

TIMM: Final = "timm:"
ZOO: Final = "zoo:"


def subjects(arguments: "BenchOnnxArguments", folder: Path) -> "list[Subject]":
    """Every model on every provider, loaded; networks by name are exported to the folder."""
    from export.bench import open_subject

    found = []
    for model in arguments.models:
        cost: dict[str, int] = {}
        if model.startswith(ZOO):
            path, cost = _export_zoo(model.removeprefix(ZOO), arguments, folder)
        elif model.startswith(TIMM):
            path = _export_timm(model.removeprefix(TIMM), arguments.size, folder)
        else:
            path = local_file(model, ONNX)
        for provider in arguments.providers:
            subject = open_subject(
                model, path, provider, arguments.threads, arguments.frame, arguments.size
            )
            subject.cost = cost
            found.append(subject)
    return found


def _export_timm(name: str, size_hw: tuple[int, int], folder: Path) -> Path:
    _require_export()
    from export.to_onnx import latency_reference, save

    path = folder / f"{name}.onnx"
    save(latency_reference(name, size_hw), path)
    return path


def _export_zoo(
    name: str, arguments: "BenchOnnxArguments", folder: Path
) -> tuple[Path, dict[str, int]]:
    _require_export()
    from timm.layers import set_fused_attn

    from export.cost import cost_of
    from export.to_onnx import describe, save, to_onnx
    from perception.checkpoint import Meta
    from perception.model import build
    from perception.tasks import TASKS

    set_fused_attn(False)  # multiply_adds cannot see inside the fused call
    tasks = list(arguments.tasks or list(TASKS)[:4])
    model = build(name, tasks).eval()
    path = folder / f"{name}.onnx"
    description = describe(model, Meta(name, tasks, arguments.size), arguments.size)
    save(to_onnx(model, description), path)
    return path, cost_of(model, arguments.size)


def _require_export() -> None:
    require_extra("train", "torch", "timm")
    require_extra("export", "onnx", "onnxslim")


def report(found: "Sequence[Subject]", seed: int) -> list[dict[str, Any]]:
    """One JSON-able row per subject; ratios are to the first."""
    from export.bench import MODEL, ratio, summary

    base = found[0].times[MODEL]
    return [
        {
            **{key: value for key, value in vars(subject).items() if key != "run"},
            "ms": {stage: summary(times) for stage, times in subject.times.items()},
            "ratio": ratio(subject.times[MODEL], base, seed),
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
    counted = any(row["cost"] for row in rows)
    costs = ("params M", "GMAC") if counted else ()
    for head in ("x first (95 %)", "x first, p10", *costs, *(f"{stage} ms" for stage in others)):
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
            *(_costs(row["cost"]) if counted else ()),
            *apart,
        )
    # rich assumes 80 columns where stdout is a file or a pipe.
    console = Console()
    (console if console.is_terminal else Console(width=180)).print(table)


def _costs(cost: dict[str, int]) -> tuple[str, str]:
    if not cost:
        return "", ""
    return f"{cost['parameters'] / 1e6:.2f}", f"{cost['multiply_adds'] / 1e9:.2f}"


def run(arguments: "BenchOnnxArguments") -> int:
    """The whole command."""
    from rich.progress import Progress

    from export.bench import machine, measure, pin

    cores = pin(arguments.threads)
    load_before = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    with TemporaryDirectory() as folder, Progress(transient=True) as progress:
        found = subjects(arguments, Path(folder))
        bar = progress.add_task("timing", total=arguments.rounds * len(found))
        measure(
            found,
            arguments.rounds,
            arguments.warmup,
            arguments.pause,
            arguments.seed,
            lambda: progress.advance(bar),
        )
    rows = report(found, arguments.seed)
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
    """The command."""

    def command() -> int:
        require_extra("export", "rich", "tyro")
        require_extra("cpu", "onnxruntime")
        from export.arguments import BenchOnnxArguments

        return run(parse(BenchOnnxArguments, "bench-onnx", __doc__))

    return cli(command)


if __name__ == "__main__":
    raise SystemExit(main())
