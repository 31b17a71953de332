"""The stages of a recipe, one run after the other, each from the last weights of the one before.

OUT/stages.json tells which are done, so that --resume goes on in the right one. The last stage's
files are OUT's own, as of a recipe without stages; the others' lie in OUT/stages.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from perception.errors import UserError
from perception.files import write_atomic
from training.config import Config
from training.distributed import World, by_torchrun
from training.resume import state_files

RECORD: Final = "stages.json"
Named = tuple[str, Config]


@dataclass
class Progress:
    """The stages of one recipe and which of them are done; the content of stages.json."""

    recipe: str
    stages: list[str]
    done: list[str]

    def write(self, folder: Path) -> None:
        """The whole file or nothing."""
        write_atomic(folder / RECORD, json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @staticmethod
    def read(folder: Path) -> "Progress":
        """Raises UserError where the file is torn or of another version."""
        path = folder / RECORD
        try:
            return Progress(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path}: not readable ({error}); choose another --out") from None


def go_through(
    stages: Sequence[Named],
    world: World,
    train: Callable[[Config], None],
    say: Callable[[str], None],
) -> None:
    """Calls `train` for each stage that is not done yet; one that raises is not done.

    Raises UserError where the folder holds another run, or none to go on with.
    """
    progress = begin(stages)
    world.wait()  # all ranks have read before one of them writes
    if len(stages) == 1:
        return train(stages[0][1])
    out = Path(stages[-1][1].run.out)
    for name, config in stages:
        if name in progress.done:
            say(f"Stage {name} is done.")
            continue
        if world.leads:
            progress.write(out)
        say(f"Stage {name} in {config.run.out}")
        train(fresh_or_resumed(config))
        progress.done.append(name)
    if world.leads:
        progress.write(out)


def begin(stages: Sequence[Named]) -> Progress:
    """Where the recipe stands in its folder."""
    names = [name for name, _ in stages]
    run = stages[-1][1].run
    out = Path(run.out)
    there = (out / RECORD).exists()
    # Under torchrun --resume is right for the first start too: it starts the same command again.
    if not there and (len(stages) == 1 or not run.resume or by_torchrun()):
        return Progress(run.recipe, names, [])
    if not there:
        raise UserError(f"--resume: {out} has no {RECORD}: no recipe with stages was begun there")
    if not run.resume:
        raise UserError(
            f"--out {out}: a run is there already; add --resume to go on with it, or choose "
            "another folder"
        )
    progress = Progress.read(out)
    if (progress.recipe, progress.stages) != (run.recipe, names):
        raise UserError(f"--resume: {out} was begun with --recipe {progress.recipe}")
    return progress


def fresh_or_resumed(config: Config) -> Config:
    """A stage goes on where it has a state to go on from, and else starts."""
    begun = bool(state_files(Path(config.run.out)))
    if begun and not config.run.resume:
        return config  # the run itself says what is wrong
    return dataclasses.replace(config, run=dataclasses.replace(config.run, resume=begun))
