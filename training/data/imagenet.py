"""ImageNet-1k as folders of classes: `{train,val}/n01440764/*.JPEG`.

The validation images must be in class folders too (https://image-net.org).
Cite: Russakovsky et al., IJCV 2015.
"""

import os
import re
from pathlib import Path
from typing import Final

import numpy as np
from timm.data import ImageNetInfo

from training.data.annotated import Annotated
from training.data.builder import Builder
from training.data.classes import ClassLists
from training.data.files import split_folder
from training.data.images import Images
from training.data.labels import Label, Labels

TASK: Final = "imagenet"
SYNSETS: Final = {name: n for n, name in enumerate(ImageNetInfo("imagenet-1k").label_names())}


class ImageNet(Annotated):
    """One class per image; the folder may hold a part of the classes."""

    format = "ImageNet"
    labels = (TASK,)

    @classmethod
    def recognises(cls, root: Path) -> bool:
        splits = [root / split for split in ("train", "val") if (root / split).is_dir()]
        return any(re.fullmatch(r"n\d{8}", name) for split in splits for name in os.listdir(split))

    def expected(self) -> str:
        return f"{self.split}/n01440764/*.JPEG"

    def read(self, builder: Builder, images: Images) -> None:
        for image in (*images.paths, *images.again):
            folder = image.rpartition("/")[0]
            name = folder.rpartition("/")[2]
            if name in SYNSETS:
                builder.frame(image, split_folder(image))
            elif re.fullmatch(r"n\d{8}", name):
                place = self.root / folder
                text = f"{place}: not one of the 1000 classes of ImageNet-1k"
                builder.split_problem(split_folder(image), text)

    def frame_name(self, image: str) -> str:
        """With the class: the archive's names begin with it (n01440764_10026), others need not."""
        path = Path(image)
        known = path.stem.startswith(path.parent.name)
        return path.stem if known else f"{path.parent.name}_{path.stem}"

    def own_lists(self) -> ClassLists:
        return ClassLists({})

    def labelled(self, task: str) -> np.ndarray:
        return np.full(len(self.table.images), task == TASK)

    def label(self, task: str, frame: int, size_hw: tuple[int, int]) -> Label:
        name = self.table.image(frame).split("/")[-2]
        return Labels(np.array([SYNSETS[name]]))
