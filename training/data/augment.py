"""Augmentations by name: transforms of training frames to the size of the model.

Every random number comes from the generator given, so a sample depends on (seed, epoch, index)
alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from perception.errors import check_known
from perception.runtime.letterbox import Letterbox
from training.config import DataArgs
from training.data.labels import Window
from training.data.sample import Sample

Transform = Callable[[Sample, np.random.Generator], Sample]


@dataclass(frozen=True)
class Letterboxed:
    """No augmentation: the frame as validation and the deployed model see it."""

    size_hw: tuple[int, int]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample.letterbox(self.size_hw)


@dataclass(frozen=True)
class Augment:
    """Scale jitter, shift, flip, colour, blur, noise and weather on the way to `size_hw`.

    `zoom` bounds the scale relative to the letterboxed frame; `strength` scales the chance and size
    of photometric changes (0 switches them off).
    """

    size_hw: tuple[int, int]
    zoom: tuple[float, float] = (0.75, 1.6)
    aspect: float = 0.1
    flip: float = 0.5
    strength: float = 1.0

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample = sample.window(self._window(sample, rng), self.size_hw)
        if rng.random() < self.flip:
            sample = sample.flip()
        if self.strength > 0:
            sample = replace(sample, image=photometric(sample.image, self.strength, rng))
        return sample

    def _window(self, sample: Sample, rng: np.random.Generator) -> Window:
        # The whole frame fills the letterbox, in fractions of the frame, along one side.
        height, width = np.divide(
            self.size_hw, Letterbox(sample.image.shape[:2], self.size_hw).inner_hw
        ).tolist()
        zoom = float(np.exp(rng.uniform(*np.log(self.zoom))))
        stretch = float(np.exp(rng.uniform(-self.aspect, self.aspect)))
        width, height = width / zoom * stretch, height / zoom / stretch
        # A window smaller than the frame stays inside it; a larger one always holds all of it.
        left = rng.uniform(min(0.0, 1 - width), max(0.0, 1 - width))
        top = rng.uniform(min(0.0, 1 - height), max(0.0, 1 - height))
        return (left, top, left + width, top + height)


def photometric(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Colour, exposure, blur, noise, haze and compression, each with its own chance."""
    image = _colour(image, strength, rng)
    for chance, change in _CHANGES:
        if rng.random() < chance * strength:
            image = change(image, rng)
    return image


def _colour(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    hue, saturation, value = rng.uniform(-1, 1, 3) * (0.02, 0.6, 0.4) * strength + 1
    gamma = float(np.exp(rng.uniform(-0.35, 0.35) * strength))
    ramp = np.arange(256, dtype=np.float32)
    hues = ((ramp + (hue - 1) * 180) % 180).astype(np.uint8)
    saturations = np.clip(ramp * saturation, 0, 255).astype(np.uint8)
    values = np.clip(255 * (ramp / 255) ** gamma * value, 0, 255).astype(np.uint8)
    tables = np.stack([hues, saturations, values], -1)[None]  # (1, 256, 3)
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2HSV), tables)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


def _blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.4)))


def _motion(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    length = int(rng.integers(3, 8))
    kernel: np.ndarray = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1 / length
    turn = cv2.getRotationMatrix2D((length / 2 - 0.5,) * 2, float(rng.uniform(0, 180)), 1)
    kernel = cv2.warpAffine(kernel, turn, (length, length))
    normed: np.ndarray = kernel / max(float(kernel.sum()), 1e-6)
    return cv2.filter2D(image, -1, normed)


def _noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sigma = float(rng.uniform(2, 14))
    height, width = image.shape[:2]
    noise = rng.standard_normal((height // 2 + 1, width // 2 + 1, 3), np.float32) * sigma
    grown = cv2.resize(noise, (width, height), interpolation=cv2.INTER_NEAREST)
    return cv2.add(image, grown.astype(np.int16), dtype=cv2.CV_8U)


def _compress(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 80))]
    decoded = cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR)
    return image if decoded is None else decoded


def _haze(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    veil, amount = int(rng.integers(120, 235)), float(rng.uniform(0.1, 0.45))
    return cv2.addWeighted(image, 1 - amount, np.full_like(image, veil), amount, 0)


def _glare(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    small = np.zeros((height // 8, width // 8, 3), np.uint8)
    centre = (int(rng.integers(0, width // 8)), int(rng.integers(0, height // 8)))
    colour = [int(value) for value in rng.integers(150, 256, 3)]
    cv2.circle(small, centre, int(rng.integers(1, max(height // 24, 2))), colour, -1)
    light = cv2.GaussianBlur(small, (0, 0), float(rng.uniform(2, 8)))
    return cv2.add(image, cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR))


def _grey(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return cv2.addWeighted(image, 0.3, cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), 0.7, 0)


def cast_shadow(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shadows cast on the lower part of the frame: those of walls and poles, or of a tree."""
    height, width = image.shape[0] // 4, image.shape[1] // 4
    mask = np.zeros((height, width), np.float32)
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(1, 4))):
            x, y = rng.uniform(0, width), rng.uniform(0.4, 1.0) * height
            across, along = rng.uniform(0.05, 0.5) * width, rng.uniform(0.02, 0.3) * height
            lean = rng.uniform(-1.5, 1.5) * along
            corners = [(x - across, y), (x + across, y)]
            corners += [(x + across + lean, y + along), (x - across + lean, y + along)]
            cv2.fillConvexPoly(mask, np.array(corners, np.int32), 1.0)
    else:
        leaves = cv2.GaussianBlur(
            rng.standard_normal((height, width), np.float32), (0, 0), float(rng.uniform(1, 5))
        )
        mask[leaves > rng.uniform(-0.3, 0.8) * leaves.std()] = 1.0
        top, bottom = np.sort(rng.uniform(0.4, 1.2, 2)) * height
        rows = np.arange(height)[:, None]
        mask *= (rows > top) & (rows < bottom + 0.1 * height)
    mask = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.3, 2.5)))
    gain: np.ndarray = 1 - mask * float(rng.uniform(0.4, 0.8))
    gain = cv2.resize(gain, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(image, np.repeat(gain[..., None], 3, 2), dtype=cv2.CV_8U)


Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
_CHANGES: tuple[tuple[float, Change], ...] = (
    (0.05, _grey),
    (0.10, _haze),
    (0.08, _glare),
    (0.12, cast_shadow),
    (0.12, _blur),
    (0.06, _motion),
    (0.15, _compress),
    (0.15, _noise),
)


AUGMENTATIONS: Final[dict[str, Callable[[tuple[int, int], tuple[float, float]], Transform]]] = {
    "default": lambda size, zoom: Augment(size, zoom=zoom),
    "none": lambda size, zoom: Letterboxed(size),
    "flip": lambda size, zoom: Augment(size, zoom=(1.0, 1.0), aspect=0.0, strength=0.0),
    "geometry": lambda size, zoom: Augment(size, zoom=zoom, strength=0.0),
    "colour": lambda size, zoom: Augment(size, zoom=(1.0, 1.0), aspect=0.0, flip=0.0),
    "strong": lambda size, zoom: Augment(size, zoom=zoom, aspect=0.2, strength=1.5),
}


def make_augmentation(args: DataArgs) -> Transform:
    """The transform of one frame. Raises UserError for an unknown name."""
    check_known("augmentation", [args.augment], AUGMENTATIONS)
    return AUGMENTATIONS[args.augment](args.size, args.zoom)
