"""The class lists of a folder in an annotation format: from its own names and those of the run."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from perception.classes import LANE_CATEGORIES
from training.data.bdd.table import is_bdd100k
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
from training.data.formats.table import Table


def lists_of_table(table: Table, given: ClassLists | None) -> ClassLists:
    """`given`, the lists of the run, with the folder's own for tasks that these do not have."""
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
    renamed = is_bdd100k(used["det"], table.texts["groups"])
    for task, found in used.items():
        if not found:
            continue
        known = ClassLists.official([task])
        whole = all(class_index(known, task, name) != UNKNOWN for name in found)
        if whole or (task == "det" and renamed):
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
    default = ClassLists.official(official, renamed)
    lists = ClassLists({**default.groups, **own}, default.aliases, uncertain=default.uncertain)
    if given is None:
        return lists
    taken = {t: g for t, g in lists.groups.items() if t not in given}
    if "semantic" in given and "drivable" not in given:
        taken.pop("drivable", None)
    aliases = {**given.aliases}
    listed = given.groups.get("det", lists.groups.get("det", {})).get(ONLY, ())
    renames = lists.aliases.get("det", {}).items()
    renamed_to = {name: to for name, to in renames if to in listed and name not in listed}
    aliases["det"] = {**renamed_to, **given.aliases.get("det", {})}
    uncertain = lists.uncertain - given.aliases.get("det", {}).keys()
    groups = {**taken, **given.groups}
    return ClassLists(groups, aliases, given.ignore, uncertain, given.file, given.strict)


def class_tables(table: Table, lists: ClassLists) -> dict[str, np.ndarray]:
    """Per task the class number of each name in the table; UNKNOWN and IGNORE as in `lists`."""
    names = table.texts["names"]
    return {
        task: np.array([class_index(lists, task, name) for name in names], np.int64)
        for task in lists.groups
        if task != "scene"
    }


def check_classes(
    table: Table,
    lists: ClassLists,
    given: ClassLists | None,
    tables: Mapping[str, np.ndarray],
    tasks: Iterable[str],
    root: Path,
) -> None:
    """Raises UserError for a name in the labels of `tasks` that the lists of the run lack.

    A name that a list given for another task has is none of this one's: one COCO category may label
    boxes and areas, of which a run wants the areas only.
    """
    if given is None or not given.strict:
        return
    names, closed = table.texts["names"], table.shape_closed
    used = {"det": table.box_class, "lane": table.shape_class[~closed]}
    elsewhere = np.zeros(len(names), bool)
    for task in given.groups:
        elsewhere |= tables[task] != UNKNOWN if task in tables else False
    for task in tasks:
        if task in table.texts["masks"] and task in given:
            palette = table.texts["masks"][task]
            for name in palette["names"]:
                if class_index(lists, task, name) == UNKNOWN and name != BACKGROUND:
                    raise lists.unknown(task, name, palette["path"])
        elif task == "scene" and task in given:
            _check_attributes(table, lists, root)
        elif task in tables:
            counts = np.bincount(used.get(task, table.shape_class[closed]), minlength=len(names))
            for number in np.flatnonzero((tables[task] == UNKNOWN) & ~elsewhere & (counts > 0)):
                first = table.texts["first"].get(names[number], str(root))
                raise lists.unknown(task, names[number], f"{first} ({counts[number]} labels)")


def _check_attributes(table: Table, lists: ClassLists, root: Path) -> None:
    for column, (group, values) in enumerate(table.texts["groups"].items()):
        if group not in lists.groups["scene"]:
            continue
        for code, value in enumerate(values):
            frames = np.flatnonzero(table.attributes[:, column] == code)
            if len(frames) and lists.index("scene", value, group) == UNKNOWN:
                first = root / table.texts["images"][frames[0]]
                raise lists.unknown("scene", value, f"{first}, {group} ({len(frames)} frames)")


def class_index(lists: ClassLists, task: str, name: str) -> int:
    """As `lists.index`; a lane's category may be written `lane/single white`, `lane` is any."""
    if task != "lane":
        return lists.index(task, name)
    name = name.removeprefix("lane/")
    found = lists.index(task, name, "categories")
    return IGNORE if found == UNKNOWN and name == "lane" else found
