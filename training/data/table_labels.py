"""The class lists of an annotated folder and the labels of its frames, from its table."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from perception.classes import IGNORE as IGNORE_PIXEL
from perception.classes import (
    LANE_BACKGROUND,
    LANE_CATEGORIES,
    LANE_CATEGORY_UNKNOWN,
    LANE_TYPE_UNKNOWN,
)
from perception.errors import UserError
from training.data.bdd_names import is_bdd100k
from training.data.builder import OUTSIDE, TOLERANCE
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
from training.data.labels import Boxes, Label, Labels, LaneMask, Mask
from training.data.masks import read_mask
from training.data.outlines import TOOLKIT_LINE, TRAINING_LINE, Shape, paint
from training.data.table import (
    AREA,
    IGNORE_FLAG,
    LINE,
    MARKING,
    OCCLUDED_FLAG,
    TRUNCATED_FLAG,
    Table,
)

IGNORED_AREA: Final = 253  # value under which ignored areas are drawn


def is_boxes(task: str) -> bool:
    """Whether boxes label the task: `det`, or the boxes of another label space."""
    return task.partition("_")[0] == "det"


class TableLabels:
    """Makes labels from the rows of a dataset's table."""

    def __init__(
        self, table: Table, lists: ClassLists, root: Path, label_root: Path, *,
        relative: bool, train: bool,
    ) -> None:  # fmt: skip
        self.table, self.lists, self.root, self.label_root = table, lists, root, label_root
        self.relative, self.train = relative, train  # outlines in fractions; lanes drawn wide
        names, groups = table.texts["names"], table.texts["groups"]
        self.class_tables = {
            task: lists.table(task, names) for task in lists.groups if task != "scene"
        }
        self.uncertain = np.array([name in lists.uncertain for name in names], bool)  # (names,)
        # Of each group of `scene` that the table has: its column, and the class of each value.
        self.groups = {
            group: (list(groups).index(group), lists.table("scene", groups[group], group))
            for group in lists.groups.get("scene", ())
            if group in groups
        }

    def traits(self, task: str) -> dict[str, np.ndarray]:
        """(N,) bool per class of boxes or value of an attribute: frames that show it."""
        table, traits = self.table, dict[str, np.ndarray]()
        if is_boxes(task):
            shown = np.zeros((len(table.images), len(self.lists.names(task))), bool)
            classes = self.class_tables[task][table.box_class]
            frame = np.repeat(np.arange(len(shown)), np.diff(table.box_start))
            shown[frame[classes >= 0], classes[classes >= 0]] = True
            traits = {f"{task}/{n}": shown[:, i] for i, n in enumerate(self.lists.names(task))}
        for group, values in self.lists.groups["scene"].items() if task == "scene" else ():
            column, classes = self.groups.get(group, (0, np.zeros(0, np.int64)))
            codes = table.attributes[:, column] if len(classes) else np.full(len(table.images), -1)
            found = np.append(classes, UNKNOWN)[codes]  # code -1 takes the last
            traits |= {f"{group}/{value}": found == n for n, value in enumerate(values)}
        return traits

    def used(self, task: str) -> dict[tuple[str, str], str] | None:
        """As `Dataset.used`; None for masks without a palette."""
        table, texts, used = self.table, self.table.texts, dict[tuple[str, str], str]()
        part = "categories" if task == "lane" else ONLY
        if task == "scene":
            for column, (group, values) in enumerate(texts["groups"].items()):
                for code, value in enumerate(values):
                    frames = np.flatnonzero(table.attributes[:, column] == code)
                    if len(frames):
                        first = self.root / table.image(int(frames[0]))
                        used[group, value] = f"{first}, {group} ({len(frames)} frames)"
            return used
        if table.has_mask(task).any():
            palettes = [one for one in texts["encodings"] if isinstance(one, dict)]
            named = next((one for one in palettes if one["task"] == task), None)
            return named and {(part, name): named["path"] for name in named["names"]}
        kinds = table.shape_class[(table.shape_kind == AREA) == (task != "lane")]
        counts = np.bincount(table.box_class if is_boxes(task) else kinds, minlength=1)
        for number in np.flatnonzero(counts).tolist():
            name = texts["names"][number]
            if self.class_tables[task][number] != UNKNOWN:
                first = texts["first"].get(name, str(self.root))
                own = self.lists.aliases.get(task, {}).get(name, name)
                used.setdefault((part, own), f"{first} ({counts[number]} labels)")
        return used

    def label(self, task: str, frame: int, size_hw: tuple[int, int]) -> Label:
        """The label of a frame of `size_hw`. Raises UserError naming the file."""
        if is_boxes(task):
            return self.boxes(task, frame, size_hw)
        if task == "scene":
            found = dict.fromkeys(self.lists.groups["scene"], -1)
            for group, (column, classes) in self.groups.items():
                if (code := int(self.table.attributes[frame, column])) >= 0:
                    found[group] = max(int(classes[code]), -1)
            return Labels(np.array([*found.values()], np.int64))
        if mask := self.table.mask(frame, task):
            return self._mask(task, *mask, size_hw)
        return self._lanes(frame, size_hw) if task == "lane" else self._areas(task, frame, size_hw)

    def boxes(self, task: str, frame: int, size_hw: tuple[int, int]) -> Boxes:
        table = self.table
        rows = slice(*table.box_start[frame : frame + 2].tolist())
        xyxy, limit = np.array(table.box_xyxy[rows]), np.array(size_hw[::-1] * 2, np.float32)
        if table.relative[frame]:
            xyxy *= limit
        # The builder has checked what can be wrong without the size of the frame.
        wrong = (xyxy > limit + TOLERANCE).any(1)
        if not table.relative[frame]:
            wrong |= (xyxy[:, :2] >= limit[:2]).any(1)
        if wrong.any():
            corners = ", ".join(f"{value:.1f}" for value in xyxy[wrong.argmax()])
            name = table.texts["names"][table.box_class[rows][wrong.argmax()]]
            raise UserError(
                f"{self.root / table.image(frame)}: its {name:.60} ({corners}) {OUTSIDE} of "
                f"{size_hw[1]}x{size_hw[0]}; fix its label in {self.label_root}"
            )
        classes, flags = self.class_tables[task][table.box_class[rows]], table.box_flags[rows]
        ignored = (classes == IGNORE) | (flags & IGNORE_FLAG > 0)
        ignored |= self.uncertain[table.box_class[rows]]
        occluded, truncated = flags & OCCLUDED_FLAG > 0, flags & TRUNCATED_FLAG > 0
        xyxy = np.clip(xyxy, 0, limit)
        found = Boxes(xyxy, np.maximum(classes, -1), size_hw, ignored, occluded, truncated)
        return found.rows(classes != UNKNOWN)

    def _shapes(self, task: str, frame: int, size_hw: tuple[int, int], kind: int) -> list[Shape]:
        table = self.table
        scale = np.array(size_hw[::-1], np.float64) if self.relative else np.ones(2)
        found: list[Shape] = []
        for row in range(*table.shape_start[frame : frame + 2].tolist()):
            value = int(self.class_tables[task][table.shape_class[row]])
            if table.shape_kind[row] == kind and value != UNKNOWN:
                rows = slice(*table.vertex_start[row : row + 2].tolist())
                if task == "lane":
                    known = value if value >= 0 else LANE_CATEGORY_UNKNOWN
                    value = known | int(table.shape_lane[row])
                found.append((value, table.vertex_xy[rows] * scale, table.vertex_curve[rows]))
        return found

    def _areas(self, task: str, frame: int, size_hw: tuple[int, int]) -> Mask:
        names = self.lists.names(task)
        empty = names.index(BACKGROUND) if BACKGROUND in names else IGNORE_PIXEL
        shapes = self._shapes(task, frame, size_hw, AREA)
        # Ignored areas are drawn as a value of their own: paint() takes values below 254.
        drawn = [(IGNORED_AREA if value < 0 else value, *rest) for value, *rest in shapes]
        mask = paint(drawn, size_hw, empty)  # type: ignore[arg-type]
        ignored = any(value == IGNORED_AREA for value, *_ in drawn)
        return Mask(
            np.where(mask == IGNORED_AREA, np.uint8(IGNORE_PIXEL), mask) if ignored else mask
        )

    def _lanes(self, frame: int, size_hw: tuple[int, int]) -> LaneMask:
        """Lines are 8 pixels wide for training, else as the official toolkit draws them (about
        2.5); closed markings are filled."""
        lines = self._shapes("lane", frame, size_hw, LINE)
        width = TRAINING_LINE if self.train else TOOLKIT_LINE
        mask = paint(lines, size_hw, LANE_BACKGROUND, width)
        if markings := self._shapes("lane", frame, size_hw, MARKING):
            filled = paint(markings, size_hw, LANE_BACKGROUND)
            mask = np.where(mask == LANE_BACKGROUND, filled, mask)
        return LaneMask(mask)

    def _mask(self, task: str, path: str, encoding: Any, size_hw: tuple[int, int]) -> Label:
        pixels = read_mask(self.label_root / path, encoding, size_hw)
        if task == "lane":
            palette = isinstance(encoding, dict)
            return LaneMask(self._lane_bytes(encoding["names"])[pixels] if palette else pixels)
        return Mask(pixels)

    def _lane_bytes(self, names: list[str]) -> np.ndarray:
        """(256,) uint8: lane byte of each class of a palette; style and direction are unknown."""
        table = np.full(256, LANE_BACKGROUND, np.uint8)
        for number, name in enumerate(names):
            value = self.lists.index("lane", name)
            if name != BACKGROUND:
                known = value if value >= 0 else LANE_CATEGORY_UNKNOWN
                table[number] = known | LANE_TYPE_UNKNOWN
        return table


