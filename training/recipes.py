"""Recipes by name: settings of train-bdd, in one stage or several.

A new recipe is one entry in RECIPES. A flag overrides the recipe in every stage; the result is in
the run's config.json and in its checkpoints.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Final

from training.config import Config, DataArgs, ModelArgs, OptimArgs


@dataclass(frozen=True)
class Stage:
    """One training run of a recipe; the next stage starts from its last weights."""

    name: str = ""
    data: DataArgs = field(default_factory=DataArgs)
    model: ModelArgs = field(default_factory=ModelArgs)
    optim: OptimArgs = field(default_factory=OptimArgs)

    @property
    def config(self) -> Config:
        """The settings of the stage as a whole run."""
        return Config(self.data, self.model, self.optim)


@dataclass(frozen=True)
class Recipe:
    """What it is for, and its stages in order."""

    purpose: str
    stages: tuple[Stage, ...]


FULL_DATA: Final = DataArgs(
    batch=64,
    repeat_rare=True,
    skip_bad=0.001,
    val_limit=2000,  # all 10,000 after each of 100 epochs would take hours
)
RECIPES: Final[dict[str, Recipe]] = {
    "default": Recipe("one stage with the defaults of all flags", (Stage(),)),
    "bdd-small": Recipe(
        "a few thousand labelled frames, no pretrained weights",
        (
            Stage(
                "small",
                # Crops at half the size show objects as large as in the second stage.
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
                # Four times the batch: twice the rate (square-root scaling for Adam), and a decay
                # that averages over as many frames as on one GPU.
                optim=OptimArgs(epochs=100, lr=2e-3, ema=0.9992),
            ),
        ),
    ),
}
