"""Damage in one split leaves the others usable; a split that is a link to another one is read."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from perception.errors import UserError
from training.data.examine import CheckReport, FrameCheck, _leaks, examine
from training.data.sources import open_dataset

HW = (48, 80)
BOX = (8, 8, 28, 28)
SPLITS = {"train": ("a", "b"), "val": ("c",)}


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(ord(path.stem[0]))
    assert cv2.imwrite(str(path), rng.integers(0, 256, (*HW, 3)).astype(np.uint8))


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def cut(path: Path) -> None:
    """What a download that stopped leaves."""
    path.write_bytes(path.read_bytes()[:-40])


def coco(root: Path) -> Path:
    for split, names in SPLITS.items():
        entries = [{"id": n, "file_name": f"{name}.png"} for n, name in enumerate(names)]
        boxes = [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [8, 8, 20, 20]}
            for n, _ in enumerate(names)
        ]
        categories = [{"id": 1, "name": "cone"}]
        data = {"images": entries, "annotations": boxes, "categories": categories}
        put(root / f"annotations/{split}.json", json.dumps(data))
    return root / "annotations/val.json"


def scalabel(root: Path) -> Path:
    box = dict(zip(("x1", "y1", "x2", "y2"), BOX, strict=True))
    for split, names in SPLITS.items():
        label = {"id": "0", "category": "cone", "box2d": box}
        frames = [{"name": f"{name}.png", "labels": [label]} for name in names]
        put(root / f"labels/{split}.json", json.dumps(frames))
    return root / "labels/val.json"


def cvat(root: Path) -> Path:
    for split, names in SPLITS.items():
        entries = "".join(
            f'<image id="{n}" name="{name}.png" width="{HW[1]}" height="{HW[0]}">'
            '<box label="cone" xtl="8" ytl="8" xbr="28" ybr="28"/></image>'
            for n, name in enumerate(names)
        )
        put(
            root / f"{split}.xml", f"<annotations><version>1.1</version>{entries}</annotations>\n\n"
        )
    return root / "val.xml"


def voc(root: Path) -> Path:
    for split, names in SPLITS.items():
        put(root / f"ImageSets/Main/{split}.txt", "\n".join(names))
        for name in names:
            sides = "<xmin>9</xmin><ymin>9</ymin><xmax>28</xmax><ymax>28</ymax>"
            box = f"<object><name>cone</name><bndbox>{sides}</bndbox></object>"
            put(root / f"Annotations/{name}.xml", f"<annotation>{box}</annotation>")
    return root / "Annotations/c.xml"


def labelme(root: Path) -> Path:
    shape = {"label": "cone", "shape_type": "rectangle", "points": [BOX[:2], BOX[2:]]}
    for split, names in SPLITS.items():
        for name in names:
            data = {"shapes": [shape], "imagePath": f"{name}.png"}
            put(root / f"images/{split}/{name}.json", json.dumps(data))
    return root / "images/val/c.json"


WRITERS: dict[str, Callable[[Path], Path]] = {
    "coco": coco,
    "scalabel": scalabel,
    "cvat": cvat,
    "voc": voc,
    "labelme": labelme,
}


def without_image(root: Path, label: Path) -> None:
    (root / "images/val/c.png").unlink()


@pytest.mark.parametrize("damage", [lambda _, label: cut(label), without_image])
@pytest.mark.parametrize("kind", WRITERS)
def test_damage_in_val_leaves_train(tmp_path: Path, kind: str, damage):
    label = WRITERS[kind](tmp_path)
    for split, names in SPLITS.items():
        for name in names:
            image(tmp_path / f"images/{split}/{name}.png")
    assert len(open_dataset(f"{kind}:{tmp_path}", "val", ["det"])) == 1
    damage(tmp_path, label)
    train = open_dataset(f"{kind}:{tmp_path}", "train", ["det"])
    assert [train.name(index) for index in range(len(train))] == ["a", "b"]
    assert train[1].labels["det"].classes.tolist() == [0]
    assert train.problems() == []
    with pytest.raises(UserError, match=label.name):
        open_dataset(f"{kind}:{tmp_path}", "val", ["det"])
    report, datasets = examine(f"{kind}:{tmp_path}")
    assert "train" in datasets
    named = [found for found in report.findings if label.name in found.file + found.message]
    assert [found.split for found in named] == ["val"]


def test_a_damaged_sample_of_fiftyone_leaves_the_other_splits(tmp_path: Path):
    samples = [
        {
            "filepath": f"data/{name}.png",
            "tags": [split],
            "found": {"detections": [{"label": "cone", "bounding_box": [0.1, 0.1, 0.2, 0.2]}]},
        }
        for split, names in SPLITS.items()
        for name in names
    ]
    samples[2]["found"] = {"detections": [{"label": "cone"}]}
    for sample in samples:
        image(tmp_path / str(sample["filepath"]))
    put(tmp_path / "samples.json", json.dumps({"samples": samples}))
    assert len(open_dataset(str(tmp_path), "train")) == 2
    with pytest.raises(UserError, match="sample 2: not readable"):
        open_dataset(str(tmp_path), "val")


def test_a_list_of_yolo_that_is_no_text_leaves_the_other_splits(tmp_path: Path):
    for name in ("a", "b"):
        image(tmp_path / f"images/{name}.png")
        put(tmp_path / f"labels/{name}.txt", "0 .5 .5 .25 .25\n")
    put(tmp_path / "data.yaml", "train: train.txt\nval: val.txt\nnames: [cone]\n")
    put(tmp_path / "train.txt", "images/a.png\nimages/b.png\n")
    (tmp_path / "val.txt").write_bytes(b"\xff\xfe\xfa")
    assert len(open_dataset(str(tmp_path), "train")) == 2
    with pytest.raises(UserError, match=r"val\.txt: no text"):
        open_dataset(str(tmp_path), "val")


def test_two_frames_of_one_name_leave_the_other_splits(tmp_path: Path):
    coco(tmp_path)
    for place in ("train/a", "train/b", "val/c"):
        image(tmp_path / f"images/{place}.png")
    path = tmp_path / "annotations/val.json"
    data = json.loads(path.read_text())
    data["images"] = [{"id": n, "file_name": f"{n}/c.png"} for n in (0, 1)]
    path.write_text(json.dumps(data))
    for number in (0, 1):
        image(tmp_path / f"images/val/{number}/c.png")
    assert len(open_dataset(f"coco:{tmp_path}", "train")) == 2
    with pytest.raises(UserError, match="two frames of one name"):
        open_dataset(f"coco:{tmp_path}", "val")


def imagenet(root: Path) -> None:
    for place in ("train/n01440764/a", "train/n01443537/b"):
        image(root / f"{place}.JPEG")


def test_a_folder_that_is_no_class_of_imagenet_leaves_the_other_splits(tmp_path: Path):
    imagenet(tmp_path)
    image(tmp_path / "val/n99999999/c.JPEG")
    assert len(open_dataset(str(tmp_path), "train")) == 2
    with pytest.raises(UserError, match="n99999999: not one of the 1000 classes"):
        open_dataset(str(tmp_path), "val")


@pytest.mark.parametrize(("link", "target"), [("val", "train"), ("atrain", "train")])
def test_val_of_imagenet_may_be_a_link(tmp_path: Path, link: str, target: str):
    imagenet(tmp_path)
    os.symlink(target, tmp_path / link)
    assert len(open_dataset(str(tmp_path), "train")) == 2
    if link != "val":  # a link of another name is no split
        with pytest.raises(UserError, match="no frames for split 'val'"):
            open_dataset(str(tmp_path), "val")
        return
    val = open_dataset(str(tmp_path), "val")
    assert [val.name(index) for index in range(2)] == ["n01440764_a", "n01443537_b"]
    assert [val[index].labels["imagenet"].labels.tolist() for index in range(2)] == [[0], [1]]
    ((kind, text),) = val.unused()
    assert kind == "one folder for both splits"
    assert "one of 2 images" in text


def test_train_may_be_the_link(tmp_path: Path):
    for place in ("val/n01440764/a", "val/n01443537/b"):
        image(tmp_path / f"{place}.JPEG")
    os.symlink("val", tmp_path / "train")
    assert [len(open_dataset(str(tmp_path), split)) for split in SPLITS] == [2, 2]


@pytest.mark.parametrize("kind", ["yolo", "masks"])
def test_val_of_other_folders_may_be_a_link(tmp_path: Path, kind: str):
    image(tmp_path / "images/train/a.png")
    os.symlink("train", tmp_path / "images/val")
    if kind == "yolo":
        put(tmp_path / "data.yaml", "names: [cone]\n")
        put(tmp_path / "labels/train/a.txt", "0 .5 .5 .25 .25\n")
        os.symlink("train", tmp_path / "labels/val")
    else:
        put(tmp_path / "masks/drivable/palette.yaml", "road: 0\n")
        cv2.imwrite(str(tmp_path / "masks/drivable/a.png"), np.zeros(HW, np.uint8))
    for split in SPLITS:
        dataset = open_dataset(f"{kind}:{tmp_path}", split)
        ((_, label),) = dataset[0].labels.items()
        assert sum(array.size for array in label.arrays().values()) > 0
    assert [kind for kind, _ in dataset.unused()] == ["one folder for both splits"]


def test_leaks_of_a_drive_are_found_in_linear_time():
    class Counted(list[FrameCheck]):
        read = 0

        def __iter__(self):
            Counted.read += len(self)
            return super().__iter__()

    count = 50
    checked = {
        split: Counted(FrameCheck(f"{split}{n}", f"{split}{n}.jpg") for n in range(count))
        for split in ("train", "val")
    }
    drives = {split: SimpleNamespace(drive=lambda index: "one") for split in checked}
    report = CheckReport("set")
    _leaks(report, drives, checked)  # type: ignore[arg-type]
    assert len(report.findings) == count
    assert Counted.read <= 6 * count
