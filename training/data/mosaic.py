"""Pictures made of several frames, every label kind alike: mosaic (four) and mixup (two).

Mosaic here leaves every pixel where it was: the four frames meet at one point and each fills its
own corner of the picture. Road stays below and sky above, which masks and lanes rely on, and things
keep their size (small as they are, BDD100K's objects are not for shrinking). It is CutMix (Yun et
al., arXiv 1905.04899) with four frames rather than YOLOv4's mosaic (arXiv 2004.10934).

Frames that label different tasks may meet. What a frame does not say stays unsaid: its pixels are
'not annotated' and its area is a region where detections are neither right nor wrong, so that
partly labelled datasets mix without a rule about who may meet whom.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np

from perception.classes import IGNORE, LANE_IGNORE
from training.config import DataArgs
from training.data.labels import (
    Boxes,
    Distance,
    Label,
    Labels,
    LaneMask,
    Map,
    Mask,
    Normals,
    Pixels,
)
from training.data.sample import Sample

# The crossing of the four frames lies in this middle share of the picture.
MIDDLE: Final = (0.25, 0.75)
# Both pictures of a mixup are seen about equally well (YOLOv5's Beta(32, 32)).
MIXUP_BETA: Final = 32.0

Region = tuple[slice, slice]  # rows, columns
Parts = Sequence[Any]  # labels of one kind, None where a frame has none


@dataclass(frozen=True)
class Mixing:
    """How often a training frame becomes a mosaic, and how often it is then blended with another.

    Later epochs than the first `epochs` show frames as they are.
    """

    mosaic: float = 0.0
    mixup: float = 0.0
    epochs: int = 0

    def __call__(
        self, sample: Sample, rng: np.random.Generator, another: Callable[[], Sample]
    ) -> Sample:
        """`another` gives a further augmented frame of the same size."""
        if rng.random() < self.mosaic:
            parts = [sample, another(), another(), another()]
            crossing = rng.uniform(*MIDDLE, 2)
            sample = mosaic([parts[place] for place in rng.permutation(4)], tuple(crossing))
        if rng.random() < self.mixup:
            sample = mixup(sample, another(), float(rng.beta(MIXUP_BETA, MIXUP_BETA)))
        return sample


def make_mixing(args: DataArgs, epochs: int) -> Mixing | None:
    """Mosaic and mixup of a run of `epochs`, None where neither is wanted."""
    if not args.mosaic and not args.mixup:
        return None
    return Mixing(args.mosaic, args.mixup, math.ceil(epochs * (1 - args.close_mosaic) - 1e-9))


def mosaic(samples: Sequence[Sample], crossing_yx: tuple[float, float]) -> Sample:
    """The first frame's top left, the second's top right, then bottom left and bottom right.

    `crossing_yx` is where they meet, as shares of the picture; all frames have one size.
    """
    regions = corners(samples[0].image.shape[:2], crossing_yx)
    image = np.empty_like(samples[0].image)
    for sample, region in zip(samples, regions, strict=True):
        image[region] = sample.image[region]
    labels = {}
    for task in dict.fromkeys(task for sample in samples for task in sample.labels):
        parts = [sample.labels.get(task) for sample in samples]
        labels[task] = kind_of(parts).tile(parts, regions, image.shape[:2])
    return Sample(image, said(labels), "+".join(sample.name for sample in samples))


def mixup(first: Sample, second: Sample, share: float) -> Sample:
    """`share` of the first picture over the second (arXiv 1710.09412, for pictures of many things).

    Boxes and lane lines of either are there; masks and attributes count where both say the same;
    depth and normals mean nothing in such a picture.
    """
    image = cv2.addWeighted(first.image, share, second.image, 1 - share, 0)
    labels = {}
    for task in dict.fromkeys((*first.labels, *second.labels)):
        parts = [first.labels.get(task), second.labels.get(task)]
        labels[task] = kind_of(parts).blend(parts, image.shape[:2])
    return Sample(image, said(labels), f"{first.name}+{second.name}")


def corners(size_hw: tuple[int, int], crossing_yx: tuple[float, float]) -> list[Region]:
    """Top left, top right, bottom left, bottom right."""
    y, x = (round(share * side) for share, side in zip(crossing_yx, size_hw, strict=True))
    rows, columns = (slice(0, y), slice(y, size_hw[0])), (slice(0, x), slice(x, size_hw[1]))
    return [(row, column) for row in rows for column in columns]


def said(labels: dict[str, Label | None]) -> dict[str, Label]:
    """The labels without those that say nothing any more."""
    return {task: label for task, label in labels.items() if label is not None}


@dataclass(frozen=True)
class Kind:
    """How labels of a kind become one: side by side, and on top of each other."""

    tile: Callable[[Parts, Sequence[Region], tuple[int, int]], Label | None]
    blend: Callable[[Parts, tuple[int, int]], Label | None]


def kind_of(parts: Parts) -> Kind:
    """By the first label there is."""
    return KINDS[type(next(part for part in parts if part is not None))]


def tile_pixels(parts: Parts, regions: Sequence[Region], size_hw: tuple[int, int]) -> Pixels:
    """Each region from its own frame, "not annotated" where that one has no label."""
    known: Pixels = next(part for part in parts if part is not None)
    canvas = np.full_like(known.pixels, known.unknown)
    for part, region in zip(parts, regions, strict=True):
        if part is not None:
            at = (..., *region)
            canvas[at] = part.pixels[at]
    return known.with_pixels(canvas)


def tile_boxes(parts: Parts, regions: Sequence[Region], size_hw: tuple[int, int]) -> Boxes:
    """What is seen of each frame's boxes in its region."""
    pieces = [
        silent(region, size_hw) if part is None else part.cut(xyxy_of(region))
        for part, region in zip(parts, regions, strict=True)
    ]
    return together(pieces)


