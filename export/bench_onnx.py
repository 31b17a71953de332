"""bench-onnx A.onnx [B.onnx ...] [timm:resnet50] [--providers cpu,openvino-bf16] [--threads 2]

Times any ONNX files against each other so that the ratios can be repeated elsewhere: one process,
one random order a round, warm, pinned to as many cores as threads. `timm:NAME` stands for that
trunk, exported here. The first subject is what the others are divided by.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import tyro

from export.bench import MODEL, Subject, machine, measure, open_subject, pin, ratio, summary
from perception.errors import UserError, cli, require_extra
from perception.files import write_atomic
from perception.sizes import parse_size

TIMM: Final = "timm:"


@dataclass
class Arguments:
    """Time ONNX files against each other."""

    models: tyro.conf.Positional[tuple[str, ...]]
    """ONNX files, and timm:NAME for a trunk as a yardstick; the first is the baseline."""
    providers: str = "cpu"
    """Comma-separated: cpu, openvino, openvino-bf16, cuda, tensorrt. Each model runs on each."""
    threads: int = 2
    """Threads of every model; the process is pinned to as many cores."""
    rounds: int = 50
    """Runs of each model."""
    warmup: int = 5
    """Runs before the first that counts."""
    pause: float = 0.01
    """Seconds between runs, for the threads of the last model to go to sleep."""
    size: str = "384x640"
    """HEIGHTxWIDTH where a model leaves it free, and of timm trunks."""
    frame: str = "720x1280"
    """HEIGHTxWIDTH of the camera's frame, for the stages before and after our own models."""
    seed: int = 0
    """Of the order of runs and the bootstrap."""
    json: Path | None = None
    """Where to write every number."""

    def __post_init__(self) -> None:
        if not self.models:
            raise UserError("give at least one .onnx file")
        for name in ("threads", "rounds", "warmup"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} must be at least 1")


def subjects(arguments: Arguments, folder: Path) -> list[Subject]:
    """Every model on every provider, loaded; yardsticks are exported to the folder."""
    size_hw, frame_hw = parse_size(arguments.size), parse_size(arguments.frame, "--frame")
    found = []
    for model in arguments.models:
        path = Path(model)
        if model.startswith(TIMM):
            path = _yardstick(model.removeprefix(TIMM), size_hw, folder)
        for provider in arguments.providers.split(","):
            found.append(open_subject(model, path, provider, arguments.threads, frame_hw, size_hw))
    return found


def _yardstick(name: str, size_hw: tuple[int, int], folder: Path) -> Path:
    require_extra("export", "onnx", "onnxslim", "torch", "timm")
    import onnx

    from export.yardstick import yardstick

    path = folder / f"{name}.onnx"
    onnx.save(yardstick(name, size_hw), path)
    return path


def report(found: Sequence[Subject], seed: int) -> list[dict[str, Any]]:
    """One JSON-able row a subject; ratios are to the first."""
    base = found[0].times[MODEL]
    return [
        {
            "name": subject.name,
            "provider": subject.provider,
            "megabytes": subject.megabytes,
            "ms": {stage: summary(times) for stage, times in subject.times.items()},
            "ratio": ratio(subject.times[MODEL], base, seed),
            "times": subject.times,
        }
        for subject in found
    ]


def show(rows: Sequence[dict[str, Any]], title: str) -> None:
    """The table."""
    from rich.console import Console
    from rich.table import Column, Table

    others = list(dict.fromkeys(s for row in rows for s in row["ms"] if s != MODEL))
    table = Table(
        Column("model", overflow="fold"), "provider", "MB", "p10 / median / p90 ms", title=title
    )
    for head in ("x first (95 %)", "x first, p10", *(f"{stage} ms" for stage in others)):
        table.add_column(head, justify="right")
    for row in rows:
        times, share = row["ms"][MODEL], row["ratio"]
        apart = [f"{row['ms'][s]['median']:.1f}" if s in row["ms"] else "" for s in others]
        table.add_row(
            row["name"],
            row["provider"],
            f"{row['megabytes']:.1f}",
            f"{times['p10']:.1f} / {times['median']:.1f} / {times['p90']:.1f}",
            f"{share['median']:.3f} ({share['low']:.3f}-{share['high']:.3f})",
            f"{share['p10']:.3f}",
            *apart,
        )
    # A file or a pipe is not 80 columns wide.
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table)


def run(arguments: Arguments) -> int:
    """The whole command."""
    from rich.progress import Progress

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
        settings = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(arguments).items()}
        about = {"machine": machine(), "cores_used": cores, "load_before": load_before}
        text = json.dumps({"settings": settings, **about, "subjects": rows}, indent=1)
        write_atomic(arguments.json, text)
    return 0


def main() -> int:
    """The command."""

    def command() -> int:
        require_extra("demo", "rich", "tyro")
        return run(tyro.cli(Arguments, description=__doc__))

    return cli(command)
