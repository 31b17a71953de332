"""Detection in the label spaces of COCO and Pascal VOC."""

from typing import ClassVar

from perception.runtime.description import View
from perception.tasks.class_lists import COCO, VOC_OBJECTS
from perception.tasks.det import Det


class DetCOCO(Det):
    """The 80 classes of COCO."""

    view: ClassVar[View] = View(kind="boxes", classes=COCO)


class DetVOC(Det):
    """The 20 classes of Pascal VOC."""

    view: ClassVar[View] = View(kind="boxes", classes=VOC_OBJECTS)
