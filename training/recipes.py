"""Augmentation recipes by name: what a training frame goes through on its way to the model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from perception.errors import unknown_name
from training.data.augment import Augment, letterbox
from training.data.sample import Sample
from training.sampling import Transform

Zoom = tuple[float, float]


@dataclass(frozen=True)
class Letterboxed:
    """No augmentation: what the deployed model sees, and validation."""

    size_hw: tuple[int, int]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return letterbox(sample, self.size_hw)


RECIPES: Final[dict[str, Callable[[tuple[int, int], Zoom], Transform]]] = {
    "default": lambda size, zoom: Augment(size, zoom=zoom),
    "none": lambda size, zoom: Letterboxed(size),
    "flip": lambda size, zoom: Augment(size, zoom=(1.0, 1.0), aspect=0.0, strength=0.0),
    "geometry": lambda size, zoom: Augment(size, zoom=zoom, strength=0.0),
    "colour": lambda size, zoom: Augment(size, zoom=(1.0, 1.0), aspect=0.0, flip=0.0),
    "strong": lambda size, zoom: Augment(size, zoom=zoom, aspect=0.2, strength=1.5),
}


def make_recipe(name: str, size_hw: tuple[int, int], zoom: Zoom) -> Transform:
    """The transform of a recipe. Raises UserError for an unknown name."""
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name](size_hw, zoom)
