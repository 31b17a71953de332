"""train-bdd [--data DIR] --tasks det,lane,drivable,scene [--recipe NAME] [--out DIR] [--resume]

Trains one network with a head for each task; without --data, on rendered roads.
"""

import json
from typing import TYPE_CHECKING

from perception.errors import cli, require_extra
from perception.files import write_atomic

if TYPE_CHECKING:
    from rich.console import Console

    from training.config import Config
    from training.distributed import World


def train() -> int:
    """The command: 0 when trained to the end, 130 (by `cli`) after a stop that can be resumed."""
    require_extra("train", "torch", "timm", "torchjd", "safetensors", "tyro", "rich")
    from rich.console import Console

    from training.distributed import join_world
    from training.recipes import read_command_line
    from training.stages import go_through

    stages = read_command_line()
    last = stages[-1][1]
    world = join_world(last.run.device)
    console = Console(quiet=not world.leads)
    if not last.data.data:
        console.print("No --data: training on rendered roads, made on the fly.")
    try:
        go_through(stages, world, lambda config: train_one(config, world, console), console.print)
    except KeyboardInterrupt:
        console.print(f"Go on with --resume --out {last.run.out}")
        raise
    finally:
        world.close()
    return 0


def train_one(config: "Config", world: "World", console: "Console") -> None:
    """One run to its end, or to a stop that was asked for."""
    from training.run import Run

    run = Run(config, console, world)
    if world.leads:
        settings = json.dumps(config.to_json(), indent=1) + "\n"
        write_atomic(run.folder / "config.json", settings)
    model = run.learner.model
    weights = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    console.print(
        f"{config.model.model}, {weights:.2f}M parameters; tasks {', '.join(model.tasks)}; "
        f"{len(run.train)} frames, {len(run.val)} for validation; on {world.device} in "
        f"{'bf16' if run.learner.bf16 else 'fp32'}"
    )
    try:
        run.go()
    except KeyboardInterrupt:
        console.print(f"Stopped at step {run.position.step}.")
        raise
    best = "" if run.position.best is None else f" (best {run.position.best:.2f})"
    console.print(f"Done{best}: {run.folder / 'best.safetensors'}")


def main() -> None:
    raise SystemExit(cli(train))
