"""What people's folders hold, read or named: no label, shape, class or frame vanishes silently."""

import json
import os
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from perception.errors import UserError
from perception.runtime.view import View
from perception.tasks import TASKS
from training.config import DataArgs
from training.data.augment import make_augmentation
from training.data.classes import ClassLists, read_classes
from training.data.examine import examine
from training.data.files import split_word, walk
from training.data.labels import Boxes, LaneMask, Mask
from training.data.sample import Sample
from training.data.sources import kind_and_root, open_dataset, open_sources
from training.evaluate import DataOptions, open_data

HW = (48, 80)
LINE = "{} .5 .5 .25 .25\n"


def image(path: Path, seed: int = 0, size_hw: tuple[int, int] = HW) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size_hw, 3)).astype(np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def put(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def yolo(root: Path, names: str = "[cone, forklift]", n: int = 6) -> Path:
    for i in range(n + 2):
        split = "train" if i < n else "val"
        image(root / f"images/{split}/f{i:02}.png", i)
        put(root / f"labels/{split}/f{i:02}.txt", LINE.format(i % 2))
    put(root / "data.yaml", f"names: {names}\n")
    return root


def coco(root: Path, annotations: list[dict], names=("cone", "forklift"), ids=(1,)) -> Path:
    """One training frame under `ids`, one validation frame."""
    for split in ("train", "val"):
        image(root / f"images/{split}/{split}.png", len(split))
        data = {
            "images": [{"id": n, "file_name": f"{split}.png", "width": HW[1], "height": HW[0]}
                       for n in ids],
            "categories": [{"id": n, "name": name} for n, name in enumerate(names, 1)],
            "annotations": [{"id": n, "image_id": ids[0], **item}
                            for n, item in enumerate(annotations)],
        }  # fmt: skip
        put(root / f"annotations/{split}.json", json.dumps(data))
    return root


def boxes_of(word: str, split: str = "train", **options) -> int:
    dataset = open_dataset(word, split, ["det"], **options)
    return sum(len(dataset[index].labels["det"].classes) for index in range(len(dataset)))


def findings(word: str) -> list[tuple[str, str]]:
    return [(found.kind, f"{found.file}: {found.message}") for found in examine(word)[0].findings]


# Classes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names", [("vehicle", "person"), ("vehicle", "bike"), ("person", "car"), ("van", "trailer")]
)
def test_bdd100ks_other_names_are_classes_of_other_data(tmp_path: Path, names: tuple[str, str]):
    root = yolo(tmp_path / "yolo", f"[{', '.join(names)}]")
    assert kind_and_root(str(root))[0] == "yolo"
    dataset = open_dataset(str(root), "train", ["det"])
    assert dataset.classes["det"][""] == names
    shown = [dataset[index].labels["det"] for index in range(6)]
    assert [boxes.classes.tolist() for boxes in shown] == [[0], [1]] * 3
    assert not any(boxes.ignore.any() for boxes in shown)
    report, _ = examine(str(root))
    assert report.splits["train"]["boxes"] == dict.fromkeys(names, 3)
    assert report.findings == []
    lists = read_classes(root / "data.yaml")
    given = open_dataset(str(root), "train", ["det"], classes=lists)
    assert given[1].labels["det"].classes.tolist() == [1]
    model = ClassLists.of_views({"det": View("boxes", classes=names)})  # as eval-bdd opens it
    scored = open_dataset(str(root), "val", ["det"], classes=model)
    assert [scored[index].labels["det"].classes.tolist() for index in (0, 1)] == [[0], [1]]
    box = {"category_id": 2, "bbox": [8, 8, 20, 20]}
    found = open_dataset(f"coco:{coco(tmp_path / 'coco', [box], names)}", "train", ["det"])
    assert (found.classes["det"][""], found[0].labels["det"].classes.tolist()) == (names, [1])


def test_a_release_of_bdd100k_keeps_its_names(tmp_path: Path):
    old = "[person, rider, car, truck, bus, train, motor, bike, traffic light, traffic sign]"
    assert kind_and_root(str(yolo(tmp_path / "old", old)))[0] == "bdd100k"
    assert kind_and_root(str(yolo(tmp_path / "some", "[car, truck]")))[0] == "bdd100k"


@pytest.mark.parametrize("kind", ["yolo", "coco"])
def test_a_class_without_labels_is_named(tmp_path: Path, kind: str):
    names = ("cone", "forklift", "ghost")
    root = tmp_path / "set"
    if kind == "yolo":
        yolo(root, f"[{', '.join(names)}]")
    else:
        both = [{"category_id": n, "bbox": [8, 8, 20, 20]} for n in (1, 2)]
        coco(root, both, names)
    ((found, said),) = findings(f"{kind}:{root}")
    assert found == "class without labels"
    assert "'ghost' has no label in any split" in said
    train, val = open_sources(DataArgs(data=(f"{kind}:{root}",)), ["det"], 0)
    assert train.remarks() == val.remarks() == ["no frame shows ghost"]


def test_a_split_without_objects_is_named(tmp_path: Path):
    root = yolo(tmp_path)
    for path in (root / "labels/val").iterdir():
        path.write_text("")
    ((kind, said),) = findings(f"yolo:{root}")
    assert (kind, said.endswith("expected?")) == ("split without objects", True)
    _, val = open_sources(DataArgs(data=(f"yolo:{root}",)), ["det"], 0)
    assert val.remarks() == ["no frame shows any object"]


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("[yes, no]", ("yes", "no")),
        ("[true, Off]", ("true", "Off")),
        ("{0: on, 1: 2024-01-01}", ("on", "2024-01-01")),
        ("[030, 1e3]", ("030", "1e3")),
    ],
)
def test_class_names_are_texts(tmp_path: Path, written: str, names: tuple[str, str]):
    root = yolo(tmp_path, written)
    put(root / "data.yaml", f"nc: 2\nnames: {written}\n")
    assert open_dataset(f"yolo:{root}", "train").classes["det"][""] == names
    lists = read_classes(put(tmp_path / "classes.yaml", f"det: {{{names[0]}: [{names[1]}]}}"))
    assert lists.index("det", names[1]) == 0


