"""ImageNet-1k as folders of classes: `{train,val}/n01440764/*.JPEG`.

The validation images must be in class folders too (https://image-net.org).
Cite: Russakovsky et al., IJCV 2015.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from timm.data import ImageNetInfo

from perception.errors import UserError
from perception.images import read_image
from training.data.folder import FolderDataset, images_in
from training.data.labels import Labels
from training.data.sample import Sample

TASK: Final = "imagenet"
SYNSETS: Final = tuple(ImageNetInfo("imagenet-1k").label_names())


class ImageNet(FolderDataset):
    """One class per image; the folder may hold a part of the classes."""

    labels = (TASK,)

    @classmethod
    def recognises(cls, root: Path) -> bool:
        splits = (root / "train", root / "val")
        return any(
            re.fullmatch(r"n\d{8}", name)
            for split in splits
            if split.is_dir()
            for name in os.listdir(split)
        )

    def find(self) -> Sequence[Path]:
        folder = self.root / self.split
        classes = sorted(path.name for path in folder.glob("n*") if path.is_dir())
        for name in classes:
            if name not in SYNSETS:
                raise UserError(f"{folder / name}: not one of the 1000 classes of ImageNet-1k")
        return [path for name in classes for path in images_in(folder / name)]

    def expected(self) -> str:
        return f"expected {self.split}/n01440764/*.JPEG"

    def name_of(self, frame: Path) -> str:
        return frame.name

    def label_columns(self) -> dict[str, np.ndarray]:
        return {TASK: np.array([SYNSETS.index(frame.parent.name) for frame in self.frames])}

    def read(self, frame: Path) -> Sample:
        image, _ = read_image(frame, self.decode_size_hw)
        return Sample(
            image, {TASK: Labels(np.array([SYNSETS.index(frame.parent.name)]))}, frame.name
        )
