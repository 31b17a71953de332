"""Recipes by name: what `train-bdd` does where no flag says otherwise, in one stage or several.

A new recipe is one entry in RECIPES. A flag on the command line wins over the recipe, in every
stage; what came out of it is in the run's config.json and in its checkpoints.
"""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from perception.errors import unknown_name
from training.config import Config, DataArgs, ModelArgs, OptimArgs, RunArgs, parse_command_line


@dataclass(frozen=True)
class Stage:
    """One training run of a recipe; the next stage starts from its last weights."""

    name: str = ""
    data: DataArgs = field(default_factory=DataArgs)
    model: ModelArgs = field(default_factory=ModelArgs)
    optim: OptimArgs = field(default_factory=OptimArgs)

    @property
    def config(self) -> Config:
        """The stage as a whole run's settings."""
        return Config(self.data, self.model, self.optim)


@dataclass(frozen=True)
class Recipe:
    """What it is for, and its stages in order."""

    purpose: str
    stages: tuple[Stage, ...]


FULL_DATA: Final = DataArgs(
    batch=64,
    mosaic=0.5,
    mixup=0.1,
    close_mosaic=0.1,
    repeat_rare=True,
    skip_bad=0.001,
    val_limit=2000,  # all 10,000 after each of 100 epochs would take hours
)
RECIPES: Final[dict[str, Recipe]] = {
    "default": Recipe("scale, colour, weather", (Stage(),)),
    "none": Recipe("whole frames as they are", (Stage(data=DataArgs(augment="none")),)),
    "flip": Recipe("mirrored frames", (Stage(data=DataArgs(augment="flip")),)),
    "geometry": Recipe("scale and place", (Stage(data=DataArgs(augment="geometry")),)),
    "colour": Recipe("colour and weather", (Stage(data=DataArgs(augment="colour")),)),
    "strong": Recipe("more of everything", (Stage(data=DataArgs(augment="strong")),)),
    "bdd-small": Recipe(
        "a few thousand labelled frames and no pretrained weights: the model in the box",
        (
            Stage(
                "small",
                # Crops at half size show things as large as they are in the second stage.
                DataArgs(size=(192, 320), zoom=(0.8, 2.2), rendered=1000, rendered_weight=0.6),
                optim=OptimArgs(epochs=12, lr=1e-3, ema=0.998),
            ),
            Stage(
                "full",
                DataArgs(
                    size=(384, 640),
                    zoom=(0.9, 1.5),
                    batch=8,
                    rendered=1000,
                    rendered_weight=0.6,
                ),
                optim=OptimArgs(epochs=8, lr=6e-4, ema=0.998),
            ),
        ),
    ),
    "bdd100k-full": Recipe(
        "all of BDD100K on one GPU",
        (
            Stage(
                data=FULL_DATA,
                model=ModelArgs(drop_path=0.1),
                optim=OptimArgs(epochs=100, lr=1e-3, ema=0.9998),
            ),
        ),
    ),
    "bdd100k-full-8gpu": Recipe(
        "all of BDD100K on eight GPUs, under torchrun",
        (
            Stage(
                data=dataclasses.replace(FULL_DATA, batch=256),
                model=ModelArgs(drop_path=0.1),
                # Four times the frames a step: twice the rate, as suits Adam, and averaged weights
                # that look back over as many frames as with one GPU.
                optim=OptimArgs(epochs=100, lr=2e-3, ema=0.9992),
            ),
        ),
    ),
}


def read_command_line(words: Sequence[str] | None = None) -> list[tuple[str, Config]]:
    """(name, settings) of each stage that a command line (sys.argv without `words`) asks for.

    The last stage runs in --out, the ones before it in folders inside; each starts from the last
    weights of the one before, the first from --init. Raises UserError for an unknown recipe.
    """
    words = sys.argv[1:] if words is None else list(words)
    name = wanted_recipe(words)
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    stages = RECIPES[name].stages
    configs = [parse_command_line(words, stage.config) for stage in stages]
    out = Path(configs[0].run.out)
    told: list[tuple[str, Config]] = []
    for number, (stage, config) in enumerate(zip(stages, configs, strict=True)):
        if number:
            before = told[-1][1].run.out
            init = f"{before}/last.safetensors"
            model = dataclasses.replace(config.model, init=init, pretrained=False)
            config = dataclasses.replace(config, model=model)
        last = number == len(stages) - 1
        folder = out if last else out / "stages" / f"{number + 1}-{stage.name}"
        run = dataclasses.replace(config.run, out=str(folder))
        told.append((stage.name, dataclasses.replace(config, run=run)))
    return told


def wanted_recipe(words: Sequence[str]) -> str:
    """The value of --recipe, before the rest can be read."""
    name = RunArgs().recipe
    for place, word in enumerate(words):
        if word == "--recipe" and place + 1 < len(words):
            name = words[place + 1]
        elif word.startswith("--recipe="):
            name = word.partition("=")[2]
    return name
