"""Augmentations by name: what a training frame goes through on its way to the model."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from perception.errors import unknown_name
from training.config import DataArgs
from training.data.augment import Augment, letterbox
from training.data.mosaic import Mixing
from training.data.sample import Sample
from training.data.sampling import Transform

Zoom = tuple[float, float]


@dataclass(frozen=True)
class Letterboxed:
    """No augmentation: what the deployed model sees, and validation."""

    size_hw: tuple[int, int]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return letterbox(sample, self.size_hw)


AUGMENTATIONS: Final[dict[str, Callable[[tuple[int, int], Zoom], Transform]]] = {
    "default": lambda size, zoom: Augment(size, zoom=zoom),
    "none": lambda size, zoom: Letterboxed(size),
    "flip": lambda size, zoom: Augment(size, zoom=(1.0, 1.0), aspect=0.0, strength=0.0),
    "geometry": lambda size, zoom: Augment(size, zoom=zoom, strength=0.0),
    "colour": lambda size, zoom: Augment(size, zoom=(1.0, 1.0), aspect=0.0, flip=0.0),
    "strong": lambda size, zoom: Augment(size, zoom=zoom, aspect=0.2, strength=1.5),
}


def make_augmentation(args: DataArgs) -> Transform:
    """The transform of one frame. Raises UserError for an unknown name."""
    if args.augment not in AUGMENTATIONS:
        raise unknown_name("augmentation", args.augment, AUGMENTATIONS)
    return AUGMENTATIONS[args.augment](args.size, args.zoom)


def make_mixing(args: DataArgs, epochs: int) -> Mixing | None:
    """Mosaic and mixup of a run of `epochs`, None where neither is wanted."""
    if not args.mosaic and not args.mixup:
        return None
    return Mixing(args.mosaic, args.mixup, math.ceil(epochs * (1 - args.close_mosaic) - 1e-9))
