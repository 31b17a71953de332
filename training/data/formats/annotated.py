"""The dataset behind every annotation format: a reader fills a table, this makes samples of it.

Boxes label `det`; areas `drivable`, or `semantic` where the class lists have that; lines `lane`;
masks the task that their palette is for; frame attributes `scene`.
"""

import bisect
import csv
import os
import sys
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np

from perception.classes import IGNORE as IGNORE_PIXEL
from perception.classes import (
    LANE_BACKGROUND,
    LANE_CATEGORIES,
    LANE_CATEGORY_UNKNOWN,
    LANE_TYPE_UNKNOWN,
)
from perception.errors import NoFramesError, UserError
from perception.images import IMAGE_SUFFIXES
from training.data.bdd.images import read_image
from training.data.bdd.polygons import Shape, outline, paint, stroke
from training.data.classes import (
    BACKGROUND,
    IGNORE,
    LANE_PARTS,
    OFFICIAL,
    ONLY,
    UNKNOWN,
    ClassLists,
    Groups,
)
from training.data.dataset import Dataset
from training.data.formats.masks import read_palette_mask
from training.data.formats.table import (
    IGNORE_FLAG,
    OCCLUDED_FLAG,
    OUTSIDE,
    TOLERANCE,
    TRUNCATED_FLAG,
    Builder,
    Table,
    cached_table,
)
from training.data.labels import Boxes, Label, Labels, LaneMask, Mask
from training.data.sample import Sample

VAL_SHARE: Final = 10  # the last tenth of the frames, where a format has no splits
LANE_WIDTH_TRAIN: Final = 8
DEEPEST: Final = 5  # folder levels that are searched for images
ATTRIBUTE_FILES: Final = ("attributes.csv", "labels/attributes.csv")
ALIASES: Final = {"valid": "val", "validation": "val", "training": "train", "testing": "test"}


