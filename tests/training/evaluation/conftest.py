"""A small folder in the official layout, and models that know or almost know its labels."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.classes import ATTRIBUTES, DETECTION, DRIVABLE
from perception.runtime.letterbox import Letterbox
from perception.runtime.scene import read_scene
from perception.runtime.view import LANE_BYTE, Group, View
from training.data.sources import open_dataset
from training.evaluation.scores import evaluate

NATIVE, SIZE = (180, 320), (192, 320)  # letterboxed by padding alone: 6 px above and below
BOX = Letterbox(NATIVE, SIZE)
VIEWS = {
    "det": View("boxes", classes=DETECTION),
    "drivable": View("mask", classes=DRIVABLE),
    "lane": View("mask", encoding=LANE_BYTE),
    "scene": View("label", groups=tuple(Group(n, c) for n, c in ATTRIBUTES.items())),
}
HOURS = ("daytime", "night", "daytime", "undefined", "night")


def frame_labels(index):
    """(boxes xyxy + class, drivable mask, lane mask) of frame `index`."""
    rng = np.random.default_rng(index)
    corner = rng.uniform(0, [200, 90], (4, 2)).round(1)
    boxes = np.column_stack([corner, corner + rng.uniform(20, 80, (4, 2)).round(1), [2, 2, 3, 9]])
    drivable, lane = np.full(NATIVE, 2, np.uint8), np.full(NATIVE, 255, np.uint8)
    drivable[100:, 60 + index : 200], drivable[100:, 200:260] = 0, 1
    lane[90:, 60 : 62 + index % 2], lane[90:, 200:202] = 0b010110, 0b000111
    return boxes, drivable, lane


def corners(box):
    return dict(zip(("x1", "y1", "x2", "y2"), box[:4], strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five frames in the official layout; the last has no masks."""
    root = tmp_path / "bdd"
    for part in ("images/100k/val", "labels/drivable/masks/val", "labels/lane/masks/val"):
        (root / part).mkdir(parents=True)
    entries = []
    for index, hour in enumerate(HOURS):
        boxes, drivable, lane = frame_labels(index)
        image = np.full((*NATIVE, 3), 40 + index, np.uint8)
        cv2.imwrite(str(root / f"images/100k/val/f{index}.jpg"), image)
        if index != 4:
            cv2.imwrite(str(root / f"labels/drivable/masks/val/f{index}.png"), drivable)
            cv2.imwrite(str(root / f"labels/lane/masks/val/f{index}.png"), lane)
        labels = [
            {"id": str(n), "category": DETECTION[int(b[4])], "box2d": corners(b)}
            for n, b in enumerate(boxes)
        ]
        attributes = {"weather": "clear", "scene": "highway", "timeofday": hour}
        entries.append({"name": f"f{index}.jpg", "attributes": attributes, "labels": labels})
    (root / "labels/det_20").mkdir()
    (root / "labels/det_20/det_val.json").write_text(json.dumps(entries))
    return root


class Oracle:
    """Predicts the labels of each frame, which it knows by its grey value; `spoil` worsens them."""

    name, size_hw, views = "oracle", SIZE, VIEWS

    def __init__(self, spoil=False, views=VIEWS):
        self.spoil, self.views = spoil, views

    def __call__(self, frames):
        arrays = [self.arrays(int(frame[90, 160, 0]) - 40) for frame in frames]
        return [read_scene(array, self.views, BOX) for array in arrays]

    def arrays(self, index):
        boxes, drivable, lane = frame_labels(index)
        hour = ATTRIBUTES["timeofday"].index(HOURS[index]) if HOURS[index] != "undefined" else 0
        rng = np.random.default_rng(100 + index)
        scores = np.linspace(0.9, 0.5, len(boxes)) + rng.random(len(boxes)) / 100
        if self.spoil:
            boxes = boxes + np.column_stack([rng.normal(0, 6, (4, 4)), [0, 0, 0, -(index % 2)]])
            drivable, lane = np.roll(drivable, 9, 1), np.roll(lane, index, 1)
            hour = 0
        found = np.zeros((100, 6), np.float32)
        (top, left), scale = BOX.top_left, BOX.inner_hw[0] / BOX.frame_hw[0]
        xyxy = (boxes[:, :4] * scale + [left, top] * 2).astype(np.float32)
        found[: len(boxes)] = np.column_stack([xyxy, scores, boxes[:, 4]])
        padded = [np.full(SIZE, fill, np.uint8) for fill in (2, 255)]
        for out, mask in zip(padded, (drivable, lane), strict=True):
            out[BOX.inner] = mask
        scene = np.zeros((3, 6), np.float32)
        scene[0, 2] = scene[1, 5] = scene[2, hour] = 1
        return {"det": found, "drivable": padded[0], "lane": padded[1], "scene": scene}


@pytest.fixture
def oracle():
    """The class of models that know the labels of `folder`."""
    return Oracle


@pytest.fixture
def score():
    """score(folder, predictor, **options of evaluate) -> result."""

    def run(folder, predictor, split="val", **options):
        tasks = tuple(predictor.views)
        dataset = open_dataset(str(folder), split, tasks, SIZE, exact=True, strict=False)
        return evaluate(predictor, dataset, batch=2, threads=2, **options)

    return run
