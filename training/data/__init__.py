"""Where frames and labels come from. A new dataset: one file here and one line in DATASETS."""

from typing import Final

from training.data.ade20k import ADE20K
from training.data.bdd100k import BDD100K
from training.data.cityscapes import Cityscapes
from training.data.coco import COCO
from training.data.dataset import Dataset
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
    "coco": COCO,
    "ade20k": ADE20K,
    "imagenet": ImageNet,
    "voc": VOC,
    "rendered": RenderedRoads,
}
