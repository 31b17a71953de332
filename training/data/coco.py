"""COCO detection: its own 80 classes, and those of them that BDD100K knows as `det`.

`{train,val}2017/` and `annotations/instances_{train,val}2017.json` (https://cocodataset.org).
Cite: Lin et al., ECCV 2014.
"""

from pathlib import Path
from typing import Final

from perception.classes import COCO as CLASSES
from perception.classes import DETECTION
from perception.errors import NoFramesError
from training.data.builder import Builder
from training.data.classes import ONLY, ClassLists, Groups
from training.data.dataset import Dataset
from training.data.formats.coco_json import CocoJSON, categories
from training.data.images import Images

# COCO annotates riders as persons, and of the traffic signs only stop signs, so as `det` it has too
# many pedestrians and too few traffic signs.
AS_BDD100K: Final = {"person": "pedestrian", "stop sign": "traffic sign"}


class COCO(CocoJSON):
    """All images of a split, also those without objects; crowds are ignore regions."""

    labels = ("det_coco", "det")
    shapes = False

    @classmethod
    def reader(cls, root: Path, labels: Path | None, classes: ClassLists | None) -> type[Dataset]:
        """This class for COCO itself, else the reader of its format with other categories."""
        own = labels is not None or not _is_coco(Path(root))
        return CocoJSON if own or (classes is not None and classes.is_own("det")) else cls

    def identity(self) -> str:
        return f"{super().identity()} {self.split}"

    def label_files(self) -> list[Path]:
        found = sorted((self.root / "annotations").glob(f"instances_{self.split}*.json"))
        if not found:
            raise NoFramesError(
                f"{self.root}: no frames for split {self.split!r}; expected "
                f"annotations/instances_{self.split}2017.json and {self.split}2017/"
            )
        return found[:1]

    def own_lists(self) -> ClassLists:
        groups: dict[str, Groups] = {"det_coco": {ONLY: CLASSES}, "det": {ONLY: DETECTION}}
        return ClassLists(groups, {"det": AS_BDD100K})

    def unlisted(self, builder: Builder, images: Images) -> None:
        """The images of the other splits are in other files."""


def _is_coco(root: Path) -> bool:
    """Whether the categories are COCO's own: all 80, or some of them in COCO's own layout."""
    path = next(iter(sorted((root / "annotations").glob("instances_*.json"))), None)
    if path is None:
        return not CocoJSON.recognises(root)  # a wrong folder: COCO's error says what it expects
    listed = categories(path)
    if listed is None:
        return True
    names = set(listed.values())
    layout = any((root / f"{split}2017").is_dir() for split in ("train", "val"))
    return names <= set(CLASSES) and (layout or len(names) == len(CLASSES))