# Links, lists, names ------------------------------------------------------------------------------


def test_links_to_folders_are_followed(tmp_path: Path):
    root = yolo(tmp_path / "set")
    (root / "labels").rename(tmp_path / "kept")
    (root / "labels").symlink_to(tmp_path / "kept")
    (root / "images").rename(tmp_path / "frames")
    (root / "images").symlink_to(Path("../frames"))
    (root / "images/train/up").symlink_to(root)  # a loop
    (root / "latest").symlink_to(root / "images/train")  # the same images again
    assert (boxes_of(f"yolo:{root}"), boxes_of(f"yolo:{root}", "val")) == (6, 2)
    assert findings(f"yolo:{root}") == []
    put(tmp_path / "kept/train/f00.txt", LINE.format(0) * 3)
    assert boxes_of(f"yolo:{root}") == 8  # the table is not older than what links lead to


def test_a_folder_that_may_not_be_read_is_left_out(tmp_path: Path, monkeypatch):
    """As lost+found is at the top of a disk."""
    root, scandir = yolo(tmp_path / "set"), os.scandir
    (root / "lost+found").mkdir()

    def refuse(path):
        if str(path).rstrip("/").endswith("lost+found"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert boxes_of(str(root)) == 6


def test_a_link_of_xml_files_and_loops_of_two_links(tmp_path: Path):
    root, kept = tmp_path / "set", tmp_path / "kept"
    for name in ("a", "b"):
        image(root / f"images/{name}.png", ord(name))
        item = "<object><name>cone</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax>"
        text = f"<annotation><filename>{name}.png</filename>{item}<ymax>9</ymax></bndbox></object>"
        put(kept / f"{name}.xml", f"{text}</annotation>")
    (root / "Annotations").symlink_to(kept)
    (kept / "back").symlink_to(root)
    (root / "there").symlink_to(kept)
    assert [boxes_of(f"voc:{root}", split) for split in ("train", "val")] == [1, 1]
    assert len(list(walk(root))) < 10


@pytest.mark.parametrize(
    "written",
    [
        "{root}/images/all/{name}",
        "./images/all/{name}",
        "/moved/away/images/all/{name}",
        "images\\all\\{name}",
    ],
)
def test_list_files_make_the_splits(tmp_path: Path, written: str):
    root = tmp_path / "set"
    for i in range(8):
        image(root / f"images/all/f{i}.png", i)
        put(root / f"labels/all/f{i}.txt", LINE.format(i % 2))
    parts = {"train": (0, 2, 4), "val": (1, 7)}
    for split, numbers in parts.items():
        lines = [written.format(root=root, name=f"f{i}.png") for i in numbers]
        put(root / f"lists/{split}.txt", "\ufeff" + "\r\n".join(lines) + "\r\n")
    put(root / "data.yaml", "train: lists/train.txt\nval: lists/val.txt\nnames: [cone, forklift]")
    if written.startswith("./"):  # of the list's folder, or of the data file's
        put(
            root / "data.yaml", (root / "data.yaml").read_text().replace("lists/", f"{root}/lists/")
        )
    for split, numbers in parts.items():
        dataset = open_dataset(f"yolo:{root}", split)
        assert [dataset.name(i) for i in range(len(dataset))] == [f"f{i}" for i in numbers]
    ((kind, said),) = findings(f"yolo:{root}")
    assert kind == "image without split"
    assert "f3.png: in no split (one of 3 images)" in said
    with open(root / "lists/val.txt", "a") as file:
        file.write("images/all/gone.png\n")
    found = dict(findings(f"yolo:{root}"))
    assert "val.txt line 3: no image images/all/gone.png" in found["list line without image"]
    train, _ = open_sources(DataArgs(data=(f"yolo:{root}",)), ["det"], 0)
    assert any("line 3: no image" in line for line in train.remarks())


def test_a_data_file_whose_splits_are_elsewhere(tmp_path: Path):
    root = yolo(tmp_path)
    put(root / "data.yaml", "train: images/train\nval: gone/val\nnames: [cone, forklift]")
    ((kind, said),) = findings(f"yolo:{root}")
    assert kind == "split without images"
    assert "data.yaml: val: gone/val is not below" in said


def test_one_folder_for_both_splits_is_said(tmp_path: Path):
    root = yolo(tmp_path)
    put(root / "data.yaml", "train: images/train\nval: images/train\nnames: [cone, forklift]")
    assert (boxes_of(f"yolo:{root}"), boxes_of(f"yolo:{root}", "val")) == (6, 6)
    _, val = open_sources(DataArgs(data=(f"yolo:{root}",)), ["det"], 0)
    assert any("train and val are the same 6 images" in line for line in val.remarks())
    assert "one folder for both splits" in dict(findings(f"yolo:{root}"))


def test_labels_without_images_are_named(tmp_path: Path):
    root = yolo(tmp_path)
    (root / "images/train/f03.png").unlink()
    ((kind, said),) = findings(f"yolo:{root}")
    assert (kind, "train/f03.txt: no image" in said) == ("label without frame", True)


def test_images_that_no_label_file_names(tmp_path: Path):
    root = coco(tmp_path, [{"category_id": n, "bbox": [8, 8, 20, 20]} for n in (1, 2)])
    image(root / "images/train/extra.png", 9)
    ((kind, said),) = findings(f"coco:{root}")
    assert (kind, "extra.png" in said) == ("image without label", True)


def test_suffixes_in_any_case_and_dot_files(tmp_path: Path):
    root = yolo(tmp_path / "yolo")
    for path in [*root.rglob("*.txt"), *root.rglob("*.png")]:
        path.rename(path.with_suffix(path.suffix.upper()))
    put(root / "labels/train/._f00.TXT", b"\0\5\x16\7")
    put(root / "images/train/._f00.PNG", b"\0\5\x16\7")
    assert (boxes_of(f"yolo:{root}"), findings(f"yolo:{root}")) == (6, [])
    voc = tmp_path / "voc"
    for name in ("a", "b"):
        image(voc / f"{name}.png", ord(name))
        box = "<xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax>"
        item = f"<object><name>cone</name><bndbox>{box}</bndbox></object>"
        put(voc / f"{name}.XML", f"<annotation><filename>{name}.png</filename>{item}</annotation>")
        put(voc / f"._{name}.XML", b"\0\5\x16\7")
    assert boxes_of(str(voc)) == 1
    masks = tmp_path / "masks"
    put(masks / "masks/drivable/palette.yaml", "road: 1\nbackground: 0\n")
    for name in ("a", "b"):
        image(masks / f"images/{name}.JPG", ord(name))
        path = image(masks / f"masks/drivable/{name}.png")
        cv2.imwrite(str(path), np.ones(HW, np.uint8))
        path.rename(path.with_suffix(".PNG"))
    assert open_dataset(str(masks), "val")[0].labels["drivable"].mask.max() == 0


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(tmp_path: Path, encoding: str):
    def mark(root: Path) -> None:
        for path in root.rglob("*.*"):
            if path.suffix in (".txt", ".yaml", ".json", ".csv", ".xml"):
                path.write_bytes(path.read_text().encode(encoding))

    root = yolo(tmp_path / "yolo")
    mark(root)
    assert (boxes_of(str(root)), findings(str(root))) == (6, [])
    root = coco(tmp_path / "coco", [{"category_id": 1, "bbox": [8, 8, 20, 20]}])
    put(root / "attributes.csv", "name,floor\ntrain,wet\nval,dry\n")
    mark(root)
    assert boxes_of(str(root)) == 1
    assert open_dataset(str(root), "val").attributes(0) == {"floor": "dry"}


def test_names_are_compared_composed(tmp_path: Path):
    """macOS stores names decomposed; label files and other systems have them composed."""
    root, name = tmp_path / "set", "stra\u00dfe-\u00fc"
    for split in ("train", "val"):
        image(root / f"images/{split}" / unicodedata.normalize("NFD", f"{name}{split}.png"))
        put(root / f"labels/{split}" / unicodedata.normalize("NFC", f"{name}{split}.txt"),
            LINE.format(0))  # fmt: skip
    put(root / "data.yaml", "names: [cone, forklift]")
    assert boxes_of(f"yolo:{root}") == 1
    put(root / "attributes.csv", unicodedata.normalize("NFC", f"name,floor\n{name}val.png,wet\n"))
    assert open_dataset(f"yolo:{root}", "val").attributes(0) == {"floor": "wet"}


def test_splits_are_whole_words():
    told = {"latest": "", "instances_train2017": "train", "contest_v2": "", "my-valid": "val",
            "TRAIN": "train", "validation_1": "val", "retrained": ""}  # fmt: skip
    assert {name: split_word(name) for name in told} == told


def test_a_file_called_latest_is_no_test_split(tmp_path: Path):
    root = coco(tmp_path, [{"category_id": 1, "bbox": [8, 8, 20, 20]}])
    (root / "annotations/val.json").unlink()
    (root / "annotations/train.json").rename(root / "annotations/latest.json")
    image(root / "images/other.png", 5)
    data = json.loads((root / "annotations/latest.json").read_text())
    data["images"].append({"id": 9, "file_name": "other.png"})
    put(root / "annotations/latest.json", json.dumps(data))
    assert len(open_dataset(f"coco:{root}", "val")) == 1  # the last tenth


# Shapes -------------------------------------------------------------------------------------------


def test_shapes_of_coco_that_are_not_read(tmp_path: Path):
    root = coco(
        tmp_path,
        [
            {"category_id": 1, "bbox": [8, 8, 20, 20]},
            {"category_id": 2, "bbox": [30, 20, -10, -10]},
            {"category_id": 2, "bbox": [30, 20, 10, 0]},
            {"category_id": 2, "bbox": [30, 20, 10, 10]},
        ],
    )
    said = [text for kind, text in findings(f"coco:{root}") if kind == "shape"]
    assert [part in "".join(said) for part in ("-10x-10", "10x0")] == [True] * 2
    assert len(said) == 4  # two of each split
    assert boxes_of(f"coco:{root}") == 2
    train, _ = open_sources(DataArgs(data=(f"coco:{root}",)), ["det"], 0)
    assert any(line.startswith("not used: 4 x shape; first") for line in train.remarks())


def ring() -> np.ndarray:
    """A part with two holes, and another of one pixel: 1 where the class is."""
    mask = np.zeros(HW, np.uint8)
    cv2.circle(mask, (30, 20), 15, 1, -1)
    cv2.circle(mask, (26, 18), 4, 0, -1)
    mask[24:28, 34:37] = 0
    mask[44, 70] = 1
    return mask


def runs_of(flat: np.ndarray) -> list[int]:
    """Lengths of the runs of 0, 1, 0, ... of a flat mask."""
    changes = np.flatnonzero(np.diff(flat.astype(int))) + 1
    runs = np.diff([0, *changes, len(flat)]).tolist()
    return [0, *runs] if flat[0] else runs


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("crowd", [0, 1])
def test_run_lengths_of_coco_are_areas(tmp_path: Path, compressed: bool, crowd: int):
    counts = runs_of(ring().ravel(order="F"))
    if compressed:
        from pycocotools import mask as coco_masks

        counts = coco_masks.encode(np.asfortranarray(ring()))["counts"].decode()
    area = {"category_id": 1, "iscrowd": crowd, "segmentation": {"size": [*HW], "counts": counts}}
    mask = open_dataset(f"coco:{coco(tmp_path, [area])}", "train", ["drivable"])[0].labels
    np.testing.assert_array_equal(mask["drivable"].mask == 0, ring() == 1)


@pytest.mark.parametrize(
    ("size", "counts", "said"),
    [
        (HW, [0, 9, 3830], "3839 pixels in runs, not 80x48"),
        (HW, [5, -5, 3840], "pixels in runs"),
        (HW, "zz", "mask cannot be read"),
        (HW, "\u00e9", "no run lengths"),
        ((10**6, 10**6), [10**12], "a mask of 1000000x1000000, not of its image's size"),
        ((80, 48), [3840], "a mask of 48x80, not of its image's size"),
    ],
)
def test_wrong_run_lengths_are_named(tmp_path: Path, size, counts, said: str):
    area = {"category_id": 1, "segmentation": {"size": [*size], "counts": counts}}
    with pytest.raises(UserError, match=rf"train\.json annotation 0: .*{said}.*; export it again"):
        open_dataset(f"coco:{coco(tmp_path, [area])}", "train", ["drivable"])


def test_an_outline_of_many_corners_is_simplified(tmp_path: Path):
    mask = np.zeros((480, 800), np.uint8)
    mask[::4], mask[:, ::200] = 1, 1
    mask[1::4, ::2] = 1  # a comb of 24,000 teeth
    from training.data.builder import MOST_VERTICES
    from training.data.formats.run_lengths import mask_outlines

    ((outline),) = mask_outlines(mask)
    assert len(outline) <= MOST_VERTICES


def test_a_coco_file_without_annotations_is_read(tmp_path: Path):
    assert boxes_of(f"coco:{coco(tmp_path, [])}") == 0


def cvat(root: Path, shapes: str) -> str:
    for name in ("a", "b"):
        image(root / f"images/{name}.png", ord(name))
    entries = "".join(
        f'<image id="{n}" name="{name}.png" width="{HW[1]}" height="{HW[0]}">{shapes}</image>'
        for n, name in enumerate(("a", "b"))
    )
    put(root / "annotations.xml", f"<annotations><version>1.1</version>{entries}</annotations>")
    return f"cvat:{root}"


def test_shapes_of_cvat(tmp_path: Path):
    word = cvat(
        tmp_path,
        '<ellipse label="road" cx="40" cy="24" rx="20" ry="10" rotation="0"/>'
        '<mask label="road" rle="1, 2, 1" left="70" top="2" width="2" height="2"/>'
        '<points label="road" points="1,1"/>',
    )
    mask = open_dataset(word, "val")[0].labels["drivable"].mask
    assert mask[2:4, 70:72].tolist() == [[1, 0], [0, 1]]
    assert (mask == 0).sum() - 2 == pytest.approx(np.pi * 200, rel=0.05)
    assert [mask[24, x] for x in (18, 22, 40, 58, 62)] == [1, 0, 0, 0, 1]
    said = [text for kind, text in findings(word) if kind == "shape"]
    assert len(said) == 2
    assert "a points is not read" in said[0]


def test_an_attribute_that_says_nothing_is_no_class(tmp_path: Path):
    entries = "".join(
        f'<attribute name="{name}">{value}</attribute>'
        for name, value in {"floor": "undefined", "sky": "", "light": "dim"}.items()
    )
    dataset = open_dataset(cvat(tmp_path, f'<tag label="x">{entries}</tag>'), "val")
    assert dataset.classes["scene"] == {"light": ("dim",)}


def test_a_turned_box_of_cvat_becomes_its_extent(tmp_path: Path):
    sides = 'xtl="30" ytl="20" xbr="50" ybr="24"'
    word = cvat(tmp_path, f'<box label="cone" {sides} rotation="90"/><box label="cone" {sides}/>')
    found = open_dataset(word, "val", ["det"])[0].labels["det"].xyxy
    np.testing.assert_allclose(found, [[38, 12, 42, 32], [30, 20, 50, 24]], atol=1e-4)


def test_one_image_under_two_ids_is_one_frame(tmp_path: Path):
    root = coco(tmp_path, [], ids=(1, 2))
    for split in ("train", "val"):
        path = root / f"annotations/{split}.json"
        data = json.loads(path.read_text())
        data["annotations"] = [
            {"id": n, "image_id": n, "category_id": n, "bbox": [8 * n, 8, 20, 20]} for n in (1, 2)
        ]
        put(path, json.dumps(data))
    dataset = open_dataset(f"coco:{root}", "train", ["det"])
    assert len(dataset) == 1
    assert dataset[0].labels["det"].classes.tolist() == [0, 1]


def test_a_line_with_a_confidence_is_the_box_of_its_first_numbers(tmp_path: Path):
    root = yolo(tmp_path)
    put(root / "labels/train/f00.txt", "0 0.5 0.25 0.2 0.1 0.87\n")
    boxes = open_dataset(f"yolo:{root}", "train")[0].labels["det"].xyxy
    np.testing.assert_allclose(boxes, [[32, 9.6, 48, 14.4]], atol=1e-4)


# Caches -------------------------------------------------------------------------------------------


def rewritten(path: Path, data: bytes) -> None:
    """Other content of the same size, with its time set back."""
    status = path.stat()
    assert len(data) == status.st_size
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("kind", ["yolo", "coco", "csv"])
def test_no_table_is_older_than_its_files(tmp_path: Path, kind: str):
    if kind == "coco":
        root = coco(tmp_path / "a", [{"category_id": 1, "bbox": [8, 8, 20, 20]}])
        path, old, new = root / "annotations/train.json", b'"category_id": 1', b'"category_id": 2'
    else:
        root = yolo(tmp_path / "a")
        path, old, new = root / "labels/train/f00.txt", b"0 .5", b"1 .5"
    if kind == "csv":
        path, old, new = put(root / "attributes.csv", "name,floor\nf00,wet\n"), b"wet", b"dry"

    def read():
        dataset = open_dataset(f"{'coco' if kind == 'coco' else 'yolo'}:{root}", "train")
        return dataset[0].labels["det"].classes.tolist(), dataset.attributes(0)

    before = read()
    rewritten(path, path.read_bytes().replace(old, new))
    assert read() != before


def bmp(path: Path, grey: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*HW, 3), grey, np.uint8))
    return path


