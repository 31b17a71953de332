"""The command train-bdd.

A recipe has one or several stages, each of which is a run; OUT/stages.json lists those that are
done, so that --resume continues in the right one.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perception.errors import UserError, cli, require_extra
from perception.files import write_atomic

if TYPE_CHECKING:
    from rich.console import Console

    from training.command_line import NamedConfig
    from training.config import Config
    from training.distributed import World


def train() -> int:
    """The command: 0 when trained to the end; `cli` returns 130 after a stop."""
    require_extra("train", "torch", "timm", "torchjd", "safetensors", "tyro", "rich", "yaml")
    from rich.console import Console

    from training.command_line import read_command_line
    from training.distributed import join_world

    stages = read_command_line()
    last = stages[-1][1]
    world = join_world(last.run.device)
    console = Console(quiet=not world.leads)
    if not last.data.data:
        console.print("No --data: training on rendered roads.")
    try:
        run_stages(stages, world, lambda config: train_one(config, world, console), console.print)
    except KeyboardInterrupt:
        console.print(f"Continue with: train-bdd --out {last.run.out} --resume")
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
        console.print(f"Stopped at step {run.position.step}.")
        raise
    best = "" if run.position.best is None else f" (best {run.position.best:.2f})"
    console.print(f"Done{best}: {run.folder / 'best.safetensors'}")


@dataclass
class StageRecord:
    """The stages of one recipe and which of them are done; the content of stages.json."""

    recipe: str
    stages: list[str]
    done: list[str]

    def write(self, path: Path) -> None:
        """The whole file or nothing."""
        write_atomic(path, json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @staticmethod
    def read(path: Path) -> "StageRecord":
        """Raises UserError where the file is damaged or of another version."""
        try:
            return StageRecord(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path}: not readable ({error}); choose another --out") from None


def run_stages(
    stages: Sequence["NamedConfig"],
    world: "World",
    train: Callable[["Config"], None],
    say: Callable[[str], None],
) -> None:
    """Calls `train` for each stage that is not done yet; one that raises is not done.

    Raises UserError where the folder holds another run, or none to continue.
    """
    from training.command_line import CONFIG_FILE, STAGES_FILE

    record = begin(stages)
    world.wait()  # all ranks have read before one of them writes
    if len(stages) == 1:
        return train(stages[0][1])
    path = Path(stages[-1][1].run.out) / STAGES_FILE
    if world.leads:  # so that --resume alone knows every stage
        for _, config in stages:
            write_atomic(Path(config.run.out) / CONFIG_FILE, config.to_file())
    for name, config in stages:
        if name in record.done:
            say(f"Stage {name} is done.")
            continue
        if world.leads:
            record.write(path)
        say(f"Stage {name} in {config.run.out}")
        train(fresh_or_resumed(config))
        record.done.append(name)
    if world.leads:
        record.write(path)


def begin(stages: Sequence["NamedConfig"]) -> StageRecord:
    """The stages that are done. Raises UserError where the folder holds another recipe's run."""
    from training.command_line import STAGES_FILE, stored_stages
    from training.distributed import by_torchrun
    from training.resume import check_same_settings

    names = [name for name, _ in stages]
    run = stages[-1][1].run
    out = Path(run.out)
    exists = (out / STAGES_FILE).exists()
    # Under torchrun --resume is accepted at the first start too: it repeats the same command.
    if not exists and (len(stages) == 1 or not run.resume or by_torchrun()):
        return StageRecord(run.recipe, names, [])
    if not exists:
        raise UserError(f"--resume: {out} has no {STAGES_FILE}: no recipe with stages began there")
    if not run.resume:
        raise UserError(
            f"--out {out}: holds a run already; add --resume to continue it, or choose "
            "another folder"
        )
    record = StageRecord.read(out / STAGES_FILE)
    if (record.recipe, record.stages) != (run.recipe, names):
        raise UserError(f"--resume: {out} began with --recipe {record.recipe}")
    for (_, stored), (_, config) in zip(stored_stages(out), stages, strict=False):
        check_same_settings(stored.to_json(), config, finished=False)
    return record


def fresh_or_resumed(config: "Config") -> "Config":
    """The settings with `resume` set where the stage has a state."""
    from training.resume import state_files

    begun = bool(state_files(Path(config.run.out)))
    if begun and not config.run.resume:
        return config  # the run itself raises
    return dataclasses.replace(config, run=dataclasses.replace(config.run, resume=begun))


def main() -> None:
    raise SystemExit(cli(train))


if __name__ == "__main__":
    main()