class Annotated(Dataset):
    """One split of a folder in an annotation format. A subclass is a format.

    `classes` are the lists of the run; without them they are the folder's own: BDD100K's where it
    uses no other names. Without splits the last tenth of the frames, by name, is `val`.
    """

    labels = ("det", "drivable", "lane", "scene", "semantic")
    format: ClassVar[str]
    """What the format is called in messages."""
    relative: ClassVar[bool] = False
    """Whether boxes and outlines are in fractions of the frame."""

    def __init__(
        self,
        root: Path,
        split: str,
        tasks: Sequence[str] | None = None,
        decode_size_hw: tuple[int, int] | None = None,
        *,
        strict: bool = True,
        labels: Path | None = None,
        classes: ClassLists | None = None,
    ) -> None:
        self.root: Path = Path(root)
        if not self.root.exists():
            raise UserError(f"{self.root}: no such folder")
        self.label_root = labels or self.root
        self.split, self.decode_size_hw, self.given = split, decode_size_hw, classes
        sources = [*self.sources(self.label_root), *_attribute_files(self.label_root)]
        name = f"{type(self).__name__} {self.label_root.resolve()}"
        self.table, self.key = cached_table(name, self.root, sources, self._build)
        self.lists = self._lists()
        self.classes = {task: dict(groups) for task, groups in self.lists.groups.items()}
        self._tables = self._class_tables()
        self.frames = self._frames_of(split)
        self.bad = self._problems(strict)
        labelled = {task: self._labelled(task) for task in self.lists.groups}
        wanted = self.labels if tasks is None else tasks
        self.tasks = tuple(task for task in wanted if task in labelled and labelled[task].any())
        if tasks and not self.tasks:
            has = ", ".join(task for task, frames in labelled.items() if frames.any())
            raise UserError(
                f"{self.root}: split {split!r} has no labels for {', '.join(tasks)}; it has "
                + (has or "none")
            )
        self._has = {task: labelled[task][self.frames] for task in self.tasks}
        if self.tasks:
            keep = np.any(list(self._has.values()), axis=0)
            self.frames = self.frames[keep]
            self._has = {task: has[keep] for task, has in self._has.items()}
        self._check_classes()

    @classmethod
    def open(
        cls,
        root: Path,
        split: str,
        tasks: Sequence[str] | None = None,
        size_hw: tuple[int, int] | None = None,
        *,
        exact: bool = False,
        strict: bool = True,
        labels: Path | None = None,
        classes: ClassLists | None = None,
    ) -> Self:
        decode = None if exact else size_hw
        return cls(root, split, tasks, decode, strict=strict, labels=labels, classes=classes)

    # What a format implements -----------------------------------------------------------------

    @abstractmethod
    def read(self, builder: Builder, images: "Images") -> None:
        """Adds every frame of the folder, all splits. Raises UserError for an unusable folder."""

    @classmethod
    @abstractmethod
    def sources(cls, root: Path) -> list[Path]:
        """Label files and folders: when one changes, the folder is read again."""

    # What a dataset is asked ------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        frame = int(self.frames[index])
        if frame in self.bad:
            raise UserError(self.bad[frame])
        image, size_hw = read_image(self._path(frame), self.decode_size_hw)
        stated = tuple(self.table.size_hw[frame].tolist())
        if stated != size_hw and all(stated):
            raise UserError(
                f"{self._path(frame)}: {size_hw[1]}x{size_hw[0]}, but its label says "
                f"{stated[1]}x{stated[0]}; restore the pair"
            )
        labels: dict[str, Label] = {}
        for task in self.tasks:
            if self._has[task][index]:
                labels[task] = self._label(task, frame, size_hw)
        return Sample(image, labels, self.name(index))

    def name(self, index: int) -> str:
        return Path(self.table.texts["images"][int(self.frames[index])]).stem

    def presence(self) -> dict[str, np.ndarray]:
        found = dict(self._has)
        if "det" in self.tasks:
            shown = self._shown_classes()
            names = self.lists.names("det")
            found |= {f"det/{name}": shown[:, number] for number, name in enumerate(names)}
        if "scene" in self.tasks:
            for column, (group, values) in enumerate(self.table.texts["groups"].items()):
                codes = self.table.attributes[self.frames, column]
                found |= {f"{group}/{value}": codes == code for code, value in enumerate(values)}
        return found

    def problems(self) -> list[str]:
        mine = set(self.frames.tolist())
        return [text for frame, text in self.table.texts["problems"] if frame < 0 or frame in mine]

    def fingerprint(self) -> str:
        return f"{self.key} {self.split} {self.tasks} {self.classes} {self.lists.ignore}"

    def annotated_classes(self, task: str) -> tuple[str, ...] | None:
        names = self.lists.groups.get(task, {}).get(ONLY)
        if names is None or task in self.table.texts["masks"]:
            return None
        found = set(self._tables[task].tolist())
        annotated = tuple(name for n, name in enumerate(names) if n in found or name == BACKGROUND)
        return None if annotated == names else annotated

    # Building ---------------------------------------------------------------------------------

    def _build(self) -> Table:
        builder = Builder(self.root)
        self.read(builder, Images(self.root))
        if not builder.images:
            raise NoFramesError(f"{self.root}: no frames found in {self.format} format")
        _check_duplicates(builder)
        for path in _attribute_files(self.label_root):
            _read_attributes(path, builder)
        return builder.table()

    def _lists(self) -> ClassLists:
        """The lists of the run, with the folder's own for tasks that these do not have."""
        table, given = self.table, self.given
        own: dict[str, Groups] = {}
        official: set[str] = set()
        names = np.array(table.texts["names"], object)
        used = {
            "det": names[np.unique(table.box_class)].tolist() if len(table.box_class) else [],
            "drivable": names[np.unique(table.shape_class[table.shape_closed])].tolist(),
            "lane": names[np.unique(table.shape_class[~table.shape_closed])].tolist(),
        }
        if table.boxes.any():
            # Every listed name may be a box's, also where no frame shows one.
            areas = {*used["drivable"], *used["lane"]} - set(used["det"])
            used["det"] = [name for name in names.tolist() if name not in areas]
        for task, found in used.items():
            if not found:
                continue
            known = ClassLists.official([task])
            if all(_official_index(known, task, name) != UNKNOWN for name in found):
                official.add(task)
            elif task == "lane":
                own[task] = dict(LANE_PARTS) | {"categories": tuple(found)}
            else:
                extra = (BACKGROUND,) if task == "drivable" and BACKGROUND not in found else ()
                own[task] = {ONLY: (*found, *extra)}
        for task, palette in table.texts["masks"].items():
            if task == "lane":
                own[task] = dict(LANE_PARTS) | {"categories": tuple(palette["names"])}
                if set(palette["names"]) <= {*LANE_CATEGORIES, "lane", BACKGROUND}:
                    own[task] = dict(LANE_PARTS)
            else:
                own[task] = {ONLY: tuple(palette["names"])}
        if groups := table.texts["groups"]:
            scene = OFFICIAL["scene"]
            if all(set(v) <= set(scene.get(g, ())) for g, v in groups.items()):
                official.add("scene")
            else:
                own["scene"] = {group: tuple(sorted(values)) for group, values in groups.items()}
        default = ClassLists.official(official)
        lists = ClassLists({**default.groups, **own}, default.aliases, uncertain=default.uncertain)
        if given is None:
            return lists
        with_background = {
            task: {ONLY: (*groups[ONLY], BACKGROUND)}
            if task == "drivable" and BACKGROUND not in groups[ONLY]
            else groups
            for task, groups in given.groups.items()
        }
        taken = {t: g for t, g in lists.groups.items() if t not in with_background}
        if "semantic" in given and "drivable" not in given:
            taken.pop("drivable", None)
        aliases = {**lists.aliases, **given.aliases}
        uncertain = frozenset() if "det" in given else lists.uncertain
        groups = {**taken, **with_background}
        return ClassLists(groups, aliases, given.ignore, uncertain, given.file, given.strict)

    def _class_tables(self) -> dict[str, np.ndarray]:
        names = self.table.texts["names"]
        return {
            task: np.array([_official_index(self.lists, task, name) for name in names], np.int64)
            for task in self.lists.groups
            if task != "scene"
        }

    def _check_classes(self) -> None:
        """Raises UserError for a name in labels that no task has a class for."""
        wanted = [task for task in self.tasks if task in self._tables]
        boxes = np.bincount(self.table.box_class, minlength=len(self.table.texts["names"]))
        shapes = np.bincount(self.table.shape_class, minlength=len(self.table.texts["names"]))
        for number, name in enumerate(self.table.texts["names"]):
            counted = (boxes[number] if "det" in wanted else 0) + (
                shapes[number] if {"drivable", "lane", "semantic"} & set(wanted) else 0
            )
            known = any(table[number] != UNKNOWN for table in self._tables.values())
            if counted and not known and self.lists.strict:
                where = self.table.texts["first"].get(name, str(self.label_root))
                raise self.lists.unknown(name, where, int(counted))

    def _frames_of(self, split: str) -> np.ndarray:
        """Numbers of the split's frames, ordered by name."""
        splits = [ALIASES.get(name, name) for name in self.table.texts["splits"]]
        images = self.table.texts["images"]
        order = np.array(sorted(range(len(images)), key=images.__getitem__), np.int64)
        if splits == [""]:
            cut = len(order) - max(1, len(order) // VAL_SHARE)
            parts = {"train": order[:cut], "val": order[cut:]}
        else:
            code = self.table.split[order]
            parts = {
                name: order[np.isin(code, [n for n, other in enumerate(splits) if other == name])]
                for name in dict.fromkeys(splits)
            }
        if not len(parts.get(split, ())):
            others = ", ".join(name for name, frames in parts.items() if len(frames))
            raise NoFramesError(f"{self.root}: no frames for split {split!r}; it has {others}")
        return parts[split]

    def _problems(self, strict: bool) -> dict[int, str]:
        mine = set(self.frames.tolist())
        problems = [(f, t) for f, t in self.table.texts["problems"] if f < 0 or f in mine]
        for frame, text in problems:
            if strict or frame < 0:
                more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
                raise UserError(f"{text}{more}; check-bdd {self.root} lists them all")
        return dict(reversed(problems))

    def _labelled(self, task: str) -> np.ndarray:
        """(N,) bool over all frames of the table."""
        table = self.table
        if task in table.texts["masks"]:
            files = table.texts["masks"][task]["files"]
            return np.array([bool(files[frame]) for frame in range(len(table.split))], bool)
        if task == "det":
            return table.boxes
        if task == "scene":
            return np.asarray((table.attributes >= 0).any(1))
        closed = task != "lane"
        usable = self._tables[task] != UNKNOWN
        any_shape = bool((table.shape_closed == closed)[usable[table.shape_class]].any())
        return table.shapes & any_shape

    def _shown_classes(self) -> np.ndarray:
        starts, classes = self.table.box_start, self._tables["det"][self.table.box_class]
        frame = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        shown = np.zeros((len(starts) - 1, len(self.lists.names("det"))), bool)
        shown[frame[classes >= 0], classes[classes >= 0]] = True
        return shown[self.frames]

    # Labels -----------------------------------------------------------------------------------

    def _path(self, frame: int) -> Path:
        return self.root / self.table.texts["images"][frame]

    def _label(self, task: str, frame: int, size_hw: tuple[int, int]) -> Label:
        if task in self.table.texts["masks"]:
            return self._mask(task, frame, size_hw)
        if task == "det":
            return self._boxes(frame, size_hw)
        if task == "scene":
            return self._attributes(frame)
        return self._lanes(frame, size_hw) if task == "lane" else self._areas(task, frame, size_hw)

    def _boxes(self, frame: int, size_hw: tuple[int, int]) -> Boxes:
        table = self.table
        rows = slice(*table.box_start[frame : frame + 2].tolist())
        xyxy, limit = table.box_xyxy[rows].copy(), np.array(size_hw[::-1] * 2, np.float32)
        if self.relative:
            xyxy *= limit
        if (xyxy < -TOLERANCE).any() or (xyxy > limit + TOLERANCE).any():
            raise UserError(f"{self._path(frame)}: a box {OUTSIDE} of {size_hw[1]}x{size_hw[0]}")
        classes, flags = self._tables["det"][table.box_class[rows]], table.box_flags[rows]
        ignored = (classes == IGNORE) | (flags & IGNORE_FLAG > 0)
        names = np.array(table.texts["names"], object)[table.box_class[rows]]
        if self.lists.uncertain:
            ignored |= np.isin(names.astype(str), list(self.lists.uncertain))
        keep = classes != UNKNOWN
        return Boxes(
            np.clip(xyxy, 0, limit)[keep],
            np.maximum(classes, -1)[keep],
            size_hw,
            ignore=ignored[keep],
            occluded=(flags & OCCLUDED_FLAG > 0)[keep],
            truncated=(flags & TRUNCATED_FLAG > 0)[keep],
        )

    def _shapes(self, task: str, frame: int, size_hw: tuple[int, int], closed: bool) -> list[Shape]:
        table = self.table
        scale = np.array(size_hw[::-1], np.float64) if self.relative else np.ones(2)
        found: list[Shape] = []
        for row in range(*table.shape_start[frame : frame + 2].tolist()):
            value = int(self._tables[task][table.shape_class[row]])
            if table.shape_closed[row] == closed and value != UNKNOWN:
                rows = slice(*table.vertex_start[row : row + 2].tolist())
                vertices = table.vertex_xy[rows].astype(np.float64) * scale
                if task == "lane":
                    known = value if value >= 0 else LANE_CATEGORY_UNKNOWN
                    value = known | int(table.shape_lane[row])
                found.append((value, vertices, np.zeros(len(vertices), bool)))
        return found

    def _areas(self, task: str, frame: int, size_hw: tuple[int, int]) -> Mask:
        names = self.lists.names(task)
        empty = names.index(BACKGROUND) if BACKGROUND in names else IGNORE_PIXEL
        shapes = self._shapes(task, frame, size_hw, closed=True)
        # Ignored areas are drawn as a value of their own: paint() takes values below 254.
        drawn = [(253 if value < 0 else value, *rest) for value, *rest in shapes]
        mask = paint(drawn, size_hw, empty, filled=True)  # type: ignore[arg-type]
        return Mask(np.where(mask == 253, np.uint8(IGNORE_PIXEL), mask))

    def _lanes(self, frame: int, size_hw: tuple[int, int]) -> LaneMask:
        lines = self._shapes("lane", frame, size_hw, closed=False)
        if self.split != "train":
            return LaneMask(paint(lines, size_hw, LANE_BACKGROUND, filled=False))
        mask = np.full(size_hw, LANE_BACKGROUND, np.uint8)
        for value, vertices, curve in lines:
            stroke(mask, outline(vertices, curve), float(LANE_WIDTH_TRAIN), value)
        return LaneMask(mask)

    def _attributes(self, frame: int) -> Labels:
        groups = self.table.texts["groups"]
        codes = []
        for group, names in self.lists.groups["scene"].items():
            code = -1
            if group in groups:
                value = int(self.table.attributes[frame, list(groups).index(group)])
                name = groups[group][value] if value >= 0 else ""
                code = names.index(name) if name in names else -1
            codes.append(code)
        return Labels(np.array(codes, np.int64))

    def _mask(self, task: str, frame: int, size_hw: tuple[int, int]) -> Label:
        palette = self.table.texts["masks"][task]
        path = self.label_root / palette["files"][frame]
        indices = read_palette_mask(path, palette, size_hw)
        if task == "lane":
            return LaneMask(_lane_bytes(indices, palette["names"], self.lists))
        table = np.full(256, IGNORE_PIXEL, np.uint8)
        for number, name in enumerate(palette["names"]):
            value = self.lists.index(task, name)
            table[number] = value if value >= 0 else IGNORE_PIXEL
        return Mask(table[indices])


def _official_index(lists: ClassLists, task: str, name: str) -> int:
    """As `lists.index`; a lane's category may be written `lane/single white`, `lane` is any."""
    if task != "lane":
        return lists.index(task, name)
    name = name.removeprefix("lane/")
    found = lists.index(task, name, "categories")
    return IGNORE if found == UNKNOWN and name == "lane" else found


def _lane_bytes(indices: np.ndarray, names: Sequence[str], lists: ClassLists) -> np.ndarray:
    """Lane bytes of a palette's class numbers; style and direction are not annotated."""
    table = np.full(256, LANE_BACKGROUND, np.uint8)
    for number, name in enumerate(names):
        value = _official_index(lists, "lane", name)
        if name != BACKGROUND:
            known = value if value >= 0 else LANE_CATEGORY_UNKNOWN
            table[number] = known | LANE_TYPE_UNKNOWN
    return table[indices]


class Images:
    """The images under a folder, by path and by name."""

    def __init__(self, root: Path) -> None:
        self.root = root if root.is_dir() else root.parent
        self.paths: list[str] = []
        self._by_name: dict[str, list[str]] = defaultdict(list)
        base = len(self.root.parts)
        for folder, folders, files in os.walk(self.root):
            if len(Path(folder).parts) - base >= DEEPEST:
                folders.clear()
            folders.sort()
            inside = os.path.relpath(folder, self.root)
            prefix = "" if inside == "." else f"{inside}/"
            for name in sorted(files):
                stem, dot, suffix = name.rpartition(".")
                if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES and not name.startswith("."):
                    self.paths.append(prefix + name)
                    self._by_name[name].append(prefix + name)
                    self._by_name[stem].append(prefix + name)
        self.paths.sort()

    def any_below(self, folder: str) -> bool:
        """Whether an image lies below a folder, written with a trailing slash."""
        at = bisect.bisect_left(self.paths, folder)
        return at < len(self.paths) and self.paths[at].startswith(folder)

    def find(self, name: str, where: str, near: str = "") -> str | None:
        """The path, relative to the root, of an image that a label file names; None: there is none.

        Raises UserError where several are equally near.
        """
        name = name.replace("\\", "/").lstrip("./")
        if ".." in name.split("/"):
            raise UserError(f"{where}: image {name!r:.100} leaves its folder; fix it")
        found = self._by_name.get(name.rsplit("/", 1)[-1], [])
        exact = [path for path in found if path == name or path.endswith(f"/{name}")]
        found = exact or found
        close = [path for path in found if near and path.startswith(near)]
        found = close or found
        if len(found) > 1:
            raise UserError(
                f"{where}: {name} is both {found[0]} and {found[1]}: two frames of one name in two "
                "folders; rename one"
            )
        return found[0] if found else None


def _check_duplicates(builder: Builder) -> None:
    """Raises UserError for two frames of a split that have the same name."""
    seen: dict[tuple[int, str], str] = {}
    for image, split in zip(builder.images, builder._split, strict=True):
        other = seen.setdefault((split, Path(image).stem), image)
        if other != image:
            raise UserError(
                f"{builder.root}: {other} and {image} are two frames of one name in two folders; "
                "rename one"
            )


def _attribute_files(root: Path) -> list[Path]:
    folder = root if root.is_dir() else root.parent
    return [path for name in ATTRIBUTE_FILES if (path := folder / name).is_file()]


def _read_attributes(path: Path, builder: Builder) -> None:
    """Adds `name,group,...` rows. Raises UserError for a frame that does not exist."""
    stems: dict[str, list[int]] = defaultdict(list)
    for number, image in enumerate(builder.images):
        stems[Path(image).stem].append(number)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            groups = [name for name in rows.fieldnames or () if name != "name"]
            if "name" not in (rows.fieldnames or ()) or not groups:
                raise UserError(f"{path} line 1: write name and the groups, e.g. name,weather")
            for row in rows:
                name = (row["name"] or "").strip()
                stem = name[: -len(Path(name).suffix)] if Path(name).suffix else name
                frames = stems.get(Path(stem).name) or stems.get(Path(name).name)
                if not frames:
                    raise UserError(
                        f"{path} line {rows.line_num}: no frame {name!r:.60} in {builder.root}; "
                        "remove the row or add the image"
                    )
                for group in groups:
                    value = (row[group] or "").strip()
                    for frame in frames if value and value != "undefined" else ():
                        builder.attribute(frame, group, value)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error!s:.200}); restore it") from None


def say(text: str) -> None:
    """A line on stderr about what was chosen."""
    print(text, file=sys.stderr, flush=True)


def as_object(value: Any, where: str) -> dict[str, Any]:
    """`value` where it is an object of a JSON file; else UserError."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected an object, found {type(value).__name__}; fix it")
    return value
