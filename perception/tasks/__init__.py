"""The registry of tasks: one file each, one line here."""

from collections.abc import Iterable
from typing import Final

from perception.errors import check_known
from perception.tasks.base import Task
from perception.tasks.depth import Depth
from perception.tasks.det import Det, DetCOCO, DetVOC
from perception.tasks.drivable import Drivable
from perception.tasks.image_classes import ClassesVOC, ImageNet
from perception.tasks.lane import Lane
from perception.tasks.normals import Normals
from perception.tasks.scene import Scene
from perception.tasks.semantic import Semantic, SemanticADE20K, SemanticNYUv2, SemanticVOC

TASKS: Final[dict[str, type[Task]]] = {
    "det": Det,
    "drivable": Drivable,
    "lane": Lane,
    "scene": Scene,
    "semantic": Semantic,
    "depth": Depth,
    "normals": Normals,
    # the same tasks in the label spaces of other datasets
    "semantic_nyuv2": SemanticNYUv2,
    "semantic_ade20k": SemanticADE20K,
    "semantic_voc": SemanticVOC,
    "det_coco": DetCOCO,
    "det_voc": DetVOC,
    "imagenet": ImageNet,
    "classes_voc": ClassesVOC,
}


def check_tasks(names: Iterable[str]) -> None:
    """Raises UserError for a name that is not in TASKS, with the closest match suggested."""
    check_known("task", names, TASKS)
