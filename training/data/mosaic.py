"""Training images made of several frames: mosaic (four frames) and mixup (two).

Mosaic does not move or scale pixels: each of the four frames fills its own corner of the image. So
the road stays at the bottom and the sky at the top, and objects, many of which are small in
BDD100K, keep their size. This is CutMix (Yun et al., arXiv 1905.04899) with four frames rather than
YOLOv4's mosaic (arXiv 2004.10934).

Frames with labels of different tasks can be combined. Where a frame lacks a label, its pixels are
'not annotated', and for boxes its area is an ignored region.
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
    Number,
    Pixels,
)
from training.data.sample import Sample

# Range of the point where the four frames meet, as shares of the image.
MIDDLE: Final = (0.25, 0.75)
# As in YOLOv5: both frames of a mixup have about the same weight.
MIXUP_BETA: Final = 32.0

Region = tuple[slice, slice]  # rows, columns
Parts = Sequence[Any]  # labels of one kind, None where a frame has none


@dataclass(frozen=True)
class Mixing:
    """How often a training frame becomes a mosaic, and how often it is then blended with another.

    After the first `epochs` epochs frames are used as they are.
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
    """Mosaic and mixup of a run of `epochs`, None where both are off."""
    if not args.mosaic and not args.mixup:
        return None
    return Mixing(args.mosaic, args.mixup, math.ceil(epochs * (1 - args.close_mosaic) - 1e-9))


def mosaic(samples: Sequence[Sample], crossing_yx: tuple[float, float]) -> Sample:
    """The first frame's top left, the second's top right, then bottom left and bottom right.

    `crossing_yx` is where they meet, as shares of the image; all frames have the same size.
    """
    regions = corners(samples[0].image.shape[:2], crossing_yx)
    image = np.empty_like(samples[0].image)
    for sample, region in zip(samples, regions, strict=True):
        image[region] = sample.image[region]
    labels = {}
    for task in dict.fromkeys(task for sample in samples for task in sample.labels):
        parts = [sample.labels.get(task) for sample in samples]
        labels[task] = kind_of(parts).tile(parts, regions, image.shape[:2])
    return Sample(image, without_none(labels), "+".join(sample.name for sample in samples))


def mixup(first: Sample, second: Sample, share: float) -> Sample:
    """`share` of the first image plus the rest of the second (arXiv 1710.09412).

    Keeps the boxes and lane lines of both, and masks and attributes where both frames agree; depth
    and normals are dropped.
    """
    image = cv2.addWeighted(first.image, share, second.image, 1 - share, 0)
    labels = {}
    for task in dict.fromkeys((*first.labels, *second.labels)):
        parts = [first.labels.get(task), second.labels.get(task)]
        labels[task] = kind_of(parts).blend(parts, image.shape[:2])
    return Sample(image, without_none(labels), f"{first.name}+{second.name}")


def corners(size_hw: tuple[int, int], crossing_yx: tuple[float, float]) -> list[Region]:
    """Top left, top right, bottom left, bottom right."""
    y, x = (round(share * side) for share, side in zip(crossing_yx, size_hw, strict=True))
    rows, columns = (slice(0, y), slice(y, size_hw[0])), (slice(0, x), slice(x, size_hw[1]))
    return [(row, column) for row in rows for column in columns]


def without_none(labels: dict[str, Label | None]) -> dict[str, Label]:
    """The labels that are left."""
    return {task: label for task, label in labels.items() if label is not None}


@dataclass(frozen=True)
class Kind:
    """How labels of a kind are combined: side by side, and on top of each other."""

    tile: Callable[[Parts, Sequence[Region], tuple[int, int]], Label | None]
    blend: Callable[[Parts, tuple[int, int]], Label | None]


def kind_of(parts: Parts) -> Kind:
    """The entry of KINDS for the first label that is not None."""
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
    """Each frame's boxes, cut to its region."""
    pieces = [
        unannotated(region, size_hw) if part is None else part.cut(xyxy_of(region))
        for part, region in zip(parts, regions, strict=True)
    ]
    return joined(pieces)


def unannotated(region: Region, size_hw: tuple[int, int]) -> Boxes:
    """One region in which nothing is annotated: an ignored box without a class."""
    return Boxes(np.array([xyxy_of(region)]), np.array([-1]), size_hw, ignore=np.array([True]))


def xyxy_of(region: Region) -> tuple[int, int, int, int]:
    """The corners of a region."""
    rows, columns = region
    return columns.start, rows.start, columns.stop, rows.stop


def joined(pieces: Sequence[Boxes]) -> Boxes:
    """All boxes, as those of one frame."""
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
    """Boxes of both; a frame without labels makes the whole image an ignored region."""
    whole = (slice(0, size_hw[0]), slice(0, size_hw[1]))
    return joined([unannotated(whole, size_hw) if part is None else part for part in parts])


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


def left_out(parts: Parts, *_: Any) -> None:
    """No label: a blend of two surfaces has no depth, and two frames have no one number."""


KINDS: Final[dict[type, Kind]] = {
    Boxes: Kind(tile_boxes, blend_boxes),
    Mask: Kind(tile_pixels, blend_mask),
    LaneMask: Kind(tile_pixels, blend_lane),
    Map: Kind(tile_pixels, left_out),
    Distance: Kind(tile_pixels, left_out),
    Normals: Kind(tile_pixels, left_out),
    Labels: Kind(tile_labels, tile_labels),
    Number: Kind(left_out, left_out),
}
