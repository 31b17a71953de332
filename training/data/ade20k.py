"""ADE20K scene parsing: 150 classes.

`images/{training,validation}` and `annotations/{training,validation}` of ADEChallengeData2016
(http://sceneparsing.csail.mit.edu). Cite: Zhou et al., CVPR 2017.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from perception.classes import ADE20K as CLASSES
from perception.classes import IGNORE
from perception.errors import UserError
from perception.images import read_image, read_pixels
from training.data.folder import FolderDataset, deeper, images_in
from training.data.labels import Mask
from training.data.sample import Sample

SPLITS: Final = {"train": "training", "val": "validation"}
TASK: Final = "semantic_ade20k"


class ADE20K(FolderDataset):
    """Scenes of all kinds; label files count classes from 1, 0 is not annotated."""

    labels = (TASK,)

    @classmethod
    def place(cls, root: Path) -> Path:
        return deeper(root, "ADEChallengeData2016")

    @classmethod
    def recognises(cls, root: Path) -> bool:
        folder = cls.place(root) / "annotations"
        return any((folder / split).is_dir() for split in SPLITS.values())

    def find(self) -> Sequence[Path]:
        folder = SPLITS.get(self.split, self.split)
        return [path for path in images_in(self.root / "images" / folder) if self.found(path)]

    def expected(self) -> str:
        folder = SPLITS.get(self.split, self.split)
        return f"expected images/{folder}/NAME.jpg and annotations/{folder}/NAME.png"

    def label_files(self, frame: Path) -> dict[str, Path]:
        return {TASK: self.root / "annotations" / frame.parent.name / f"{frame.stem}.png"}

    def read(self, frame: Path) -> Sample:
        image, size_hw = read_image(frame, self.decode_size_hw)
        path = self.label_files(frame)[TASK]
        stored = read_pixels(path, size_hw)
        if stored.ndim != 2 or stored.dtype != np.uint8 or stored.max(initial=0) > len(CLASSES):
            raise UserError(f"{path}: not class numbers 0..{len(CLASSES)}; restore the file")
        mask = np.where(stored > 0, stored - 1, IGNORE).astype(np.uint8)
        return Sample(image, {TASK: Mask(mask)}, frame.stem)
