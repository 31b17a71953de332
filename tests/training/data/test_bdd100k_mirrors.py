"""BDD100K as mirrors lay it out: the same samples as from the official layout."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from training.data.formats.bdd100k import BDD100K
from training.data.sources import kind_and_root, open_dataset

SHARED = Path(__file__).parents[4] / "shared/data"
GENUINE, TEN_K = SHARED / "bdd100k-2018", SHARED / "bdd100k-10k"
JSON = "bdd100k_labels_images_train.json"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PVT_HYDRANET_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def genuine() -> Path:
    if not (GENUINE / "labels" / JSON).is_file():
        pytest.skip(f"no {GENUINE} here")
    return GENUINE


def assert_same(found, expected) -> None:
    assert [found.name(i) for i in range(len(found))] == [
        expected.name(i) for i in range(len(expected))
    ]
    assert found.tasks == expected.tasks
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.image, theirs.image)
        assert ours.labels.keys() == theirs.labels.keys()
        for task, label in theirs.labels.items():
            for key, array in label.arrays().items():
                np.testing.assert_array_equal(ours.labels[task].arrays()[key], array)


@pytest.mark.parametrize("level", ["", "trainA"])
def test_the_nested_mirror(tmp_path: Path, genuine: Path, level: str):
    images = tmp_path / "set/bdd100k/bdd100k/images/100k/train" / level
    shutil.copytree(genuine / "images/100k/train", images)
    labels = tmp_path / "set/bdd100k_labels_release/bdd100k/labels"
    labels.mkdir(parents=True)
    shutil.copy(genuine / "labels" / JSON, labels)
    (tmp_path / "set/bdd100k_seg/bdd100k/seg/images/val").mkdir(parents=True)
    assert kind_and_root(str(tmp_path / "set"))[0] == "bdd100k"
    assert_same(BDD100K(tmp_path / "set", "train"), BDD100K(genuine, "train"))


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_nested_mirror_of_the_10k_set(tmp_path: Path, split: str):
    if not TEN_K.is_dir():
        pytest.skip(f"no {TEN_K} here")
    seg = tmp_path / "set/bdd100k_seg/bdd100k/seg"
    for part in ("train", "val"):
        shutil.copytree(TEN_K / "images/10k" / part, seg / "images" / part)
        (seg / "labels" / part).mkdir(parents=True)
        for mask in (TEN_K / "labels/sem_seg/masks" / part).iterdir():
            shutil.copy(mask, seg / "labels" / part / f"{mask.stem}_train_id.png")
            color = seg / "color_labels" / part / f"{mask.stem}_train_color.png"
            color.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(mask, color)
    assert kind_and_root(str(tmp_path / "set"))[0] == "bdd100k"
    assert_same(BDD100K(tmp_path / "set", split), BDD100K(TEN_K, split))


def test_images_and_labels_as_two_downloads(tmp_path: Path, genuine: Path):
    shutil.copytree(genuine / "images", tmp_path / "images/images")
    (tmp_path / "labels").mkdir()
    shutil.copy(genuine / "labels" / JSON, tmp_path / "labels")
    found = open_dataset(str(tmp_path / "images"), "train", labels=tmp_path / "labels")
    assert_same(found, BDD100K(genuine, "train"))


def test_of_two_candidates_the_first_is_taken_and_named(
    tmp_path: Path, bdd_frames, bdd_write, capsys
):
    bdd_write(tmp_path, "masks", bdd_frames)
    bdd_write(tmp_path / "bdd100k", "masks", bdd_frames[:1])
    assert len(BDD100K(tmp_path, "train")) == len(bdd_frames)
    said = capsys.readouterr().err
    assert (
        f"{tmp_path}/images/100k/train: used instead of {tmp_path}/bdd100k/images/100k/train"
        in said
    )


def to_fiftyone(frame: dict) -> dict:
    """As FiftyOne's hub copies store a frame of the 2018 release."""

    def outlines(label):
        return [
            (np.array(polygon["vertices"]) / (1280, 720)).tolist() for polygon in label["poly2d"]
        ]

    boxes = [label for label in frame["labels"] if "box2d" in label]
    lines = [label for label in frame["labels"] if "poly2d" in label]
    attributes = frame["attributes"]
    return {
        "filepath": f"data/{frame['name']}",
        "tags": ["train"],
        **{name: {"_cls": "Classification", "label": value} for name, value in attributes.items()},
        "detections": {
            "detections": [
                {
                    "label": label["category"],
                    "bounding_box": [
                        label["box2d"]["x1"] / 1280,
                        label["box2d"]["y1"] / 720,
                        (label["box2d"]["x2"] - label["box2d"]["x1"]) / 1280,
                        (label["box2d"]["y2"] - label["box2d"]["y1"]) / 720,
                    ],
                    "attributes": {
                        name: {"value": bool(label["attributes"].get(name))}
                        for name in ("occluded", "truncated")
                    },
                }
                for label in boxes
            ]
        },
        "polylines": {
            "polylines": [
                {
                    "label": label["category"],
                    "points": outlines(label),
                    "closed": label["category"] == "drivable area",
                    "attributes": {
                        name: {"value": value} for name, value in label["attributes"].items()
                    },
                }
                for label in lines
            ]
        },
    }


def has_curved_lane(frame: dict) -> bool:
    return any(
        label["category"] == "lane" and "C" in polygon["types"]
        for label in frame["labels"]
        for polygon in label.get("poly2d", ())
    )


def test_a_fiftyone_export(tmp_path: Path, genuine: Path):
    frames = json.loads((genuine / "labels" / JSON).read_text())
    shutil.copytree(genuine / "images/100k/train", tmp_path / "set/data")
    samples = {"samples": [to_fiftyone(frame) for frame in frames]}
    (tmp_path / "set/samples.json").write_text(json.dumps(samples))
    assert kind_and_root(str(tmp_path / "set"))[0] == "fiftyone"
    found, expected = (open_dataset(str(root), "train") for root in (tmp_path / "set", genuine))
    assert found.classes == {} or set(found.tasks) == set(expected.tasks)
    names = {expected.name(i): i for i in range(len(expected))}
    curved = {frame["name"][:-4] for frame in frames if has_curved_lane(frame)}
    assert 0 < len(curved) < len(found)
    for index in range(len(found)):
        ours, theirs = found[index].labels, expected[names[found.name(index)]].labels
        boxes, known = ours["det"].arrays(), theirs["det"].arrays()
        np.testing.assert_allclose(boxes["boxes_xyxy"], known["boxes_xyxy"], atol=0.01)
        for key in ("classes", "ignore", "occluded", "truncated"):
            np.testing.assert_array_equal(boxes[key], known[key], err_msg=key)
        if "scene" in theirs:
            np.testing.assert_array_equal(ours["scene"].labels, theirs["scene"].labels)
        if "lane" in theirs and found.name(index) not in curved:
            np.testing.assert_array_equal(ours["lane"].lane, theirs["lane"].lane)
