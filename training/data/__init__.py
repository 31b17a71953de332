"""Where frames and labels come from. A new dataset: one file here and one line in DATASETS."""

from typing import Final

from training.data.ade20k import ADE20K
from training.data.bdd100k import BDD100K
from training.data.cityscapes import Cityscapes
from training.data.coco import COCO
from training.data.dataset import Dataset
from training.data.formats.cvat import CVAT
from training.data.formats.fiftyone import FiftyOne
from training.data.formats.labelme import LabelMe
from training.data.formats.palette_masks import PaletteMasks
from training.data.formats.scalabel import Scalabel
from training.data.formats.yolo import YOLO
from training.data.imagenet import ImageNet
from training.data.nyuv2 import NYUv2
from training.data.rendered import RenderedRoads
from training.data.voc import VOC

__all__ = ["DATASETS", "Dataset"]

# `--data KIND:DIR`. A folder without KIND is the first of these that recognises it (sources.py).
DATASETS: Final[dict[str, type[Dataset]]] = {
    "bdd100k": BDD100K,  # 100K and 10K
    "nyuv2": NYUv2,
    "cityscapes": Cityscapes,
    "fiftyone": FiftyOne,
    "yolo": YOLO,
    "masks": PaletteMasks,
    "cvat": CVAT,
    "coco": COCO,  # COCO itself, and JSON files of its format
    "ade20k": ADE20K,
    "imagenet": ImageNet,
    "voc": VOC,  # VOC itself, and XML files of its format
    "labelme": LabelMe,
    "scalabel": Scalabel,
    "rendered": RenderedRoads,
}
