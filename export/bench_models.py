"""bench-models [--models pvt-hydranet-b0,yolop-like] [--tasks ...] [--threads 2]

For each recipe of the zoo, untrained (weights do not change the cost): parameters, multiply-adds,
ONNX size, peak memory, and latency in ONNX Runtime as a ratio to a timm trunk in the same run.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tyro

from perception.errors import UserError, cli, require_extra
from perception.files import write_atomic
from perception.sizes import parse_size


@dataclass
class Arguments:
    """Parameters, multiply-adds, size, memory and latency of the zoo."""

    models: str = ""
    """Recipes, comma-separated; the whole zoo by default."""
    tasks: str = ""
    """Heads, comma-separated; the zoo's default by default."""
    yardstick: str = "resnet50"
    """timm trunk that latencies are divided by."""
    size: str = "384x640"
    """HEIGHTxWIDTH of the input."""
    threads: int = 2
    """Threads of every model; the process is pinned to as many cores."""
    rounds: int = 20
    """Timed runs of each model."""
    json: Path | None = None
    """Where to write every number."""

    def __post_init__(self) -> None:
        if self.threads < 1 or self.rounds < 1:
            raise UserError("--threads and --rounds must be at least 1")


def collect(arguments: Arguments, folder: Path) -> list[dict[str, Any]]:
    """One row a recipe, the yardstick first."""
    import onnx
    from timm.layers import set_fused_attn

    from export.bench import MODEL, measure, open_subject, pin, ratio, summary
    from export.yardstick import yardstick
    from perception.zoo import ZOO

    set_fused_attn(False)  # its products would not be counted
    size_hw = parse_size(arguments.size)
    path = folder / "yardstick.onnx"
    onnx.save(yardstick(arguments.yardstick, size_hw), path)
    rows: list[dict[str, Any]] = [{"name": f"timm:{arguments.yardstick}", "path": path}]
    for name in arguments.models.split(",") if arguments.models else ZOO:
        rows.append(cost(name, arguments, size_hw, folder))
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


def cost(name: str, arguments: Arguments, size_hw: tuple[int, int], folder: Path) -> dict[str, Any]:
    """What needs no clock: parameters, multiply-adds, and the file with its memory."""
    from export.cost import multiply_adds, parameters, peak_megabytes
    from export.to_onnx import describe, save, to_onnx
    from perception.checkpoint import Meta
    from perception.tasks import TASKS
    from perception.zoo import build

    tasks = arguments.tasks.split(",") if arguments.tasks else list(TASKS)[:4]
    model = build(name, tasks).eval()
    path = folder / f"{name}.onnx"
    description = describe(model, Meta(name, tasks, size_hw), size_hw)
    save(to_onnx(model, description), path)
    return {
        "name": name,
        "path": path,
        "tasks": tasks,
        "parameters": parameters(model),
        "multiply_adds": multiply_adds(model, size_hw),
        "peak_megabytes": peak_megabytes(path, arguments.threads),
    }


def show(rows: list[dict[str, Any]], title: str) -> None:
    """The table."""
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


def run(arguments: Arguments) -> int:
    """The whole command."""
    from export.bench import machine

    with TemporaryDirectory() as folder:
        rows = collect(arguments, Path(folder))
    show(rows, f"{arguments.size}, {arguments.threads} threads, {arguments.rounds} rounds")
    if arguments.json is not None:
        settings = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(arguments).items()}
        data = {"settings": settings, "machine": machine(), "models": rows}
        write_atomic(arguments.json, json.dumps(data, indent=1))
    return 0


def main() -> int:
    """The command."""

    def command() -> int:
        require_extra("train", "rich", "tyro", "torch", "timm")
        require_extra("export", "onnx", "onnxslim")
        require_extra("cpu", "onnxruntime")
        return run(tyro.cli(Arguments, description=__doc__))

    return cli(command)
