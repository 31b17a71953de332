"""Every augmentation by registration: the right size, random numbers from the generator alone."""

import numpy as np
import pytest

from perception.errors import UserError
from training.config import DataArgs
from training.data.augmentations import AUGMENTATIONS, make_augmentation
from training.data.labels import Mask
from training.data.sample import Sample


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_augmentation_is_a_function_of_sample_and_generator(name: str) -> None:
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (90, 160, 3), np.uint8)
    sample = Sample(image, {"drivable": Mask(image[..., 0] % 3)}, "frame")
    transform = make_augmentation(DataArgs(size=(64, 96), zoom=(0.8, 1.5), augment=name))
    first, second = (transform(sample, np.random.default_rng(4)) for _ in range(2))
    assert first.image.shape == (64, 96, 3)
    assert first.labels["drivable"].mask.shape == (64, 96)
    np.testing.assert_array_equal(first.image, second.image)
    others = [transform(sample, np.random.default_rng(seed)).image for seed in range(5, 15)]
    assert any((image != first.image).any() for image in others) == (name != "none")


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(UserError, match="did you mean 'geometry'"):
        make_augmentation(DataArgs(augment="geometri"))
