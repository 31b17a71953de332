import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo.pipeline import Packet, SourceFrame
from demo.sinks import ScalabelSink
from perception.classes import DRIVABLE, LANE_CATEGORIES, LANE_DIRECTIONS, LANE_STYLES
from perception.runtime.camera import Camera
from perception.runtime.camera_file import CameraFile
from perception.runtime.road import RoadGeometry
from perception.runtime.scene import Boxes, Labels, Mask, Scene
from perception.runtime.view import LANE_BYTE, View

IMAGE = np.zeros((100, 200, 3), np.uint8)
LANES = View(
    "mask",
    encoding=LANE_BYTE,
    categories=LANE_CATEGORIES,
    styles=LANE_STYLES,
    directions=LANE_DIRECTIONS,
)


def packet(**outputs) -> Packet:
    return Packet(SourceFrame(IMAGE, 4, 0.16, "clip-0000005"), Scene((100, 200), outputs))


def boxes(scores, ids=None) -> Boxes:
    xyxy = np.tile(np.array([[10, 20, 30.123456, 40]], np.float32), (len(scores), 1))
    ids = None if ids is None else np.array(ids)
    return Boxes(xyxy, np.array(scores, np.float32), np.zeros(len(scores), int), ("car",), ids)


def logged(one: Packet, folder: Path, **more) -> dict:
    """The line of a frame in a log."""
    with ScalabelSink(folder / "o.jsonl", "clip.mp4", **more) as sink:
        sink.write(one)
    return json.loads((folder / "o.jsonl").read_text())


def test_an_empty_scene_is_a_frame_without_labels(tmp_path):
    frame = logged(packet(), tmp_path)
    assert frame["labels"] == []
    assert (frame["name"], frame["videoName"]) == ("clip-0000005", "clip.mp4")
    assert (frame["frameIndex"], frame["timestamp"]) == (4, 160)


def test_boxes_attributes_and_ids(tmp_path):
    outputs = {"b": boxes([0.9, 0.5, 0.1], [7, -1, 3]), "l": Labels({"weather": {"clear": 0.9}})}
    frame = logged(packet(**outputs), tmp_path)
    assert frame["attributes"] == {"weather": "clear"}
    first, second = frame["labels"]
    assert {key: value for key, value in first.items() if value is not None} == {
        "id": "7",
        "category": "car",
        "score": 0.9,
        "box2d": {"x1": 10.0, "y1": 20.0, "x2": 30.12, "y2": 40.0},
    }
    assert second["id"] == "4-1"


def test_masks_become_closed_outlines_in_frame_pixels(tmp_path):
    area = np.full((50, 100), 2, np.uint8)
    area[10:30, 20:60] = 1
    area[0, 0] = 0  # a speck
    lane = np.full((50, 100), 255, np.uint8)
    lane[20:24, :] = LANE_CATEGORIES.index("single yellow") | 16 | 32
    outputs = {
        "a": Mask(area, (100, 200), View("mask", classes=DRIVABLE)),
        "p": Mask(lane, (100, 200), LANES),
    }
    drivable, mark = logged(packet(**outputs), tmp_path)["labels"]
    assert drivable["category"] == "alternative"
    shape = drivable["poly2d"][0]
    assert (shape["closed"], shape["types"]) == (True, "LLLL")
    vertices = np.array(shape["vertices"])
    np.testing.assert_allclose(vertices.min(0), [40, 20])  # the edges of its pixels
    np.testing.assert_allclose(vertices.max(0), [120, 60])
    assert mark["category"] == "single yellow"
    assert mark["attributes"] == {"laneStyle": "dashed", "laneDirection": "vertical"}


def test_the_file_has_one_line_per_frame_and_appears_when_complete(tmp_path):
    path = tmp_path / "o.jsonl"
    with ScalabelSink(path, "clip.mp4") as sink:
        sink.write(packet(b=boxes([0.9])))
        sink.write(packet())
        assert not path.exists()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [len(line["labels"]) for line in lines] == [1, 0]
    with pytest.raises(RuntimeError), ScalabelSink(tmp_path / "x.jsonl", "c"):
        raise RuntimeError
    assert [entry.name for entry in tmp_path.iterdir()] == ["o.jsonl"]


