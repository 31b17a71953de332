"""Labels made to do harm: each is refused in one line that names it, and none takes memory."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.errors import UserError

STEM = "0b00bbbb-00000002"


CHILD = """
import os, sys, pathlib
sys.path.insert(0, {fuzz!r})
import fuzz_readers as f
from training.data.formats.bdd100k import BDD100K
from training.data.coco import COCO
for place in sys.argv[1:]:
    root = pathlib.Path(place)
    os.environ["PVT_HYDRANET_CACHE"] = str(root / "file" / "x")  # where nothing can be written
    before = f.memory()[0]
    try:
        data = {kind}(root, "train")
        outcome = "read " + str(len([data[i] for i in range(len(data))]))
    except f.UserError as error:
        outcome = str(error)
    print((f.memory()[1] - before) >> 20, outcome)
"""


def in_child(*roots: Path, kind: str = "BDD100K") -> list[tuple[int, str]]:
    """(MB taken at most, what was said) of opening and reading each dataset."""
    for root in roots:
        (root / "file").touch()
    code = CHILD.format(fuzz=str(Path(__file__).parent), kind=kind)
    command = [sys.executable, "-c", code, *map(str, roots)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-1500:]
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    assert len(lines) == len(roots)
    return [(int(mb), outcome) for mb, _, outcome in lines]


@pytest.fixture
def root(tmp_path):
    return make_root(tmp_path)


def make_root(folder: Path) -> Path:
    """A BDD100K folder of one frame without labels."""
    frames = folder / "images/100k/train"
    frames.mkdir(parents=True)
    (frames / f"{STEM}.jpg").write_bytes(picture())
    return folder


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
    """A place where no table can be written."""
    monkeypatch.setenv("PVT_HYDRANET_CACHE", "/proc/no-folder")


def picture() -> bytes:
    return cv2.imencode(".jpg", np.full((36, 64, 3), 90, np.uint8))[1].tobytes()


# The beginning of a file of 2 GB, the rest of which is a hole; and what is said of it.
HUGE = {
    "zeros": (b"", "not valid JSON"),
    "list": (b"[", "not valid JSON"),
    "string": (b'[{"name": "', "not valid JSON"),
    "object": (b'{"frames": [', "not valid JSON"),
    # Spaces are valid inside a string: only the bound on one value ends this.
    "value": (b'[{"name": "' + b" " * (32 << 20), "no value ends within 8 million characters"),
}


@pytest.mark.slow
def test_two_gigabytes_of_json_are_refused_in_one_line(tmp_path, write):
    roots = [make_root(tmp_path / name) for name in HUGE]
    for root, (start, _) in zip(roots, HUGE.values(), strict=True):
        os.truncate(write(root / "labels/det_20/det_train.json", start), 2 << 30)
    for (mb, outcome), (_, message) in zip(in_child(*roots), HUGE.values(), strict=True):
        assert message in outcome
        assert "det_train.json" in outcome
        assert mb < 256


def test_a_million_invalid_frames_are_counted_not_stored(root, write):
    """Frames nobody has, nameless ones, and one frame again and again."""
    from training.data import builder
    from training.data.formats.bdd100k import BDD100K

    frame = json.dumps({"name": f"{STEM}.jpg", "labels": []})
    kinds = ('{"name": "nobody.jpg"}', "{}", frame, f'{{"name": "{"x" * 2000}"}}')
    text = ", ".join(kind for kind in kinds for _ in range(12_000))
    write(root / "labels/det_20/det_train.json", f"[{frame}, {text}]")
    found = BDD100K(root, "train", strict=None).table.texts
    assert len(found["problems"]) <= builder.MOST_LISTED + 1
    assert (0, True) in [(row, "occurs twice" in text) for row, text in found["problems"]]
    assert len(found["unused"]) == builder.MOST_LISTED + 1
    assert found["unused"][-1][1].endswith("14000 more like these")
    assert max(len(text) for _, text in found["unused"]) <= builder.LONGEST_LINE


@pytest.mark.parametrize("depth", [2000, 200_000])
@pytest.mark.parametrize(
    "place",
    [
        "labels/det_20/det_train.json",
        f"labels/100k/train/{STEM}.json",
        "labels/train.json",
    ],
)
def test_deeply_nested_json_is_one_line(place, depth, root, write):
    from training.data.formats.bdd100k import BDD100K

    good = [{"name": f"{STEM}.jpg", "labels": [], "attributes": {"weather": "clear"}}]
    write(root / "labels/det_20/det_train.json", json.dumps(good))
    deep = "[" * depth + "]" * depth
    text = f'{{"name": "{STEM}", "frames": {deep}}}' if "100k" in place else f'[{{"name": {deep}}}]'
    path = write(root / place, text)
    with pytest.raises(UserError, match=path.name) as caught:
        BDD100K(root, "train")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", [f"../../{STEM}.jpg", f"/etc/{STEM}.jpg", f"a/../{STEM}.jpg"])
def test_the_name_of_a_frame_stays_in_its_folder(name, root, write):
    from training.data.formats.bdd100k import BDD100K

    write(root / "labels/det_20/det_train.json", json.dumps([{"name": name, "labels": []}]))
    with pytest.raises(UserError, match=r"det_train\.json: frame name .* leaves its folder; fix"):
        BDD100K(root, "train")


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a/../../secret.jpg", ""])
def test_coco_and_voc_names_stay_in_their_folders(name, tmp_path, write):
    from training.data.coco import COCO
    from training.data.voc import VOC

    data = {
        "images": [{"id": 1, "file_name": name, "height": 36, "width": 64}],
        "annotations": [],
        "categories": [{"id": 3, "name": "car"}],
    }
    write(tmp_path / "annotations/instances_train2017.json", json.dumps(data))
    with pytest.raises(UserError, match=r"instances_train2017\.json.*(is not|leaves)"):
        COCO(tmp_path, "train")
    write(tmp_path / "ImageSets/Main/train.txt", name or "..")
    with pytest.raises(UserError, match=r"train\.txt names .* leaves its folder"):
        VOC(tmp_path, "train")


@pytest.mark.slow
def test_a_large_coco_file_streams(tmp_path, write):
    """60,000 annotations with long outlines, 36 MB of text, in the file's usual order."""
    path = tmp_path / "annotations/instances_train2017.json"
    path.parent.mkdir()
    write(tmp_path / "train2017/a.jpg", picture())
    outline = ", ".join(["1.5"] * 80)
    with open(path, "w") as file:
        file.write('{"info": {}, "images": [{"id": 7, "file_name": "a.jpg", "height": 36, ')
        file.write('"width": 64}], "annotations": [')
        for number in range(60_000):
            file.write(", " if number else "")
            file.write(f'{{"image_id": 7, "category_id": {3 + number % 2}, "iscrowd": 0, ')
            file.write(f'"bbox": [1, 2, 30, 30], "segmentation": [[{outline}]]}}')
        file.write('], "categories": [{"id": 3, "name": "car"}, {"id": 4, "name": "none"}]}')
    [(mb, outcome)] = in_child(tmp_path, kind="COCO")
    assert outcome == "read 1"
    assert mb < 100