def lists_of_table(table: Table, areas: str) -> ClassLists:
    """The class lists of a table's own names; `areas` is the task of its areas."""
    own: dict[str, Groups] = {}
    official: list[str] = []
    names = np.array(table.texts["names"], object)
    is_area = table.shape_kind == AREA
    used = {
        "det": names[np.unique(table.box_class)].tolist(),
        areas: names[np.unique(table.shape_class[is_area])].tolist(),
        "lane": names[np.unique(table.shape_class[~is_area])].tolist(),
    }
    if table.boxes.any():
        # Every listed name may be a box's, also where no frame shows one.
        others = {*used[areas], *used["lane"]} - set(used["det"])
        used["det"] = [name for name in names.tolist() if name not in others]
    renamed = is_bdd100k(used["det"], table.texts["groups"])
    for task, found in used.items():
        if not found:
            continue
        known = ClassLists.official([task])
        usual = all(known.index(task, name) != UNKNOWN for name in found)
        if usual or (task == "det" and renamed):
            official.append(task)
        elif task == "lane":
            own[task] = dict(LANE_PARTS) | {"categories": tuple(found)}
        else:
            extra = (BACKGROUND,) if task == "drivable" and BACKGROUND not in found else ()
            own[task] = {ONLY: (*found, *extra)}
    for palette in table.texts["encodings"]:
        task, listed = palette["task"], tuple(palette["names"])
        own[task] = {ONLY: listed}
        if task == "lane":
            usual = set(listed) <= {*LANE_CATEGORIES, "lane", BACKGROUND}
            own[task] = dict(LANE_PARTS) | ({} if usual else {"categories": listed})
    if groups := table.texts["groups"]:
        if all(set(v) <= set(OFFICIAL["scene"].get(g, ())) for g, v in groups.items()):
            official.append("scene")
        else:
            own["scene"] = {group: tuple(sorted(values)) for group, values in groups.items()}
    default = ClassLists.official(official, renamed)
    return ClassLists({**default.groups, **own}, default.aliases, uncertain=default.uncertain)