def test_the_number_of_outlines_is_bounded(tmp_path):
    noise = np.random.default_rng(0).integers(0, 3, (384, 640), np.uint8)
    mask = Mask(noise, (720, 1280), View("mask", classes=("a", "b", "c")))
    assert len(logged(packet(a=mask), tmp_path)["labels"]) <= 300


def test_with_the_road_lanes_are_open_lines_and_boxes_have_distances(tmp_path):
    camera = Camera((100, 200), (170, 170), (100, 50), 1.4)
    lane = np.full((100, 200), 255, np.uint8)
    for y in range(56, 100):  # 1.7 m to either side, 3 pixels wide
        for x in (99.5 - 1.2 * (y - 49.5), 99.5 + 1.2 * (y - 49.5)):
            lane[y, max(round(x) - 1, 0) : max(round(x) + 2, 0)] = 6
    seen = boxes([0.9, 0.9])
    seen.xyxy[:] = (82, 60, 118, 80), (82, 20, 118, 40)
    outputs = {"b": seen, "p": Mask(lane, (100, 200), LANES)}
    one = packet(**outputs)
    geometry = RoadGeometry(CameraFile(camera, True, Path("camera.yaml")))
    one.road = geometry.update(one.scene, 0.0)
    frame = logged(one, tmp_path, geometry=True)
    near, above, left, right = frame["labels"]
    assert near["attributes"]["distance_m"] == pytest.approx(170 * 1.4 / 30, abs=0.05)
    assert near["attributes"]["lead"] is True
    assert "attributes" not in above
    assert (left["attributes"]["side"], right["attributes"]["side"]) == ("ego left", "ego right")
    assert left["poly2d"][0]["closed"] is False
    assert len(left["poly2d"][0]["types"]) == len(left["poly2d"][0]["vertices"])
    assert np.mean(right["attributes"]["right_m"]) == pytest.approx(1.68, abs=0.1)
    assert frame["attributes"]["ego_offset_m"] == pytest.approx(0, abs=0.1)


def test_an_area_with_a_hole_is_one_polygon(tmp_path):
    area = np.full((50, 100), 2, np.uint8)
    area[10:30, 20:60] = 1
    area[15:20, 30:40] = 2
    outputs = {"a": Mask(area, (50, 100), View("mask", classes=DRIVABLE))}
    (label,) = logged(packet(**outputs), tmp_path)["labels"]
    (polygon,) = label["poly2d"]
    drawn = np.zeros((50, 100), np.uint8)
    cv2.fillPoly(drawn, [np.round(16 * np.array(polygon["vertices"]) - 8).astype(int)], 1, shift=4)
    assert drawn[17, 35] == 0
    assert drawn[12, 35] == drawn[25, 50] == 1


def test_a_list_is_what_scalabel_loads(tmp_path):
    path = tmp_path / "o.json"
    with ScalabelSink(path, "clip.mp4") as sink:
        for _ in range(3):
            sink.write(packet(b=boxes([0.9, 0.8], [5, -1])))
    assert len(json.loads(path.read_text())) == 3
    if find_spec("scalabel") is None:
        pytest.skip("scalabel is not installed (extra bdd)")
    # In a process of its own: the toolkit's adapter imports scalabel in another way.
    code = (
        "import sys; from scalabel.label.io import load; frames = load(sys.argv[1]).frames;"
        "ids = [label.id for label in frames[0].labels];"
        "print(len(frames), *ids, frames[2].labels[0].box2d.x2)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.stdout.split() == ["3", "5", "4-1", "30.12"], done.stderr
    with ScalabelSink(tmp_path / "none.json", "clip.mp4"):
        pass
    assert json.loads((tmp_path / "none.json").read_text()) == []