def test_the_cache_of_frames_knows_split_and_files(tmp_path: Path):
    ade = tmp_path / "ade"
    for number, part in enumerate(("training", "validation")):
        for i in range(2):
            bmp(ade / f"images/{part}/{part}{i}.bmp", 50 * number + i)
            path = ade / f"annotations/{part}/{part}{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full(HW, number + 1, np.uint8))
    args = DataArgs(data=(f"ade20k:{ade}",), cache=str(tmp_path / "cache"), size=(32, 64))

    def seen():
        train, val = open_sources(args, ["semantic_ade20k"], 0)
        return [
            [(frames[i].name, int(frames[i].image[0, 0, 0]),
              int(frames[i].labels["semantic_ade20k"].mask[0, 0])) for i in range(2)]
            for frames in (train, val)
        ]  # fmt: skip

    first = [[("training0", 0, 0), ("training1", 1, 0)],
             [("validation0", 50, 1), ("validation1", 51, 1)]]  # fmt: skip
    assert seen() == seen() == first
    path = ade / "images/validation/validation0.bmp"
    other = bmp(tmp_path / "other.bmp", 99).read_bytes()
    rewritten(path, other)
    mask = ade / "annotations/validation/validation1.png"
    cv2.imwrite(str(mask), np.full(HW, 7, np.uint8))
    assert seen()[1] == [("validation0", 99, 1), ("validation1", 51, 6)]


