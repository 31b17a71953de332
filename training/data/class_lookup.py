"""The classes of a dataset mapped to the lists of a run: renumbered, renamed or ignored.

Classes that a dataset does not annotate are unknown in its frames, not absent: for each, the whole
frame is an ignored region.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from perception.classes import IGNORE as IGNORE_PIXEL
from perception.classes import LANE_BACKGROUND_BIT, LANE_CATEGORY_BITS, LANE_CATEGORY_UNKNOWN
from training.data.classes import BACKGROUND, IGNORE, OFFICIAL, ONLY, UNKNOWN, ClassLists, Groups
from training.data.dataset import Dataset
from training.data.labels import Boxes, Label, Labels, LaneMask, Mask


def lists_of(dataset: Dataset) -> dict[str, Groups]:
    """The dataset's classes of each of its tasks that has any."""
    known = {**OFFICIAL, **dataset.classes}
    return {task: known[task] for task in dataset.tasks if task in known}


def joint_lists(datasets: Sequence[Dataset], given: ClassLists | None = None) -> ClassLists:
    """One class list per task: the given one, else all classes of all, in the order of first
    use."""
    groups: dict[str, Groups] = {}
    for dataset in datasets:
        for task, parts in lists_of(dataset).items():
            into = groups.setdefault(task, {})
            for group, names in parts.items():
                into[group] = tuple(dict.fromkeys((*into.get(group, ()), *names)))
    if given is None:
        return ClassLists(groups)
    return replace(
        given, groups={task: given.groups.get(task, own) for task, own in groups.items()}
    )


class ClassLookup:
    """Labels and traits of a dataset with the classes of `lists`.

    Raises UserError for a class that a strict list lacks; else `notes` name what is left out.
    """

    def __init__(self, dataset: Dataset, lists: ClassLists) -> None:
        self.lists, self.own = lists, lists_of(dataset)
        unknown = list(unknown_names(dataset, self.own, lists))
        if unknown and lists.strict:
            raise lists.unknown(*unknown[0])
        self.notes = lists.left_out([name for _, name, _ in unknown])
        self.changed = {
            task
            for task, own in self.own.items()
            if lists.groups[task] != own or dataset.annotated_classes(task) is not None
        }
        self.classes: dict[str, np.ndarray] = {}  # of each own class
        self.absent: dict[str, np.ndarray] = {}  # classes that are not annotated
        for task in self.changed & {task for task, own in self.own.items() if ONLY in own}:
            table = lists.table(task, self.own[task][ONLY])
            annotated = dataset.annotated_classes(task) or self.own[task][ONLY]
            found = set(lists.table(task, annotated).tolist())
            absent = [n for n in range(len(lists.names(task))) if n not in found]
            self.classes[task], self.absent[task] = table, np.array(absent, np.int64)

    def __call__(self, task: str, label: Label) -> Label:
        if task not in self.changed:
            return label
        if isinstance(label, Boxes):
            return _boxes(label, self.classes[task], self.absent[task])
        if isinstance(label, Mask | LaneMask):
            table = self._lane_table() if isinstance(label, LaneMask) else self._mask_table(task)
            return label.with_pixels(table[label.pixels])
        return self._attributes(label) if isinstance(label, Labels) else label

    def traits(self, presence: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A dataset's `presence` with the names of the lists."""
        found: dict[str, np.ndarray] = {}
        for trait, has in presence.items():
            task, slash, name = trait.partition("/")
            if slash and task in self.classes:
                number = self.lists.index(task, name)
                if number < 0:
                    continue
                trait = f"{task}/{self.lists.names(task)[number]}"
            found[trait] = found[trait] | has if trait in found else has
        return found

    def _mask_table(self, task: str) -> np.ndarray:
        table, numbers = np.full(256, IGNORE_PIXEL, np.uint8), self.classes[task]
        table[: len(numbers)] = np.where(numbers < 0, IGNORE_PIXEL, numbers)
        return table

    def _lane_table(self) -> np.ndarray:
        table = np.arange(256, dtype=np.uint8)
        names = self.own["lane"].get("categories", ())
        for byte in range(254):
            if not byte & (LANE_BACKGROUND_BIT | LANE_CATEGORY_UNKNOWN):
                number, rest = byte & LANE_CATEGORY_BITS, byte & ~LANE_CATEGORY_BITS
                known = number < len(names)
                index = self.lists.index("lane", names[number]) if known else UNKNOWN
                table[byte] = rest | (index if index >= 0 else LANE_CATEGORY_UNKNOWN)
        return table

    def _attributes(self, label: Labels) -> Labels:
        own, codes = self.own["scene"], []
        for group in self.lists.groups["scene"]:
            value = int(label.labels[list(own).index(group)]) if group in own else -1
            codes.append(self.lists.index("scene", own[group][value], group) if value >= 0 else -1)
        return Labels(np.maximum(codes, -1))


def _boxes(boxes: Boxes, table: np.ndarray, absent: np.ndarray) -> Boxes:
    """Renumbered; unknown names dropped, ignored ones kept as ignored regions."""
    height, width = boxes.size_hw
    classes = np.where(boxes.classes >= 0, table[np.maximum(boxes.classes, 0)], IGNORE)
    ignore = boxes.ignore | (classes == IGNORE)
    found = replace(boxes, classes=np.maximum(classes, -1), ignore=ignore).rows(classes != UNKNOWN)
    whole = np.tile([0, 0, width, height], (len(absent), 1))
    return found.joined(Boxes(whole, absent, boxes.size_hw, np.ones(len(absent), bool)))


def unknown_names(
    dataset: Dataset, own: Mapping[str, Groups], lists: ClassLists
) -> Iterator[tuple[str, str, str]]:
    """(task, name, place) of each class that labels have and the lists lack.

    A name that the list of another task has is none of this one's: one COCO category may label
    boxes and areas, of which a run wants the areas only.
    """
    for task in own:
        for (group, name), place in dataset.used(task).items():
            if group not in lists.groups[task] or name == BACKGROUND:
                continue
            found = lists.index(task, name, ONLY if task == "lane" else group)
            others = [other for other in lists.groups if other not in ("lane", "scene", task)]
            elsewhere = task != "scene" and any(lists.index(o, name) != UNKNOWN for o in others)
            if found == UNKNOWN and not elsewhere:
                yield task, name, place
