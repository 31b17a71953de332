"""ADE20K scene parsing: 150 classes.

`images/{training,validation}` and `annotations/{training,validation}` of ADEChallengeData2016
(http://sceneparsing.csail.mit.edu). Cite: Zhou et al., CVPR 2017.
"""

from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from perception.classes import ADE20K as CLASSES
from perception.classes import IGNORE
from perception.errors import UserError
from perception.images import read_pixels
from training.data.labels import Label, Mask
from training.data.pairs import Pairs, deeper

TASK: Final = "semantic_ade20k"


class ADE20K(Pairs):
    """Scenes of all kinds; label files count classes from 1, 0 is not annotated."""

    format = "ADE20K"
    labels = (TASK,)
    frames_at = "images/{split}/{stem}.*"
    labels_at: ClassVar = {TASK: "annotations/{split}/{stem}.png"}

    @classmethod
    def place(cls, root: Path) -> Path:
        return deeper(root, "ADEChallengeData2016")

    @classmethod
    def recognises(cls, root: Path) -> bool:
        folder = cls.place(root) / "annotations"
        return any((folder / split).is_dir() for split in ("training", "validation"))

    def expected(self) -> str:
        part = {"train": "training", "val": "validation"}.get(self.split, self.split)
        return f"images/{part}/NAME.jpg, annotations/{part}/NAME.png"

    def pixels(self, task: str, path: Path, size_hw: tuple[int, int]) -> Label:
        stored = read_pixels(path, size_hw)
        if stored.ndim != 2 or stored.dtype != np.uint8 or stored.max(initial=0) > len(CLASSES):
            raise UserError(f"{path}: not class numbers 0..{len(CLASSES)}; restore the file")
        return Mask(np.where(stored > 0, stored - 1, IGNORE).astype(np.uint8))
