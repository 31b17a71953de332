"""The page's lines against the runtime's, on a drawn road, in Node."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from perception.classes import LANE_CATEGORIES
from perception.runtime.lanes import along_lanes, lines_along
from perception.runtime.scene import Mask
from perception.runtime.view import LANE_BYTE, View

MODULE = Path(__file__).resolve().parents[3] / "demo" / "web" / "lanes.js"
VIEW = View("mask", encoding=LANE_BYTE, categories=LANE_CATEGORIES, styles=("solid", "dashed"))
CODE = """
import { readFileSync } from "node:fs";
import { findLanes } from "MODULE";
const { values, hw, crosswalk } = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(findLanes(values, hw, crosswalk)));
"""


def in_node(byte: np.ndarray) -> list[dict]:
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    given = {
        "values": byte.ravel().tolist(),
        "hw": list(byte.shape),
        "crosswalk": LANE_CATEGORIES.index("crosswalk"),
    }
    command = ["node", "--input-type=module", "-e", CODE.replace("MODULE", MODULE.as_uri())]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def road() -> np.ndarray:
    byte = np.full((200, 320), 255, np.uint8)
    for y in range(110, 200):
        for slope, value in ((-0.9, 6), (0.8, 7 | 16)):
            x = round(160 + slope * (y - 90))
            byte[y, max(x - 3, 0) : x + 4] = value
    byte[150:158, 130:190] = 6 | 32  # a stop line
    byte[170:190, 120:200] = LANE_CATEGORIES.index("crosswalk")
    return byte


def test_the_lines_are_those_of_the_runtime():
    byte = road()
    found = sorted(in_node(byte), key=lambda line: line["points"][0][0])
    mask, ahead = Mask(byte, (200, 320), VIEW), (160.0, 90.0)
    lanes = along_lanes(mask, lines_along(mask, ahead), ahead)
    assert [LANE_CATEGORIES[line["category"]] for line in found] == [one.category for one in lanes]
    assert [line["dashed"] for line in found] == [one.style == "dashed" for one in lanes]
    for line, lane in zip(found, lanes, strict=True):
        points = np.array(line["points"])
        expected = lane.curve.x(points[:, 1])
        assert np.abs(points[:, 0] - expected).max() < 2
        assert (np.diff(points[:, 2]) <= 0).all()  # from near to far


def test_a_mask_without_lines_has_none():
    assert in_node(np.full((20, 30), 255, np.uint8)) == []
    assert in_node(np.full((1, 1), 6, np.uint8)) == []
