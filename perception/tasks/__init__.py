"""The tasks: one file each, one line here."""

from typing import Final

from perception.tasks.base import Task
from perception.tasks.det import Det
from perception.tasks.drivable import Drivable
from perception.tasks.lane import Lane
from perception.tasks.scene import Scene

TASKS: Final[dict[str, type[Task]]] = {
    "det": Det,
    "drivable": Drivable,
    "lane": Lane,
    "scene": Scene,
}