def test_an_outline_far_outside_or_with_a_million_vertices_is_refused(root, write):
    from training.data.formats.bdd100k import BDD100K

    for vertices, why in (
        ([[0, -1e9], [5, 1e9]], "malformed"),
        ([[0, 1e300], [5, 10**400]], "malformed"),
        ([[number % 64, number % 36] for number in range(5000)], "malformed"),
    ):
        poly = [{"vertices": vertices, "types": "L" * len(vertices)}]
        label = {"id": 1, "category": "single white", "poly2d": poly}
        frames = [{"name": f"{STEM}.jpg", "labels": [label] * 5}]
        write(root / "labels/lane/polygons/lane_train.json", json.dumps(frames))
        with pytest.raises(UserError, match=why):
            BDD100K(root, "train")


@pytest.mark.slow
def test_the_longest_outlines_allowed_draw_within_bounds(root, write):
    """Zigzags across the frame by as many corners as are read, straight and bent."""
    wild = [[number % 2 * 90_000 - 20_000, number * 37 % 99 - 20] for number in range(2000)]
    labels = [
        {"category": name, "poly2d": [{"vertices": wild, "types": letter * 2000}]}
        for name in ("direct", "single white")
        for letter in "LC"
    ]
    text = json.dumps([{"name": f"{STEM}.jpg", "labels": labels}])
    write(root / "labels/lane/polygons/lane_train.json", text)
    write(root / "labels/drivable/polygons/drivable_train.json", text)
    [(mb, outcome)] = in_child(root)
    assert outcome == "read 1"
    assert mb < 512


def test_too_many_labels_in_one_frame_are_refused(root, write):
    from training.data.formats.bdd100k import BDD100K

    box = {"category": "car", "box2d": {"x1": 1, "y1": 1, "x2": 9, "y2": 9}}
    frames = [{"name": f"{STEM}.jpg", "labels": [box] * 10_001}]
    write(root / "labels/det_20/det_train.json", json.dumps(frames))
    with pytest.raises(UserError, match="10001 labels, at most 10000 are read"):
        BDD100K(root, "train")


def test_xml_entities_are_not_expanded(tmp_path, write):
    from training.data.voc import PascalXML

    write(tmp_path / "a.jpg", picture())
    write(tmp_path / "b.jpg", picture())
    lol = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    text = f'<!DOCTYPE x [<!ENTITY a0 "ha">{lol}]><annotation><object><name>&a9;</name></object>'
    path = write(tmp_path / "a.xml", text + "</annotation>")
    with pytest.raises(UserError, match=r"a\.xml: not XML of Pascal VOC"):
        PascalXML(tmp_path, "val")
    path.unlink()
    write(tmp_path / "b.xml", b"<annotation>" + b" " * (2 << 20) + b"</annotation>")
    with pytest.raises(UserError, match=r"b\.xml: 2 MB, at most 1"):
        PascalXML(tmp_path, "val")


def test_the_header_of_an_array_is_checked(tmp_path):
    from training.data.nyuv2 import read_array

    path = tmp_path / "0.npy"
    for text in (
        "{'descr': '<f4', 'fortran_order': False, 'shape': (100000, 100000, 3), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }",
        "{'descr': '<U9999999', 'fortran_order': False, 'shape': (4, 4), }",
        "{'descr': (((",
    ):
        head = text.encode().ljust(118) + b"\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(64))
        with pytest.raises(UserError, match=r"0\.npy: not a readable array .*; restore the file"):
            read_array(path)
