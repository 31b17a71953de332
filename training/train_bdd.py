"""train-bdd [--data DIR] --tasks det,lane,drivable,scene [--epochs N] [--out runs/NAME] [--resume]

Trains one network with a head for each task; without --data, on rendered roads.
"""

from perception.errors import cli, require_extra


def train() -> int:
    """The command: 0 when trained to the end, 130 (by `cli`) after a stop that can be resumed."""
    require_extra("train", "torch", "timm", "torchjd", "safetensors", "tyro", "rich")
    from training.config import parse_command_line
    from training.run import Run

    config = parse_command_line()
    run = Run(config, None)
    say = run.console.print
    if not config.data.data:
        say("No --data: training on rendered roads, made on the fly.")
    model = run.learner.model
    weights = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    say(
        f"{config.model.model}, {weights:.2f}M parameters; tasks {', '.join(model.tasks)}; "
        f"{len(run.train)} frames, {len(run.val)} for validation; on {run.world.device} in "
        f"{'bf16' if run.learner.bf16 else 'fp32'}"
    )
    try:
        run.go()
    except KeyboardInterrupt:
        say(f"Stopped at step {run.position.step}; go on with --resume --out {run.folder}")
        raise
    finally:
        run.world.close()
    best = "" if run.position.best is None else f" (best {run.position.best:.2f})"
    say(f"Done{best}: {run.folder / 'best.safetensors'}")
    return 0


def main() -> None:
    raise SystemExit(cli(train))
