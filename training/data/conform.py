"""A dataset with its classes mapped to the lists of a run: renumbered, renamed or ignored.

Classes that a dataset does not annotate are unknown in its frames, not absent: for each, the whole
frame is an ignored region.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from perception.classes import IGNORE as IGNORE_PIXEL
from perception.classes import (
    LANE_BACKGROUND_BIT,
    LANE_CATEGORY_BITS,
    LANE_CATEGORY_UNKNOWN,
)
from perception.runtime.view import MASK
from training.data.classes import (
    BACKGROUND,
    IGNORE,
    OFFICIAL,
    ONLY,
    UNKNOWN,
    ClassLists,
    Groups,
    merged,
)
from training.data.dataset import Dataset, Wrapper
from training.data.labels import Boxes, Label, Labels, LaneMask, Mask
from training.data.sample import Sample


def lists_of(dataset: Dataset) -> dict[str, Groups]:
    """The dataset's classes of each of its tasks that has any."""
    known = {**OFFICIAL, **dataset.classes}
    return {task: known[task] for task in dataset.tasks if task in known}


def conform(parts: Sequence[Dataset], given: ClassLists | None = None) -> list[Dataset]:
    """The datasets with one class list per task: the given one, else all classes of all parts.

    Raises UserError for a class of a part that a given list lacks.
    """
    groups = merged([lists_of(part) for part in parts])
    lists = ClassLists(groups)
    if given is not None:
        used = {task: given.groups.get(task, own) for task, own in groups.items()}
        lists = replace(given, groups=used)
    return [
        Conformed(part, lists)
        if any(
            lists.groups[task] != own or part.annotated_classes(task) is not None
            for task, own in lists_of(part).items()
        )
        else part
        for part in parts
    ]


class Conformed(Wrapper):
    """`dataset` with the classes of `lists`."""

    def __init__(self, dataset: Dataset, lists: ClassLists) -> None:
        super().__init__(dataset)
        self.lists, own = lists, lists_of(dataset)
        self.classes = {task: lists.groups[task] for task in own}
        unknown = list(unknown_names(dataset, own, lists))
        if unknown and lists.strict:
            raise lists.unknown(*unknown[0])
        self._left_out = lists.left_out([name for _, name, _ in unknown])
        self._maps: dict[str, Any] = {}
        self._absent: dict[str, np.ndarray] = {}
        for task, groups in own.items():
            if ONLY not in groups:
                continue
            table = lists.table(task, groups[ONLY])
            annotated = dataset.annotated_classes(task)
            names = groups[ONLY] if annotated is None else annotated
            found = set(lists.table(task, names).tolist())
            absent = [n for n in range(len(lists.names(task))) if n not in found]
            self._maps[task], self._absent[task] = table, np.array(absent, np.int64)
        self._own = own

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        labels = {
            task: self._label(task, label) if task in self._own else label
            for task, label in sample.labels.items()
        }
        return replace(sample, labels=labels)

    def presence(self) -> dict[str, np.ndarray]:
        """As the dataset's, with the names of the lists."""
        found: dict[str, np.ndarray] = {}
        for trait, has in self.dataset.presence().items():
            task, slash, name = trait.partition("/")
            if slash and task in self._maps:
                number = self.lists.index(task, name)
                if number < 0:
                    continue
                trait = f"{task}/{self.lists.names(task)[number]}"
            found[trait] = found[trait] | has if trait in found else has
        return found

    def notes(self) -> list[str]:
        return self.dataset.notes() + self._left_out

    def fingerprint(self) -> str:
        return f"{self.dataset.fingerprint()} {self.classes} {self.lists.aliases}"

    def _label(self, task: str, label: Label) -> Label:
        if isinstance(label, Boxes):
            return _boxes(label, self._maps[task], self._absent[task])
        if isinstance(label, Mask):
            table = np.full(256, IGNORE_PIXEL, np.uint8)
            numbers = self._maps[task]
            table[: len(numbers)] = np.where(numbers < 0, IGNORE_PIXEL, numbers)
            return replace(label, mask=table[label.mask])
        if isinstance(label, LaneMask):
            return replace(label, lane=self._lane_table()[label.lane])
        if isinstance(label, Labels):
            return self._attributes(label)
        return label

    def _lane_table(self) -> np.ndarray:
        table = np.arange(256, dtype=np.uint8)
        names = self._own["lane"].get("categories", ())
        for byte in range(254):
            if not byte & (LANE_BACKGROUND_BIT | LANE_CATEGORY_UNKNOWN):
                number = byte & LANE_CATEGORY_BITS
                rest = byte & ~LANE_CATEGORY_BITS
                index = (
                    self.lists.index("lane", names[number], "categories")
                    if number < len(names)
                    else UNKNOWN
                )
                table[byte] = rest | (index if index >= 0 else LANE_CATEGORY_UNKNOWN)
        return table

    def _attributes(self, label: Labels) -> Labels:
        own = self._own["scene"]
        codes = []
        for group in self.lists.groups["scene"]:
            code = -1
            if group in own:
                value = int(label.labels[list(own).index(group)])
                name = own[group][value] if value >= 0 else ""
                code = self.lists.index("scene", name, group) if name else -1
            codes.append(max(code, -1))
        return Labels(np.array(codes, np.int64))


def _boxes(boxes: Boxes, table: np.ndarray, absent: np.ndarray) -> Boxes:
    """Renumbered; unknown names dropped, ignored ones kept as ignored regions."""
    height, width = boxes.size_hw
    known = boxes.classes >= 0
    classes = np.where(known, table[np.maximum(boxes.classes, 0)], IGNORE)
    keep = classes != UNKNOWN
    none = np.zeros(len(absent), bool)
    return Boxes(
        np.concatenate([boxes.xyxy[keep], np.tile([0, 0, width, height], (len(absent), 1))]),
        np.concatenate([np.maximum(classes[keep], -1), absent]),
        boxes.size_hw,
        ignore=np.concatenate([(boxes.ignore | (classes == IGNORE))[keep], ~none]),
        occluded=np.concatenate([boxes.occluded[keep], none]),
        truncated=np.concatenate([boxes.truncated[keep], none]),
    )


def unknown_names(
    dataset: Dataset, own: Mapping[str, Groups], lists: ClassLists
) -> Iterator[tuple[str, str, str]]:
    """(task, name, place) of each class that frames show and the lists lack.

    Lanes are left out: the category of one that has no class is unknown, the lane is not.
    """
    from perception.tasks import TASKS

    presence = dataset.presence()
    place = str(dataset.root or type(dataset).__name__)
    for task, groups in own.items():
        for group, names in groups.items() if task != "lane" else ():
            for name in names if group in lists.groups[task] else ():
                if lists.index(task, name, group) != UNKNOWN or name == BACKGROUND:
                    continue
                if (shown := presence.get(f"{group or task}/{name}")) is not None:
                    if shown.any():
                        first = dataset.name(int(shown.argmax()))
                        yield task, name, f"{place}, frame {first} ({shown.sum()} frames)"
                elif TASKS[task].view.kind == MASK:  # its frames are not known without reading
                    yield task, name, place
