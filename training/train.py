"""The command train-bdd."""

import shlex
from typing import TYPE_CHECKING

from perception.errors import cli, require_extra
from perception.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from training.config import Config
    from training.distributed import World


def train() -> int:
    """The command: 0 when trained to the end; `cli` returns 130 after a stop."""
    require_extra("train", "torch", "timm", "torchjd", "safetensors", "tyro", "rich", "yaml")
    from rich.console import Console

    from training.command_line import read_command_line
    from training.distributed import join_world

    config = read_command_line()
    world = join_world(config.run.device)
    console = Console(quiet=not world.leads)
    if not config.data.data:
        console.print("No --data: training on rendered roads.")
    try:
        train_one(config, world, console)
    except KeyboardInterrupt:
        console.print(f"Continue with: train-bdd --out {config.run.out} --resume")
        raise
    finally:
        world.close()
    return 0


def train_one(config: "Config", world: "World", console: "Console") -> None:
    """One run to its end, or to a requested stop."""
    from training.command_line import CONFIG_FILE
    from training.run import Run

    run = Run(config, console, world)
    if world.leads:
        write_atomic(run.folder / CONFIG_FILE, config.to_file())
    model = run.learner.model
    weights = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    console.print(
        f"{config.model.model}, {weights:.2f}M parameters; tasks {', '.join(model.tasks)}; "
        f"{len(run.train)} training and {len(run.val)} validation frames; on {world.device} in "
        f"{'bf16' if run.learner.bf16 else 'fp32'}"
    )
    try:
        run.go()
    except KeyboardInterrupt:
        console.print(f"Stopped at step {run.state.step}.")
        raise
    best = "" if run.state.best is None else f" (best {run.state.best:.2f})"
    found = run.folder / ("best.safetensors" if best else "last.safetensors")
    console.print(f"Done{best}: {found}\nNext:", soft_wrap=True)
    for line in next_commands(found, config):
        console.print(f"  {line}", soft_wrap=True, highlight=False)


def next_commands(found: "Path", config: "Config") -> list[str]:
    """What to do with a trained model."""
    data = [word for word in config.data.data[:1] for word in ("--data", word)]
    labels = [word for word in config.data.labels[:1] for word in ("--labels", word)]
    model = found.with_name("model.onnx")
    return [
        shlex.join(["eval-bdd", str(found), *data, *labels]),
        shlex.join(["export-onnx", str(found), "-o", str(model)]),
        shlex.join(["perceive", "video.mp4", "--model", str(model), "--show"]),
    ]


def main() -> None:
    raise SystemExit(cli(train))


if __name__ == "__main__":
    main()
