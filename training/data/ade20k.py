"""ADE20K scene parsing: 150 classes.

`images/{training,validation}` and `annotations/{training,validation}` of ADEChallengeData2016
(http://sceneparsing.csail.mit.edu). Cite: Zhou et al., CVPR 2017.
"""

from pathlib import Path
from typing import ClassVar, Final

from training.data.pairs import Pairs, deeper

TASK: Final = "semantic_ade20k"


class ADE20K(Pairs):
    """Scenes of all kinds; label files count classes from 1, 0 is not annotated."""

    format = "ADE20K"
    labels = (TASK,)
    frames_at = "images/{split}/{stem}.*"
    labels_at: ClassVar = {TASK: "annotations/{split}/{stem}.png"}
    encodings: ClassVar = {TASK: "ade20k"}

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
