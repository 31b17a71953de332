"""What `perceive --json` writes is read by the BDD100K reader as the same masks."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo.pipeline import Packet, SourceFrame
from demo.sinks import ScalabelSink
from perception.classes import DRIVABLE, LANE_CATEGORIES, LANE_DIRECTIONS, LANE_STYLES
from perception.hub import DEFAULT, FAST, ONNX, local_file
from perception.runtime.runner import Runner
from perception.runtime.scene import Mask, Scene
from perception.runtime.view import LANE_BYTE, View
from training.data.formats.bdd100k import BDD100K

AREAS = View("mask", classes=DRIVABLE)
LANES = View(
    "mask",
    encoding=LANE_BYTE,
    categories=LANE_CATEGORIES,
    styles=LANE_STYLES,
    directions=LANE_DIRECTIONS,
)
FRAME_HW = (360, 640)


def drawn() -> Scene:
    """Areas with a hole, lines of two classes that touch, a dashed line and a crosswalk."""
    area, lane = np.full((180, 320), 2, np.uint8), np.full((180, 320), 255, np.uint8)
    cv2.fillPoly(area, [np.array([[140, 80], [180, 80], [300, 179], [20, 179]])], 0)
    area[120:140, 140:170] = 2
    area[100:179, 250:310] = 1
    for x, value in ((30, 6), (160, 7), (290, 6 | 16)):
        cv2.line(lane, (160, 70), (x, 179), value, 4)
    lane[150:160, 60:200] = 0 | 32
    return Scene(FRAME_HW, {"a": Mask(area, FRAME_HW, AREAS), "l": Mask(lane, FRAME_HW, LANES)})


def reread(scenes: dict[str, Scene], images: dict[str, np.ndarray], root: Path) -> BDD100K:
    """A dataset in the official layout with the labels that perceive writes."""
    places = [root / f"labels/{kind}/polygons/{kind}_val.json" for kind in ("lane", "drivable")]
    (root / "images/100k/val").mkdir(parents=True)
    with ScalabelSink(places[0], "clip") as sink:
        for index, (name, scene) in enumerate(scenes.items()):
            cv2.imwrite(str(root / f"images/100k/val/{name}"), images[name])
            sink.write(Packet(SourceFrame(images[name], index, index / 10, name), scene))
    places[1].parent.mkdir(parents=True)
    shutil.copy(places[0], places[1])
    return BDD100K(root, "val", ("lane", "drivable"))


def overlap(scene: Scene, sample) -> list[float]:
    """IoU of the foreground of areas and of lanes."""
    masks = [mask.full for _, mask in scene.of(Mask)]
    area, lane = sorted(masks, key=lambda mask: mask.max() > 2)
    pairs = [
        (area < 2, sample.labels["drivable"].mask < 2),
        (lane < 64, sample.labels["lane"].lane < 64),
    ]
    return [(a & b).sum() / max((a | b).sum(), 1) for a, b in pairs]


def test_drawn_masks_read_back(tmp_path):
    scene = drawn()
    dataset = reread({"f.jpg": scene}, {"f.jpg": np.zeros((*FRAME_HW, 3), np.uint8)}, tmp_path)
    sample = dataset[0]
    assert min(overlap(scene, sample)) > 0.95
    lane, read = scene.outputs["l"].full, sample.labels["lane"].lane
    for value in (6, 7, 6 | 16, 32):  # every type by itself
        same, either = ((lane == value) & (read == value)), ((lane == value) | (read == value))
        assert same.sum() / either.sum() > 0.9


# Frames are twice the size of `fast`; at 1.54 times that of `default` edges fall between pixels,
# and lines are eight pixels wide.
@pytest.mark.slow
@pytest.mark.parametrize(("model", "least"), [(FAST, 0.95), (DEFAULT, 0.85)])
def test_the_model_s_masks_of_real_frames_read_back(tmp_path, model, least):
    folder = Path(__file__).resolve().parents[4] / "shared/data/bdd100k-real/images/100k/val"
    paths = sorted(folder.glob("*.jpg"))[::40]
    if not paths:
        pytest.skip("no frames under ../shared/data/bdd100k-real")
    runner = Runner(local_file(model, ONNX), "cpu", 1)
    images = {path.name: cv2.imread(str(path)) for path in paths}
    scenes = {name: runner(image) for name, image in images.items()}
    dataset = reread(scenes, images, tmp_path)
    for index in range(len(dataset)):
        sample = dataset[index]
        name = next(name for name in scenes if name.startswith(sample.name.split(".")[0]))
        assert min(overlap(scenes[name], sample)) > least
