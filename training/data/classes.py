"""Class lists: from a file, from a dataset, and from the names in labels to the lists of a run.

A file (`--classes`, YAML or JSON) has a list per task; a list may name what labels call a class:

    det: [cone, forklift]
    det: {car: [car, van, suv], person: [pedestrian]}    # the same, with names in labels
    scene: {weather: [clear, rain], road: [wet, dry]}    # frame attributes: a list per group
    lane: {categories: [solid line, curb]}               # or only the list
    ignore: [dontcare]                                   # names in labels, of any task

A YOLO data.yaml is such a file too: its `names` are the classes of `det`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import yaml

from perception import classes
from perception.errors import UserError, check_known
from perception.runtime.view import LABEL, LANE_BYTE, View
from perception.tasks.class_names import LANE_LIMITS, check_names, names_of, with_classes
from training.data.bdd_names import IGNORED, LANE, RENAMED
from training.data.files import read_text

MAX_BYTES: Final = 1 << 20
UNKNOWN, IGNORE = -1, -2
BACKGROUND: Final = "background"
ONLY: Final = ""  # the group of a task with one list
LANE_PARTS: Final = {
    "categories": classes.LANE_CATEGORIES,
    "styles": classes.LANE_STYLES,
    "directions": classes.LANE_DIRECTIONS,
}

Names = tuple[str, ...]
Groups = dict[str, Names]  # {ONLY: names}, or names per attribute group or part of a lane

OFFICIAL: Final[dict[str, Groups]] = {
    "det": {ONLY: classes.DETECTION},
    "drivable": {ONLY: classes.DRIVABLE},
    "lane": dict(LANE_PARTS),
    "semantic": {ONLY: classes.SEMANTIC},
    "scene": dict(classes.ATTRIBUTES),
}


@dataclass(frozen=True)
class ClassLists:
    """The classes of some tasks, and how names in labels map to them."""

    groups: Mapping[str, Groups]
    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ignore: frozenset[str] = frozenset()
    uncertain: frozenset[str] = frozenset()  # names that have a class, but only as ignored boxes
    file: str = ""
    strict: bool = True  # a name in labels without a class is an error, else its labels are dropped

    def __contains__(self, task: str) -> bool:
        return task in self.groups

    def is_own(self, task: str) -> bool:
        """Whether there is a list of the task that is not BDD100K's."""
        return task in self and self.groups[task] != OFFICIAL.get(task)

    def names(self, task: str, group: str = ONLY) -> Names:
        """The classes of a task, or of one of its groups."""
        return self.groups[task][group]

    def index(self, task: str, name: str, group: str = ONLY) -> int:
        """Class of a name in labels; IGNORE or UNKNOWN where it has none.

        Without a group a lane's category may be written `lane/single white`, and `lane` is any.
        """
        if task == "lane" and group == ONLY:
            found = self.index(task, name.removeprefix("lane/"), "categories")
            return IGNORE if found == UNKNOWN and name == LANE else found
        names = self.groups[task].get(group, ())
        name = self.aliases.get(task, {}).get(name, name) if group == ONLY else name
        if name in names:
            return names.index(name)
        return IGNORE if name in self.ignore else UNKNOWN

    def table(self, task: str, names: Sequence[str], group: str = ONLY) -> np.ndarray:
        """(len(names),) int64: the class of each name, IGNORE or UNKNOWN."""
        return np.array([self.index(task, name, group) for name in names], np.int64)

    def unknown(self, task: str, name: str, where: str) -> UserError:
        """The error for a name in labels that the list of the task lacks."""
        mapped = f"map it ({task}: {{CLASS: [CLASS, {name:.60}]}}) or "
        return UserError(
            f"unknown class {name!r:.60} of {task} in {where}: add it to "
            f"{self.file or 'the class list'}, or there "
            f"{mapped if ONLY in self.groups[task] else ''}ignore it (ignore: [{name:.60}])"
        )

    def left_out(self, names: Sequence[str]) -> list[str]:
        """The note next to scores on data that has labels of these names, which have no class."""
        listed = ", ".join(names[:8]) + f" and {len(names) - 8} more" * (len(names) > 8)
        return [f"labels without a class of the model are left out: {listed}"] if names else []

    @staticmethod
    def official(tasks: Iterable[str], renamed: bool = False) -> "ClassLists":
        """BDD100K's lists of the tasks; `renamed`: its releases' other names stand for them too.

        Only BDD100K's own files may be read with these: in any other data `person` is a class.
        """
        groups = {task: OFFICIAL[task] for task in tasks if task in OFFICIAL}
        if not renamed:
            return ClassLists(groups, file="BDD100K's list")
        aliases = {"det": {**RENAMED, **IGNORED}}
        return ClassLists(groups, aliases, uncertain=frozenset(IGNORED), file="BDD100K's list")

    @staticmethod
    def of_views(views: Mapping[str, View], given: "ClassLists | None" = None) -> "ClassLists":
        """The lists of a trained model; names in labels map as in `given`.

        Labels of other classes are dropped.
        """
        groups: dict[str, Groups] = {}
        for task, view in views.items():
            names = names_of(view)
            if isinstance(names, dict):
                groups[task] = {group: tuple(listed) for group, listed in names.items()}
            elif names:
                groups[task] = {ONLY: tuple(names)}
        aliases = given.aliases if given else {}
        ignore = given.ignore if given else frozenset()
        return ClassLists(groups, aliases, ignore, strict=False)


