"""BDD100K in the layout of any of its releases; each frame has the labels that exist for it.

Cite: Yu et al., "BDD100K: A Diverse Driving Dataset for Heterogeneous Multitask Learning", 2020.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from perception.classes import ATTRIBUTES
from perception.classes import DETECTION as CLASSES
from perception.errors import UserError
from perception.files import read_bounded
from perception.images import read_image
from training.data.bdd import layouts, polygons
from training.data.bdd.cache import fingerprint, open_index
from training.data.bdd.index import MASK_TASKS, NO_SOURCE, POLYGONS
from training.data.bdd.masks import read_mask
from training.data.bdd.polygons import repeat
from training.data.bdd.table import IGNORE_FLAG, OCCLUDED_FLAG, TRUNCATED_FLAG
from training.data.dataset import Dataset, bad_frames, wanted_tasks
from training.data.files import tree_digest
from training.data.labels import Boxes, Label, Labels, LaneMask, Mask
from training.data.sample import Sample

DETECTION: Final = "det"
SCENE: Final = "scene"
TASKS: Final = (DETECTION, "drivable", "lane", SCENE, "semantic")
LANE_WIDTH_TRAIN: Final = 8
MAX_PROVENANCE: Final = 64 << 20
# Share of an image that is inpainted, above which it is counted under origin/painted.
PAINTED: Final = 0.01


class BDD100K(Dataset):
    """Frames of one split that have a label of at least one of the tasks.

    `tasks` are those of the wanted ones that have labels in the folder. With `decode_size_hw` (the
    size frames will be fitted into) JPEGs are decoded scaled; labels stay at native size. Lanes
    that exist only as lines are drawn `lane_width` pixels wide; without it 8 px for train, and for
    other splits as the official toolkit draws them (about 2.5 px).
    Without `strict`, frames with wrong labels raise when they are read, not when the folder is
    opened (for `SkipBad`). Raises UserError naming the file and the fix.
    """

    labels = TASKS
    options = ("labels",)
    root: Path

    def __init__(
        self,
        root: Path,
        split: str,
        tasks: Sequence[str] | None = None,
        decode_size_hw: tuple[int, int] | None = None,
        *,
        lane_width: int | None = None,
        strict: bool = True,
        cache_folder: Path | None = None,
        labels: Path | None = None,
    ) -> None:
        self.layout = layouts.find(Path(root), split, labels)
        self.root, self.split = self.layout.root, split
        self.decode_size_hw = decode_size_hw
        self.lane_width = lane_width or (LANE_WIDTH_TRAIN if split == "train" else None)
        self.cache_folder = cache_folder
        self.index = open_index(self.layout, cache_folder)
        self.bad = bad_frames(self.index.problems(), strict, self.root)
        labelled = self._labelled()
        some = {task: bool(has.any()) for task, has in labelled.items()}
        self.tasks = wanted_tasks(tasks, some, f"{self.root}: split {split!r}")
        wanted = [labelled[task] for task in self.tasks]
        having = np.any(wanted, axis=0) if wanted else np.ones(len(self.index.stems), bool)
        self.frames = np.flatnonzero(having).astype(np.int32)

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker maps the index from its cache instead of receiving a copy.
        return {name: value for name, value in self.__dict__.items() if name != "index"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.index = open_index(self.layout, self.cache_folder)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        frame = int(self.frames[index])
        if frame in self.bad:
            raise UserError(self.bad[frame])
        image, size_hw = read_image(self.index.image_path(frame, self.layout), self.decode_size_hw)
        labels: dict[str, Label] = {}
        for task in self.tasks:
            label = self._label(task, frame, size_hw)
            if label is not None:
                labels[task] = label
        return Sample(image, labels, self.index.stem(frame))

    def name(self, index: int) -> str:
        """The frame's name without suffix."""
        return self.index.stem(int(self.frames[index]))

    def image_path(self, index: int) -> Path:
        """The frame's file."""
        return self.index.image_path(int(self.frames[index]), self.layout)

    def attributes(self, index: int) -> dict[str, str]:
        """Weather, scene and time of day as BDD100K names them; "undefined" where not known."""
        codes = self.index.attributes[int(self.frames[index])]
        return {
            name: values[code] if code >= 0 else "undefined"
            for (name, values), code in zip(ATTRIBUTES.items(), codes.tolist(), strict=True)
        }

    def source(self, task: str, index: int) -> str:
        """Where a mask is from: "masks", "polygons", "marking", "teacher", ... or ""."""
        if task not in MASK_TASKS:
            return ""
        code = int(self.index.source[int(self.frames[index]), MASK_TASKS.index(task)])
        if code == NO_SOURCE:
            return ""
        return "polygons" if code == POLYGONS else self.layout.masks[code].name

    def provenance(self, index: int) -> tuple[str, float | None]:
        """("clean" or "restored", share of the image that is inpainted, where known)."""
        entry = self._provenance.get(self.name(index))
        entry = entry if isinstance(entry, dict) else {}
        painted = entry.get("painted_out")
        share = float(painted) if isinstance(painted, float) or painted in (0, 1) else None
        return str(entry.get("how", "clean"))[:100], share

    def origins(self) -> dict[str, np.ndarray]:
        """(len(self),) bool: original files, restored ones, and those of which more than PAINTED is
        known to be inpainted."""
        provenance = [self.provenance(index) for index in range(len(self))]
        return {
            "origin/clean": np.array([how == "clean" for how, _ in provenance], bool),
            "origin/restored": np.array([how == "restored" for how, _ in provenance], bool),
            "origin/painted": np.array([(share or 0.0) > PAINTED for _, share in provenance], bool),
        }

    def notes(self) -> list[str]:
        if not any((self.root / "labels").glob("provenance_*.json")):
            return []
        return [
            "these splits are not BDD100K's own: the scores cannot be compared with published ones"
        ]

    def fingerprint(self) -> str:
        files = tree_digest({self.root, *(source.path for source in self.layout.labels)})
        return f"{fingerprint(self.layout)} {files} {self.split} {self.tasks} {self.lane_width}"

    def label_columns(self) -> dict[str, np.ndarray]:
        columns = self.index.columns()
        for name in ("problem_text", "orphans"):  # with places
            del columns[name]
        return columns

    def has(self, task: str) -> np.ndarray:
        """(len(self),) bool: which frames have a label of the task."""
        return self._labelled()[task][self.frames]

    def presence(self) -> dict[str, np.ndarray]:
        """(len(self),) bool for each trait: a task, "det/train", "weather/foggy" (for sampling)."""
        found = {task: self.has(task) for task in self.tasks}
        if DETECTION in self.tasks:
            found |= {f"{DETECTION}/{name}": has for name, has in self._shown_classes().items()}
        if SCENE in self.tasks:
            for column, (group, values) in enumerate(ATTRIBUTES.items()):
                codes = self.index.attributes[self.frames, column]
                found |= {f"{group}/{value}": codes == code for code, value in enumerate(values)}
        return found

    def _shown_classes(self) -> dict[str, np.ndarray]:
        rows = self.index.box_rows[self.frames]
        frame, step = repeat(rows[:, 1])
        shown = np.zeros((len(self.frames), len(CLASSES)), bool)
        shown[frame, self.index.box_class[rows[frame, 0] + step]] = True
        return {name: shown[:, code] for code, name in enumerate(CLASSES)}

    @cached_property
    def _provenance(self) -> dict[str, dict[str, Any]]:
        name = f"labels/provenance_{self.split}.json"
        path = next(
            (p for p in (self.root / name, self.root / "bdd100k" / name) if p.is_file()), None
        )
        if path is None:
            return {}
        try:
            entries = json.loads(read_bounded(path, MAX_PROVENANCE))
        except (ValueError, RecursionError) as error:
            said = f"{error!s:.200}"
            raise UserError(f"{path}: not valid JSON ({said}); restore or delete it") from None
        return entries if isinstance(entries, dict) else {}

    def _labelled(self) -> dict[str, np.ndarray]:
        index = self.index
        has: dict[str, np.ndarray] = {
            DETECTION: index.has_boxes,
            SCENE: np.asarray((index.attributes >= 0).any(1)),
        }
        has |= {
            task: index.source[:, column] != NO_SOURCE for column, task in enumerate(MASK_TASKS)
        }
        return {task: has[task] for task in TASKS}

    def _label(self, task: str, frame: int, size_hw: tuple[int, int]) -> Label | None:
        if task == DETECTION:
            return self._boxes(frame, size_hw) if self.index.has_boxes[frame] else None
        if task == SCENE:
            codes = self.index.attributes[frame].astype(np.int64)
            return Labels(codes) if (codes >= 0).any() else None
        pixels = self._pixels(task, frame, size_hw)
        if pixels is None:
            return None
        return LaneMask(pixels) if task == "lane" else Mask(pixels)

    def _pixels(self, task: str, frame: int, size_hw: tuple[int, int]) -> np.ndarray | None:
        code = int(self.index.source[frame, MASK_TASKS.index(task)])
        if code == NO_SOURCE:
            return None
        if code == POLYGONS:
            return polygons.draw(self.index, task, frame, size_hw, self.lane_width)
        mask = self.layout.masks[code]
        path = mask.folder / (self.index.stem(frame) + mask.suffix)
        return read_mask(path, mask.encoding, size_hw)

    def _boxes(self, frame: int, size_hw: tuple[int, int]) -> Boxes:
        xyxy, outside = self.index.boxes(frame, size_hw)
        if outside:
            raise UserError(f"{self.index.image_path(frame, self.layout)}: {outside[0]}")
        start, count = self.index.box_rows[frame]
        rows = slice(start, start + count)
        flags = self.index.box_flags[rows]
        return Boxes(
            xyxy=np.clip(xyxy, 0, np.array(size_hw[::-1] * 2, np.float32)),
            classes=self.index.box_class[rows].astype(np.int64),
            size_hw=size_hw,
            ignore=flags & IGNORE_FLAG > 0,
            occluded=flags & OCCLUDED_FLAG > 0,
            truncated=flags & TRUNCATED_FLAG > 0,
        )
