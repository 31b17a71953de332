"""The class lists of a folder from the names in its own labels."""

import numpy as np

from perception.classes import LANE_CATEGORIES
from training.data.bdd_names import is_bdd100k
from training.data.classes import (
    BACKGROUND,
    LANE_PARTS,
    OFFICIAL,
    ONLY,
    UNKNOWN,
    ClassLists,
    Groups,
)
from training.data.table import AREA, Table


def lists_of_table(table: Table, areas: str) -> ClassLists:
    """The class lists of a table's own names; `areas` is the task of its areas."""
    own: dict[str, Groups] = {}
    official: set[str] = set()
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
        usual = all(known.index_of(task, name) != UNKNOWN for name in found)
        if usual or (task == "det" and renamed):
            official.add(task)
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
            official.add("scene")
        else:
            own["scene"] = {group: tuple(sorted(values)) for group, values in groups.items()}
    default = ClassLists.official(official, renamed)
    return ClassLists({**default.groups, **own}, default.aliases, uncertain=default.uncertain)