def read_classes(path: Path) -> ClassLists:
    """The lists of a file. Raises UserError naming the file, the field and what to do."""
    data = read_yaml(path, texts=True)
    if "names" in data:
        return ClassLists({"det": {ONLY: yolo_names(data, path)}}, file=str(path))
    from perception.tasks import TASKS

    ignore = data.pop("ignore", [])
    if not isinstance(ignore, list):
        raise UserError(f"{path}: ignore: write a list of names")
    groups: dict[str, Groups] = {}
    aliases: dict[str, dict[str, str]] = {}
    for task, given in data.items():
        check_known(f"task in {path}:", [task], TASKS)
        groups[task], aliases[task] = _of_task(given, f"{path}: {task}", TASKS[task].view)
        if task == "drivable" and BACKGROUND not in groups[task][ONLY]:
            groups[task] = {ONLY: (*groups[task][ONLY], BACKGROUND)}
    if not groups:
        raise UserError(f"{path}: no class lists; write e.g. det: [cone, forklift]")
    lists = ClassLists(groups, aliases, file=str(path))
    for name in map(str, ignore):
        for task, parts in groups.items():
            if any(lists.index(task, name, group) != UNKNOWN for group in parts):
                raise UserError(
                    f"{path}: {name!r:.60} is ignored and a class of {task}; remove one"
                )
    return replace(lists, ignore=frozenset(map(str, ignore)))


def read_yaml(
    path: Path, hint: str = "write e.g. det: [cone, forklift]", texts: bool = False
) -> dict[str, Any]:
    """A YAML or JSON file that holds fields, each once. Raises UserError, with the hint, for
    anything else. With `texts` every value is a text as it is written: class names may be yes, no
    and 2024-01-01, which YAML takes for other types."""
    text = read_text(path, MAX_BYTES)
    try:
        if path.suffix == ".json":
            data = json.loads(text, object_pairs_hook=_distinct)
        else:
            loader = _TextLoader if texts else _DistinctLoader
            data = loader(text).get_single_data()  # as yaml.safe_load
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not valid YAML or JSON ({said}); fix it") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: no fields; {hint}")
    return data


class _DistinctLoader(yaml.SafeLoader):
    """Raises ValueError for a key that is written twice, where YAML takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        _distinct([(key.value, None) for key, _ in node.value])
        return super().construct_mapping(node, deep)


class _TextLoader(_DistinctLoader):
    """Leaves every plain value a text."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


def _distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    for key, count in Counter(key for key, _ in pairs).items():
        if count > 1:
            raise ValueError(f"{key!r:.60} is written twice")
    return dict(pairs)


def yolo_names(data: Mapping[str, Any], path: Path) -> Names:
    """The `names` of a YOLO data file, a list or numbered. Raises UserError where they are wrong
    or `nc` disagrees."""
    names = data.get("names")
    if isinstance(names, dict):
        numbers = sorted(names, key=lambda key: int(key) if str(key).isdigit() else -1)
        if [str(number) for number in numbers] != [str(n) for n in range(len(names))]:
            raise UserError(f"{path}: names: number the classes from 0 on without a gap")
        names = [names[number] for number in numbers]
    checked = check_names(names, f"{path}: names")
    if str(data.get("nc", len(checked))) != str(len(checked)):
        raise UserError(
            f"{path}: nc is {data['nc']}, but names lists {len(checked)} classes; fix one"
        )
    return checked


def _of_task(given: Any, place: str, view: View) -> tuple[Groups, dict[str, str]]:
    """(lists, names in labels to classes) of a task's entry."""
    if view.kind == LABEL:
        if not isinstance(given, dict) or not given:
            raise UserError(f"{place}: write a list per group, e.g. weather: [clear, rain]")
        lists = {str(g): check_names(names, f"{place}: {g}") for g, names in given.items()}
        return lists, {}
    if view.encoding == LANE_BYTE:
        return _of_lanes(given, place), {}
    if isinstance(given, dict):
        names = check_names(list(given), place)
        aliases: dict[str, str] = {}
        for name, others in zip(names, given.values(), strict=True):
            for other in check_names(others, f"{place}: {name}") if others else ():
                if aliases.setdefault(other, name) != name:
                    raise UserError(f"{place}: {other!r} is mapped to {aliases[other]} and {name}")
        return {ONLY: names}, aliases
    return {ONLY: check_names(given, place)}, {}


def _of_lanes(given: Any, place: str) -> Groups:
    parts = given if isinstance(given, dict) else {"categories": given}
    check_known(f"part of lanes in {place}:", parts, LANE_PARTS)
    lists = {
        part: check_names(names, f"{place}: {part}", LANE_LIMITS[part])
        for part, names in parts.items()
    }
    return dict(LANE_PARTS) | lists


def views_of(given: Mapping[str, Groups]) -> dict[str, View]:
    """The views of tasks with these classes, where they are not the task's default ones."""
    from perception.tasks import TASKS

    views: dict[str, View] = {}
    for task, groups in given.items():
        names = groups.get(ONLY, groups)
        view = with_classes(task, TASKS[task].view, names)
        if view != TASKS[task].view:
            views[task] = view
    return views