def test_an_overwritten_image_of_an_annotated_folder_is_read_again(tmp_path: Path):
    root = tmp_path / "set"
    for split in ("train", "val"):
        bmp(root / f"images/{split}/{split}.bmp", 10)
        put(root / f"labels/{split}/{split}.txt", LINE.format(0))
    put(root / "data.yaml", "names: [cone]")
    args = DataArgs(data=(f"yolo:{root}",), cache=str(tmp_path / "cache"), size=(32, 64))
    assert int(open_sources(args, ["det"], 0)[0][0].image[0, 0, 0]) == 10
    rewritten(root / "images/train/train.bmp", bmp(tmp_path / "o.bmp", 200).read_bytes())
    assert int(open_sources(args, ["det"], 0)[0][0].image[0, 0, 0]) == 200


# Orientation and limits ---------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_photos_are_turned_as_opencv_shows_them(tmp_path: Path, orientation: int):
    root = yolo(tmp_path, n=1)
    pixels = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 10, 3), np.uint8), HW[::-1])
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0" + bytes([orientation]) + bytes(7)
    data = cv2.imencode(".jpg", pixels)[1].tobytes()
    data = data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
    (root / "images/train/f00.png").unlink()
    path = put(root / "images/train/f00.jpg", data)
    shown = cv2.imread(str(path))
    sample = open_dataset(f"yolo:{root}", "train")[0]
    np.testing.assert_array_equal(sample.image, shown)
    assert sample.labels["det"].size_hw == shown.shape[:2]
    half = open_dataset(f"yolo:{root}", "train", size_hw=(shown.shape[0] // 2, shown.shape[1]))
    assert half[0].labels["det"].size_hw == shown.shape[:2]
    small = open_dataset(f"yolo:{root}", "train", size_hw=(shown.shape[0] // 2,
                                                             shown.shape[1] // 2))  # fmt: skip
    assert small[0].image.shape[:2] == (shown.shape[0] // 2, shown.shape[1] // 2)


def test_masks_are_turned_as_their_photo(tmp_path: Path):
    put(tmp_path / "masks/drivable/palette.yaml", "road: 1\nbackground: 0\n")
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6" + bytes(7)
    for name in ("a", "b"):
        mask = np.zeros(HW, np.uint8)
        mask[:, :20] = 1
        photo = cv2.imencode(".jpg", mask * 200)[1].tobytes()
        photo = photo[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + photo[2:]
        put(tmp_path / f"images/{name}.jpg", photo)
        # One mask carries the same tag, the other is drawn on the photo as it is shown.
        tag = Image.Exif()
        tag[274] = 6
        turned = cv2.rotate(mask, cv2.ROTATE_90_CLOCKWISE)
        pixels, exif_of_mask = (mask, tag) if name == "a" else (turned, Image.Exif())
        Image.fromarray(pixels).save(tmp_path / f"masks/drivable/{name}.png", exif=exif_of_mask)
    for split in ("train", "val"):
        sample = open_dataset(str(tmp_path), split)[0]
        bright = sample.image[..., 0] > 100
        assert bright.shape == (HW[1], HW[0])
        np.testing.assert_array_equal(sample.labels["drivable"].mask == 0, bright)


@pytest.mark.parametrize("size", [(32, 64), (32, 32), (64, 32)])
def test_the_smallest_sizes_are_augmented(size: tuple[int, int]):
    sample = Sample(
        np.random.default_rng(0).integers(0, 256, (*HW, 3), np.uint8),
        {"drivable": Mask(np.zeros(HW, np.uint8)), "lane": LaneMask(np.full(HW, 255, np.uint8))},
        "a",
    )
    augment = make_augmentation(DataArgs(size=size, augment="strong"))
    for seed in range(200):
        assert augment(sample, np.random.default_rng(seed)).image.shape == (*size, 3)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_limit_without_data_is_that_many_frames_of_either_split(split: str):
    class Model:
        size_hw, views = (64, 96), {"det": TASKS["det"].view}

    assert len(open_data(DataOptions(split=split, limit=50), Model(), False)) == 50


def test_hundreds_of_classes_of_boxes(tmp_path: Path):
    names = [f"kind {n}" for n in range(300)]
    root = coco(tmp_path, [{"category_id": 300, "bbox": [8, 8, 20, 20]}], names)
    boxes = open_dataset(f"coco:{root}", "val", ["det"])[0].labels["det"]
    assert isinstance(boxes, Boxes)
    assert boxes.classes.tolist() == [299]
    from perception.metrics.detection import DetectionMetric

    metric = DetectionMetric(tuple(names))
    found = np.zeros((300, 6), np.float32)
    found[0] = (8, 8, 28, 28, 0.9, 299)
    metric.update(found, boxes.arrays())
    assert metric.compute()["AP50/kind 299"] == pytest.approx(100)


def test_more_classes_than_a_mask_can_hold_are_refused(tmp_path: Path):
    names = [f"kind {n}" for n in range(300)]
    outline = [[8, 8, 28, 8, 28, 28]]
    areas = [{"category_id": n, "segmentation": outline} for n in range(1, 301)]
    root = coco(tmp_path, areas, names)
    with pytest.raises(UserError, match="drivable: 301 classes; at most 250"):
        open_dataset(f"coco:{root}", "train", ["drivable"])


# Files that are not read ----------------------------------------------------------------------


def bdd(root: Path, place: str, frames: int = 2) -> Path:
    """Frames of BDD100K with one label file per split."""
    for split in ("train", "val"):
        entries = []
        for i in range(frames):
            name = f"{split}{i}.jpg"
            image(root / f"images/{split}/{name}", 10 * len(split) + i)
            box = {"category": "car", "box2d": {"x1": 8, "y1": 8, "x2": 30, "y2": 30}}
            entries.append({"name": name, "labels": [box]})
        put(root / place.format(split), json.dumps(entries))
    return root


@pytest.mark.parametrize("kind", ["bdd100k", "coco", "scalabel", "cvat", "voc"])
def test_an_empty_label_file_is_named(tmp_path: Path, kind: str):
    file = {
        "bdd100k": lambda: bdd(tmp_path, "labels/my_{}.json") / "labels/my_train.json",
        "coco": lambda: coco(tmp_path, []) / "annotations/train.json",
        "scalabel": lambda: bdd(tmp_path, "labels/my_{}.json") / "labels/my_train.json",
        "cvat": lambda: image(tmp_path / "a.png").with_name("annotations.xml"),
        "voc": lambda: image(tmp_path / "a.png").with_name("a.xml"),
    }[kind]()
    if kind == "voc":
        put(image(tmp_path / "b.png", 1).with_name("b.xml"), "<annotation></annotation>")
    put(file, "")
    assert any(said.startswith(f"{file}: not ") for _, said in findings(f"{kind}:{tmp_path}"))
    with pytest.raises(UserError, match=rf"{file}: not (XML|valid JSON)"):
        open_dataset(f"{kind}:{tmp_path}", "train")


@pytest.mark.parametrize("place", ["labels/det_20/det_{}.JSON", "labels/my_{}.JSON", "{}.JSON"])
def test_label_files_of_bdd100k_with_a_suffix_in_capitals_are_read(tmp_path: Path, place: str):
    assert boxes_of(f"bdd100k:{bdd(tmp_path, place)}") == 2


def test_a_split_of_which_no_label_is_found_is_named(tmp_path: Path):
    root = bdd(tmp_path, "other/{}.json")
    assert [kind for kind, _ in findings(f"bdd100k:{root}")] == ["split without labels"] * 2


def test_a_task_that_only_the_training_frames_have_is_named(tmp_path: Path):
    root = bdd(tmp_path, "labels/det_20/det_{}.json")
    put(root / "labels/det_20/det_val.json", "[]")
    for split in ("train", "val"):
        mask = image(root / f"labels/drivable/masks/{split}/{split}0.png")
        cv2.imwrite(str(mask), np.zeros(HW, np.uint8))
    ((kind, said),) = findings(f"bdd100k:{root}")
    assert kind == "task without labels"
    assert said.endswith("no labels of det for split 'val', which 'train' has")


def test_links_that_repeat_a_release_are_not_other_candidates(tmp_path: Path, capsys):
    root = bdd(tmp_path, "labels/det_20/det_{}.json")
    (root / "self").symlink_to(root)
    assert boxes_of(f"bdd100k:{root}") == 2
    assert capsys.readouterr().err == ""


def test_samples_of_fiftyone_may_be_in_capitals(tmp_path: Path):
    image(tmp_path / "data/a.png")
    sample = {"filepath": "data/a.png", "found": {"detections": []}}
    put(tmp_path / "samples.JSON", json.dumps({"samples": [sample]}))
    assert kind_and_root(str(tmp_path))[0] == "fiftyone"
    assert len(open_dataset(str(tmp_path), "val")) == 1


def test_the_suffix_of_an_image_may_differ_in_case(tmp_path: Path):
    root = coco(tmp_path, [{"category_id": 1, "bbox": [8, 8, 20, 20]}])
    for split in ("train", "val"):
        file = root / f"images/{split}/{split}.png"
        file.rename(file.with_suffix(".PNG"))
    assert boxes_of(f"coco:{root}") == 1


def test_an_image_of_another_split_is_not_taken_for_a_missing_one(tmp_path: Path):
    """Both splits number their frames from 0."""
    root = coco(tmp_path, [{"category_id": 1, "bbox": [8, 8, 20, 20]}])
    path = root / "annotations/train.json"
    path.write_text(path.read_text().replace("train.png", "val.png"))
    why = r"train\.json: val\.png \(1 of 1 images\) is not below"
    with pytest.raises(UserError, match=why):
        open_dataset(f"coco:{root}", "train")


def test_ade20k_without_an_image_or_a_mask(tmp_path: Path):
    for split in ("training", "validation"):
        for i, name in enumerate(("a", "b", "c")):
            image(tmp_path / f"images/{split}/{name}.jpg", 10 * len(split) + i)
            put(tmp_path / f"annotations/{split}/{name}.png", mask_png(i))
    no_mask = tmp_path / "images/training/b.jpg"
    no_image = tmp_path / "annotations/training/c.png"
    (tmp_path / "annotations/training/b.png").unlink()
    (tmp_path / "images/training/c.jpg").unlink()
    assert findings(f"ade20k:{tmp_path}") == [
        ("image without label", f"{no_mask}: no label"),
        ("label without frame", f"{no_image}: no image of this name"),
    ]
    dataset = open_dataset(f"ade20k:{tmp_path}", "train")
    assert [dataset.name(index) for index in range(len(dataset))] == ["a"]


def mask_png(value: int) -> bytes:
    return cv2.imencode(".png", np.full(HW, value, np.uint8))[1].tobytes()


def test_a_list_of_voc_may_begin_with_a_byte_order_mark(tmp_path: Path):
    image(tmp_path / "JPEGImages/a.jpg")
    put(tmp_path / "Annotations/a.xml", "<annotation></annotation>")
    put(tmp_path / "ImageSets/Main/train.txt", b"\xef\xbb\xbfa\n")
    dataset = open_dataset(f"voc:{tmp_path}", "train", ["det_voc"])
    assert [dataset.name(index) for index in range(len(dataset))] == ["a"]


def test_a_list_of_voc_with_a_line_of_another_file(tmp_path: Path):
    """A name longer than file systems take has no labels."""
    image(tmp_path / "JPEGImages/a.jpg")
    put(tmp_path / "Annotations/a.xml", "<annotation></annotation>")
    put(tmp_path / "ImageSets/Main/train.txt", f"a\n{'x' * 300}\n")
    dataset = open_dataset(f"voc:{tmp_path}", "train", ["det_voc"])
    assert len(dataset) == 1
    assert [kind for kind, _ in dataset.unused()] == ["list line without image"]


def own_voc(root: Path, lists: dict[str, str]) -> None:
    """Frames `my image 1` and `b` with a class that VOC lacks, and lists of splits."""
    for number, name in enumerate(("my image 1", "b")):
        image(root / f"JPEGImages/{name}.jpg", number)
        image(root / f"SegmentationClass/{name}.png", number)
        box = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
        item = f"<object><name>cone</name><bndbox>{box}</bndbox></object>"
        put(root / f"Annotations/{name}.xml", f"<annotation>{item}</annotation>")
    for split, text in lists.items():
        put(root / f"ImageSets/Main/{split}.txt", text)


@pytest.mark.parametrize("lines", ["my image 1", "my image 1\r", "my image 1  1", "my image 1 -1"])
def test_a_list_of_voc_names_frames_with_spaces(tmp_path: Path, lines: str):
    own_voc(tmp_path, {"val": f"{lines}\n", "train": "b\t1\n"})
    for split, name in (("val", "my image 1"), ("train", "b")):
        dataset = open_dataset(f"voc:{tmp_path}", split)
        assert [dataset.name(index) for index in range(len(dataset))] == [name]
        assert "list line without image" not in dict(dataset.unused())


def test_own_classes_in_a_folder_that_holds_a_devkit(tmp_path: Path):
    """Images, masks and lists are those of the devkit."""
    own_voc(tmp_path / "VOCdevkit/VOC2007", {"train": "b\n", "val": "my image 1\n"})
    dataset = open_dataset(f"voc:{tmp_path}", "val", ["det"])
    assert [dataset.name(index) for index in range(len(dataset))] == ["my image 1"]
    assert dataset.classes["det"] == {"": ("cone",)}


def test_boxes_in_fractions_may_stand_a_little_outside(tmp_path: Path):
    """By up to a hundredth of the frame: annotation tools round."""
    image(tmp_path / "data/a.png", size_hw=(480, 800))
    image(tmp_path / "data/b.png", 1, size_hw=(480, 800))
    for x, wanted in ((0.6, 1.0), (0.608, 1.0), (0.3, 0.7)):
        sample = {
            "filepath": "data/a.png", "tags": ["train"],
            "found": {"detections": [{"label": "cone", "bounding_box": [x, 0.2, 0.4, 0.4]}]},
        }  # fmt: skip
        put(tmp_path / "samples.json", json.dumps({"samples": [sample]}))
        boxes = open_dataset(f"fiftyone:{tmp_path}", "train")[0].labels["det"]
        assert boxes.xyxy[0, 2] == pytest.approx(wanted * 800)
    sample["found"]["detections"][0]["bounding_box"][0] = 0.62
    put(tmp_path / "samples.json", json.dumps({"samples": [sample]}))
    with pytest.raises(UserError, match=r"box is outside the frame \(fractions of 0\.\.1"):
        open_dataset(f"fiftyone:{tmp_path}", "train")


def test_a_yolo_box_without_extent_in_the_frame_is_named(tmp_path: Path):
    """Beyond the border by less than the tolerance: read at once as line by line."""
    for name, more in (("plain", ""), ("mixed", "0 .2 .2 .1 .1 .9\n")):
        root = yolo(tmp_path / name)
        put(root / "labels/train/f00.txt", "0 1.005 .5 .005 .5\n" + more)
        with pytest.raises(UserError, match=r"f00\.txt line 1: box is empty"):
            open_dataset(f"yolo:{root}", "train")
