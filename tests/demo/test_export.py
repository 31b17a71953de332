"""--export of perceive and perceive-archive."""

import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from demo import perceive as command
from perception.classes import DRIVABLE
from perception.runtime.annotations import scalabel_frame
from perception.runtime.scene import Mask, Scene
from perception.runtime.shapes import annotate
from perception.runtime.view import View


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "b"):
        image = np.full((120, 200, 3), 90, np.uint8)
        image[60:, :100] = (250, 60, 60)
        cv2.imwrite(str(folder / f"{name}.png"), image)
    return folder


def perceive(photos: Path, model: Path, *words: str) -> int:
    return command.main([str(photos), "--model", str(model), "--provider", "cpu", *words])


def test_every_format_holds_the_same_boxes(photos: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for target in ("scalabel:s.json", "coco:c.json", "yolo:y", "cvat:v.xml"):
        kind, name = target.split(":")
        assert (
            perceive(photos, tiny_onnx, "--score", "0.5", "--export", f"{kind}:{out / name}") == 0
        )
    frame = json.loads((out / "s.json").read_text())[0]
    (box,) = [label for label in frame["labels"] if label["box2d"]]
    coco = json.loads((out / "c.json").read_text())
    (item,) = [i for i in coco["annotations"] if "bbox" in i and i["image_id"] == 1]
    names = {entry["id"]: entry["name"] for entry in coco["categories"]}
    lines = (out / "y" / "labels" / "a.txt").read_text().splitlines()
    root = ElementTree.parse(out / "v.xml").getroot()
    (element,) = root.find("image").findall("box")  # type: ignore[union-attr]
    assert names[item["category_id"]] == box["category"] == element.get("label") == "car"
    assert frame["name"] == coco["images"][0]["file_name"] == "a.png"
    x1, y1, x2, y2 = (box["box2d"][side] for side in ("x1", "y1", "x2", "y2"))
    assert item["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.02)
    number, *numbers = map(float, lines[0].split())
    expected = [(x1 + x2) / 400, (y1 + y2) / 240, (x2 - x1) / 200, (y2 - y1) / 120]
    assert (len(lines), number, numbers) == (1, 0, pytest.approx(expected, abs=1e-3))
    sides = [float(element.get(side, "")) for side in ("xtl", "ytl", "xbr", "ybr")]
    assert sides == pytest.approx([x1, y1, x2, y2], abs=0.02)
    lines_and_areas = {tuple(p["closed"] for p in e["poly2d"]) for e in frame["labels"][1:]}
    assert lines_and_areas == {(True,), (False,)}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("x.json", "write FORMAT:PATH"),
        ("cocoo:x.json", "did you mean 'coco'"),
        ("coco:.", "a folder; name a .json file"),
    ],
)
def test_a_wrong_target_is_one_line(
    photos: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str], target: str, said: str
) -> None:
    assert perceive(photos, tiny_onnx, "--export", target) == 2
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("error")]
    assert said in line


def test_the_size_of_a_frame_in_scalabel() -> None:
    scene = Scene((120, 200), {})
    frame = scalabel_frame(annotate("a", scene), 0)
    assert frame["size"] == {"width": 200, "height": 120}


def test_areas_come_largest_first() -> None:
    """A reader draws them in this order: small ones lie on large ones."""
    small = np.full((40, 60), 2, np.uint8)
    small[10:30, 10:50] = DRIVABLE.index("alternative")
    small[15:20, 20:30] = DRIVABLE.index("direct")
    mask = Mask(small, (40, 60), View("mask", classes=DRIVABLE))
    shapes = annotate("a", Scene((40, 60), {"m": mask})).shapes
    assert [shape.category for shape in shapes] == ["alternative", "direct"]