def silent(region: Region, size_hw: tuple[int, int]) -> Boxes:
    """One region in which nothing is annotated: an ignored box without a class."""
    return Boxes(np.array([xyxy_of(region)]), np.array([-1]), size_hw, ignore=np.array([True]))


def xyxy_of(region: Region) -> tuple[int, int, int, int]:
    """The corners of a region."""
    rows, columns = region
    return columns.start, rows.start, columns.stop, rows.stop


def together(pieces: Sequence[Boxes]) -> Boxes:
    """All boxes as those of one frame."""
    names = ("xyxy", "classes", "ignore", "occluded", "truncated")
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in names
    }
    return replace(pieces[0], **joined)


def tile_labels(parts: Parts, *_: Any) -> Labels | None:
    """Attributes that all frames share, unknown where they differ; None where all do."""
    if any(part is None for part in parts):
        return None
    values = np.stack([part.labels for part in parts])
    agreed = np.where((values == values[0]).all(0), values[0], -1)
    return Labels(agreed) if (agreed >= 0).any() else None


def blend_boxes(parts: Parts, size_hw: tuple[int, int]) -> Boxes:
    """Boxes of both; where one frame has no labels its objects may be anywhere."""
    whole = (slice(0, size_hw[0]), slice(0, size_hw[1]))
    return together([silent(whole, size_hw) if part is None else part for part in parts])


def blend_mask(parts: Parts, size_hw: tuple[int, int]) -> Mask | None:
    """Pixels on which both frames agree."""
    if any(part is None for part in parts):
        return None
    first, second = (part.mask for part in parts)
    return replace(parts[0], mask=np.where(first == second, first, np.uint8(IGNORE)))


def blend_lane(parts: Parts, size_hw: tuple[int, int]) -> LaneMask:
    """Lines of both: foreground bytes are below 'not annotated', and that is below background."""
    nothing = np.full(size_hw, LANE_IGNORE, np.uint8)
    first, second = (nothing if part is None else part.lane for part in parts)
    return LaneMask(np.minimum(first, second))


def blend_to_nothing(parts: Parts, size_hw: tuple[int, int]) -> None:
    """Two surfaces seen through each other have no one depth."""


KINDS: Final[dict[type, Kind]] = {
    Boxes: Kind(tile_boxes, blend_boxes),
    Mask: Kind(tile_pixels, blend_mask),
    LaneMask: Kind(tile_pixels, blend_lane),
    Map: Kind(tile_pixels, blend_to_nothing),
    Distance: Kind(tile_pixels, blend_to_nothing),
    Normals: Kind(tile_pixels, blend_to_nothing),
    Labels: Kind(tile_labels, tile_labels),
}
