"""Predictions written by --export FORMAT:PATH are read back by the dataset of that format."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.runtime.annotations import FORMATS, Export
from perception.runtime.letterbox import Letterbox
from perception.runtime.scene import read_scene
from perception.runtime.view import LANE_BYTE, Group, View
from training.data.labels import Boxes
from training.data.sources import open_dataset

NAMES = ("cone", "forklift")
HW = (64, 96)


def scene_of(views: dict[str, View]):
    height, width = HW
    boxes = np.zeros((100, 6), np.float32)
    boxes[0], boxes[1] = (8, 10, 24, 30, 0.9, 1), (40, 12, 72, 44, 0.6, 0)
    area = np.full(HW, 1, np.uint8)
    cv2.fillPoly(area, [np.array([[0, 60], [30, 25], [60, 25], [90, 60]])], 0)
    lane = np.full(HW, 255, np.uint8)
    cv2.line(lane, (10, 60), (40, 25), 0, 2)
    arrays = {"det": boxes, "drivable": area, "lane": lane, "scene": np.array([[0.2, 0.8]])}
    return read_scene(arrays, views, Letterbox((height, width), HW))


OWN = {
    "det": View("boxes", classes=NAMES),
    "drivable": View("mask", classes=("yard", "background")),
    "lane": View("mask", encoding=LANE_BYTE, categories=("kerb",), styles=("solid", "dashed"),
                 directions=("parallel", "vertical")),
    "scene": View("label", groups=(Group("floor", ("wet", "dry")),)),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_exported_reads_back(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PVT_HYDRANET_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "set"
    (root / "images/train").mkdir(parents=True)
    scene = scene_of(OWN)
    with Export(name, root / FORMATS[name].place, OWN, subset="train") as export:
        for stem in ("a", "b"):
            cv2.imwrite(str(root / f"images/train/{stem}.png"), np.full((*HW, 3), 50, np.uint8))
            export.add(f"{stem}.png", scene)
    dataset = open_dataset(f"{name}:{root}", "train")
    assert [dataset.name(index) for index in range(len(dataset))] == ["a", "b"]
    labels = dataset[0].labels
    boxes = labels["det"]
    assert isinstance(boxes, Boxes)
    listed = dataset.classes["det"][""]
    assert [listed[index] for index in boxes.classes] == ["forklift", "cone"]
    np.testing.assert_allclose(boxes.xyxy, [[8, 10, 24, 30], [40, 12, 72, 44]], atol=0.02)
    if FORMATS[name].areas:
        truth, area = scene.outputs["drivable"].array() == 0, labels["drivable"].mask == 0
        assert (truth & area).sum() / (truth | area).sum() > 0.9
    if FORMATS[name].lines:
        assert dataset.classes["lane"]["categories"] == ("kerb",)
        drawn = labels["lane"].lane != 255
        assert drawn[58:60, 8:18].any()
        assert drawn[36:40, 26:36].any()
        assert dataset.classes["scene"] == {"floor": ("dry",)}
    if name == "scalabel":
        assert scalabel_categories(root / "labels/train.json")[:2] == ["forklift", "cone"]


def scalabel_categories(path: Path) -> list[str]:
    """Of the first frame of a file, as scalabel reads it; in a process of its own, because the
    toolkit's adapter loads scalabel with another pydantic."""
    if find_spec("scalabel") is None:
        pytest.skip("pip install 'pvt-hydranet[bdd]'")
    code = "import json, sys; from scalabel.label.io import load; "
    code += "print(json.dumps([label.category for label in load(sys.argv[1], 1).frames[0].labels]))"
    command = [sys.executable, "-c", code, str(path)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
