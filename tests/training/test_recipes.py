"""Every recipe by registration: the right size, and random numbers from the generator alone."""

import numpy as np
import pytest

from training.data.labels import Mask
from training.data.sample import Sample
from training.recipes import RECIPES, make_recipe


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_function_of_sample_and_generator(name: str) -> None:
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (90, 160, 3), np.uint8)
    sample = Sample(image, {"drivable": Mask(image[..., 0] % 3)}, "frame")
    transform = make_recipe(name, (64, 96), (0.8, 1.5))
    first, second = (transform(sample, np.random.default_rng(4)) for _ in range(2))
    assert first.image.shape == (64, 96, 3)
    assert first.labels["drivable"].mask.shape == (64, 96)
    np.testing.assert_array_equal(first.image, second.image)
    others = [transform(sample, np.random.default_rng(seed)).image for seed in range(5, 15)]
    assert any((image != first.image).any() for image in others) == (name != "none")
