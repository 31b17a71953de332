"""One small set of labels written in every annotation format, read back alike."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from perception.classes import DETECTION
from perception.errors import NoFramesError, UserError
from perception.runtime.view import View
from training.config import Config, DataArgs, ModelArgs, OptimArgs, RunArgs
from training.data.class_lookup import joint_lists
from training.data.classes import ClassLists, read_classes
from training.data.examine import examine
from training.data.frames import Frames
from training.data.labels import Boxes, LaneMask, Mask
from training.data.sheet import drawn_frames
from training.data.sources import kind_and_root, open_dataset
from training.evaluate import DataOptions, open_data
from training.evaluation.predictor import open_predictor
from training.evaluation.scores import evaluate
from training.run import Run

HW = (48, 80)
NAMES = ("cone", "forklift")
BOXES = [("cone", 8.0, 10.0, 24.0, 30.0), ("forklift", 40.0, 4.0, 72.0, 44.0)]
AREA = [[0.0, 47.0], [30.0, 20.0], [50.0, 20.0], [79.0, 47.0]]
LINE = [[10.0, 47.0], [38.0, 20.0]]
IGNORABLE = ["alternative", "car", "bicycle", "traffic light", "clear"]
FRAMES = [f"f{number:02}" for number in range(10)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PVT_HYDRANET_CACHE", str(tmp_path / "cache"))


def images(folder: Path, names=FRAMES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        image = np.random.default_rng(int(name[1:])).integers(0, 256, (*HW, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{name}.png"), image)


def conform(parts, given=None) -> list[Frames]:
    """Each dataset with the classes of all, or with the given ones."""
    lists = joint_lists(parts, given)
    return [Frames([part], lists=lists) for part in parts]


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_yolo(root: Path) -> None:
    images(root / "images/train", FRAMES[:9])
    images(root / "images/val", FRAMES[9:])
    put(
        root / "data.yaml", "train: images/train\nval: images/val\nnc: 2\nnames: [cone, forklift]\n"
    )
    for split, names in (("train", FRAMES[:9]), ("val", FRAMES[9:])):
        for name in names:
            lines = [
                f"{NAMES.index(kind)} {(x1 + x2) / 2 / HW[1]} {(y1 + y2) / 2 / HW[0]} "
                f"{(x2 - x1) / HW[1]} {(y2 - y1) / HW[0]}"
                for kind, x1, y1, x2, y2 in BOXES
            ]
            put(root / f"labels/{split}/{name}.txt", "\n".join(lines))


def write_coco(root: Path) -> None:
    images(root / "images/train", FRAMES[:9])
    images(root / "images/val", FRAMES[9:])
    for split, names in (("train", FRAMES[:9]), ("val", FRAMES[9:])):
        data = {
            "info": {},
            "images": [
                {"id": n, "file_name": f"{name}.png", "height": HW[0], "width": HW[1]}
                for n, name in enumerate(names)
            ],
            "annotations": [
                {"id": 10 * n + k, "image_id": n, "category_id": NAMES.index(kind) + 1,
                 "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
                for n, _ in enumerate(names) for k, (kind, x1, y1, x2, y2) in enumerate(BOXES)
            ],
            "categories": [{"id": n + 1, "name": name} for n, name in enumerate(NAMES)],
        }  # fmt: skip
        put(root / f"annotations/{split}.json", json.dumps(data))


def write_voc(root: Path) -> None:
    images(root / "images")
    for name in FRAMES:
        objects = "".join(
            f"<object><name>{kind}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for kind, x1, y1, x2, y2 in BOXES
        )
        size = f"<size><width>{HW[1]}</width><height>{HW[0]}</height></size>"
        put(
            root / f"Annotations/{name}.xml",
            f"<annotation><filename>{name}.png</filename>{size}{objects}</annotation>",
        )


def write_cvat(root: Path, version: str = "1.1") -> None:
    images(root / "images")

    def points(given):
        return ";".join(f"{x},{y}" for x, y in given)

    entries = "".join(
        f'<image id="{n}" name="{name}.png" width="{HW[1]}" height="{HW[0]}">'
        + "".join(
            f'<box label="{kind}" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" occluded="0"/>'
            for kind, x1, y1, x2, y2 in BOXES
        )
        + f'<polygon label="road" points="{points(AREA)}"/>'
        + f'<polyline label="edge" points="{points(LINE)}"/></image>'
        for n, name in enumerate(FRAMES)
    )
    labels = "".join(f"<label><name>{name}</name></label>" for name in (*NAMES, "road", "edge"))
    meta = f"<meta><job><labels>{labels}</labels></job></meta>"
    put(
        root / "annotations.xml",
        f"<annotations><version>{version}</version>{meta}{entries}</annotations>",
    )


def write_labelme(root: Path) -> None:
    images(root)
    for name in FRAMES:
        shapes = [
            {"label": kind, "shape_type": "rectangle", "points": [[x2, y1], [x1, y2]]}
            for kind, x1, y1, x2, y2 in BOXES
        ]
        shapes.append({"label": "road", "shape_type": "polygon", "points": AREA})
        shapes.append({"label": "edge", "shape_type": "linestrip", "points": LINE})
        data = {"version": "5", "shapes": shapes, "imagePath": f"{name}.png",
                "imageHeight": HW[0], "imageWidth": HW[1]}  # fmt: skip
        put(root / f"{name}.json", json.dumps(data))


def scalabel_frame(name: str) -> dict:
    labels = [
        {
            "id": str(n),
            "category": kind,
            "box2d": dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)),
        }
        for n, (kind, *box) in enumerate(BOXES)
    ]
    for name_, vertices, closed in (("road", AREA, True), ("edge", LINE, False)):
        polygon = {"vertices": vertices, "types": "L" * len(vertices), "closed": closed}
        labels.append({"id": name_, "category": name_, "poly2d": [polygon]})
    return {"name": f"{name}.png", "labels": labels}


def write_scalabel(root: Path) -> None:
    images(root / "images")
    put(root / "labels/all.json", json.dumps([scalabel_frame(name) for name in FRAMES]))


def write_fiftyone(root: Path) -> None:
    images(root / "data")
    scale = np.array(HW[::-1])
    samples = [
        {
            "filepath": f"data/{name}.png",
            "tags": ["validation" if name == FRAMES[9] else "train"],
            "detections": {"detections": [
                {"label": kind, "bounding_box": [x1 / HW[1], y1 / HW[0], (x2 - x1) / HW[1],
                                                 (y2 - y1) / HW[0]]}
                for kind, x1, y1, x2, y2 in BOXES]},
            "polylines": {"polylines": [
                {"label": "road", "points": [(np.array(AREA) / scale).tolist()], "closed": True},
                {"label": "edge", "points": [(np.array(LINE) / scale).tolist()]}]},
        }
        for name in FRAMES
    ]  # fmt: skip
    put(root / "samples.json", json.dumps({"samples": samples}))


WRITERS = {
    "yolo": write_yolo,
    "coco": write_coco,
    "voc": write_voc,
    "cvat": write_cvat,
    "labelme": write_labelme,
    "scalabel": write_scalabel,
    "fiftyone": write_fiftyone,
}
WITH_SHAPES = ("cvat", "labelme", "scalabel", "fiftyone")


@pytest.fixture(params=WRITERS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    WRITERS[request.param](tmp_path / "set")
    return request.param, tmp_path / "set"


def test_every_format_gives_the_same_boxes(written: tuple[str, Path]):
    kind, root = written
    if kind != "scalabel":
        assert kind_and_root(str(root))[0] == kind
    for _ in range(2):  # built, then from the cache
        train = open_dataset(f"{kind}:{root}", "train", ["det"])
        val = open_dataset(f"{kind}:{root}", "val", ["det"])
        assert (len(train), len(val)) == (9, 1)
        assert train.classes["det"][""] == NAMES
        assert [train.name(index) for index in range(9)] == FRAMES[:9]
        for sample in (train[0], train[8], val[0]):
            boxes = sample.labels["det"]
            assert isinstance(boxes, Boxes)
            np.testing.assert_allclose(boxes.xyxy, [box[1:] for box in BOXES], atol=1e-4)
            assert boxes.classes.tolist() == [0, 1]
    assert train.presence()["det/forklift"].all()


@pytest.mark.parametrize("kind", WITH_SHAPES)
def test_every_format_gives_the_same_areas_and_lines(tmp_path: Path, kind: str):
    WRITERS[kind](tmp_path)
    dataset = open_dataset(f"{kind}:{tmp_path}", "val")
    assert set(dataset.tasks) == {"det", "drivable", "lane"}
    assert dataset.classes["drivable"][""] == ("road", "background")
    assert dataset.classes["lane"]["categories"] == ("edge",)
    labels = dataset[0].labels
    area, lane = labels["drivable"], labels["lane"]
    assert isinstance(area, Mask)
    assert isinstance(lane, LaneMask)
    assert (area.mask[40, 40], area.mask[5, 40], area.mask[30, 2]) == (0, 1, 1)
    assert lane.lane[44, 13] == 128  # category 0, style and direction not annotated
    assert set(np.unique(lane.lane)) == {128, 255}


def test_a_class_file_maps_and_ignores(tmp_path: Path):
    write_cvat(tmp_path / "set")
    path = put(
        tmp_path / "classes.yaml",
        "det: {vehicle: [forklift], person: []}\ndrivable: [road]\nignore: [cone, edge]\n",
    )
    dataset = open_dataset(f"cvat:{tmp_path}/set", "train", classes=read_classes(path))
    # `person` is not annotated here: a region of its class as large as the frame is ignored.
    (whole,) = conform([dataset], read_classes(path))
    boxes = whole[0].labels["det"]
    assert boxes.classes.tolist() == [-1, 0, 1]
    assert boxes.xyxy[2].tolist() == [0, 0, HW[1], HW[0]]
    assert boxes.ignore.tolist() == [True, False, True]


def test_an_unknown_class_is_named_with_place_count_and_remedy(tmp_path: Path):
    write_yolo(tmp_path / "set")
    path = put(tmp_path / "classes.json", json.dumps({"det": ["cone"]}))
    with pytest.raises(UserError) as caught:
        conform([open_dataset(f"yolo:{tmp_path}/set", "train", ["det"])], read_classes(path))
    said = str(caught.value)
    assert "unknown class 'forklift' of det in" in said
    assert "labels/train/f00.txt line 2 (10 labels)" in said
    assert "ignore: [forklift]" in said


@pytest.mark.parametrize(
    ("task", "lists", "said"),
    [
        (
            "drivable",
            "drivable: [yard]",
            r"'road' of drivable in .*annotations\.xml image 0",
        ),
        ("lane", "lane: [kerb]", r"'edge' of lane in .*, or there ignore it"),
        ("det", "det: [cone]\nlane: [edge]", r"'forklift' of det in .*annotations\.xml image 0"),
        ("scene", "scene: {floor: [dry]}", r"'wet' of scene in .*f09\.png, floor \(1 frames\)"),
    ],
)
def test_a_name_that_the_list_of_its_task_lacks(tmp_path: Path, task: str, lists: str, said: str):
    write_cvat(tmp_path / "set")
    put(tmp_path / "set/attributes.csv", "name,floor\nf00,dry\nf09,wet\n")
    classes = read_classes(put(tmp_path / "classes.yaml", lists))
    with pytest.raises(UserError, match=f"unknown class {said}"):
        conform([open_dataset(f"cvat:{tmp_path}/set", "train", [task])], classes)


@pytest.mark.parametrize(
    ("task", "lists", "said"),
    [
        (
            "det",
            "det: [pedestrian]",
            r"'car' of det in .*det_train\.json: frame 0b00bbbb-0+2 label 0 \(1 labels",
        ),
        ("drivable", "drivable: [direct]", "'alternative' of drivable in .*bdd: add it to"),
        ("scene", "scene: {weather: [rainy]}", r"'clear' of scene in .*0b00bbbb.*, weather \(1"),
    ],
)
def test_a_class_of_bdd100k_that_the_list_lacks(
    tmp_path: Path, bdd_frames, bdd_write, task: str, lists: str, said: str
):
    bdd_write(tmp_path / "bdd", "masks", bdd_frames)
    parts = [open_dataset(f"{tmp_path}/bdd", "train", [task])]
    given = read_classes(put(tmp_path / "classes.yaml", lists))
    with pytest.raises(UserError, match=f"unknown class {said}"):
        conform(parts, given)
    put(tmp_path / "classes.yaml", f"{lists}\nignore: {json.dumps(IGNORABLE)}")
    assert len(conform(parts, read_classes(tmp_path / "classes.yaml"))[0]) == len(bdd_frames)


def test_labels_without_a_class_of_the_model_are_noted(tmp_path: Path, bdd_frames, bdd_write):
    write_yolo(tmp_path / "own")
    bdd_write(tmp_path / "bdd", "masks", bdd_frames)
    lists = ClassLists.of_views({"det": View("boxes", classes=("cone", "car"))})
    parts = [open_dataset(f"{tmp_path}/{name}", "train", ["det"]) for name in ("own", "bdd")]
    own, bdd = (conform([part], lists)[0] for part in parts)
    said = "labels without a class of the model are left out: "
    assert own.notes() == [f"{said}forklift"]
    assert bdd.notes() == [f"{said}pedestrian, bicycle, traffic light"]


def test_bdd100k_and_own_classes_join(tmp_path: Path, bdd_frames, bdd_write):
    write_yolo(tmp_path / "own")
    bdd_write(tmp_path / "bdd", "masks", bdd_frames)
    parts = [
        open_dataset(f"bdd100k:{tmp_path}/bdd", "train", ["det"]),
        open_dataset(f"yolo:{tmp_path}/own", "train", ["det"]),
    ]
    bdd, own = conform(parts)
    assert bdd.classes["det"][""] == own.classes["det"][""] == (*DETECTION, *NAMES)
    boxes = own[0].labels["det"]
    assert boxes.classes[:2].tolist() == [10, 11]
    assert sorted(boxes.classes[boxes.ignore].tolist()) == list(range(10))
    boxes = bdd[1].labels["det"]
    assert sorted(boxes.classes[boxes.ignore].tolist())[-2:] == [10, 11]


def test_masks_with_a_palette(tmp_path: Path):
    images(tmp_path / "images")
    for task, palette in {
        "drivable": "road: [128, 64, 128]\nbackground: [0, 0, 0]\n",
        "lane": "solid: 1\ndashed: 2\nbackground: 0\n",
    }.items():
        put(tmp_path / f"masks/{task}/palette.yaml", palette)
        for name in FRAMES:
            mask = np.zeros((*HW, 3) if task == "drivable" else HW, np.uint8)
            mask[30:, 10:70] = (128, 64, 128) if task == "drivable" else 2
            if task == "drivable":
                mask[0, 0] = (1, 2, 3)  # another colour: not annotated
            cv2.imwrite(str(tmp_path / f"masks/{task}/{name}.png"), mask)
    assert kind_and_root(str(tmp_path))[0] == "masks"
    dataset = open_dataset(str(tmp_path), "train")
    assert dataset.classes["drivable"][""] == ("road", "background")
    classes = read_classes(put(tmp_path / "classes.yaml", "drivable: [yard]"))
    with pytest.raises(UserError, match=r"'road' of drivable in .*drivable/palette\.yaml"):
        conform([dataset], classes)
    labels = dataset[0].labels
    area, lane = labels["drivable"].mask, labels["lane"].lane
    assert (area[40, 20], area[10, 20], area[0, 0]) == (0, 1, 255)
    assert (lane[40, 20], lane[10, 20]) == (1 | 128, 255)


def test_attributes_come_from_a_csv(tmp_path: Path):
    write_voc(tmp_path)
    rows = ["name,weather,road"] + [
        f"{name}.png,{'rain' if n % 2 else 'dry'},wet" for n, name in enumerate(FRAMES)
    ]
    path = put(tmp_path / "attributes.csv", "\n".join(rows))
    dataset = open_dataset(f"voc:{tmp_path}", "train")
    assert dataset.classes["scene"] == {"weather": ("dry", "rain"), "road": ("wet",)}
    assert dataset[1].labels["scene"].labels.tolist() == [1, 0]
    assert dataset.attributes(1) == {"weather": "rain", "road": "wet"}  # slices of eval-bdd
    path.write_text("name,weather\nf00.png,rain\n")
    with pytest.raises(NoFramesError, match="no frame of split 'val' has a label for scene"):
        open_dataset(f"voc:{tmp_path}", "val", ["scene"])
    path.write_text("name,weather\nf77.png,rain\n")
    with pytest.raises(UserError, match=r"attributes\.csv line 2: no frame 'f77\.png'"):
        open_dataset(f"voc:{tmp_path}", "train")


SIDES = "<xmin>{}</xmin><ymin>5</ymin><xmax>{}</xmax><ymax>30</ymax>"


@pytest.mark.parametrize(
    "written",
    [
        "<object><name>cone</name>{}<bndbox>{}</bndbox></object>",
        "<object>\n <name> cone </name>\n <bndbox>{1}</bndbox>{0}</object>",
        "<object id='1'><name>cone</name>{}<bndbox >{}</bndbox></object>",
        "<object><name>c&#111;ne</name>{}<bndbox>{}</bndbox></object>",
        "<object><name>cone</name>{}<part><name>top</name><bndbox>" + SIDES.format(1, 2)
        + "</bndbox></part><bndbox>{}</bndbox></object>",
        "<object><name>cone</name><!-- <difficult>0</difficult> -->{}<bndbox>{}</bndbox></object>",
    ],
)  # fmt: skip
def test_any_way_of_writing_a_voc_file(tmp_path: Path, written: str):
    images(tmp_path)
    size = f"<size><width>{HW[1]}</width><height>{HW[0]}</height></size>"
    for name in FRAMES:
        item = written.format("<difficult>1</difficult>", SIDES.format(11, 20))
        head = f"<annotation><filename>{name}.png</filename>{size}"
        put(tmp_path / f"{name}.xml", f"{head}{item}</annotation>\n")
    boxes = open_dataset(f"voc:{tmp_path}", "train")[0].labels["det"]
    assert boxes.xyxy.tolist() == [[10, 4, 20, 30]]
    assert boxes.ignore.tolist() == [True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("det: [cone, cone]", "'cone' occurs twice"),
        ("det: [cone, '']", "entry 2 is no name"),
        ("det: []", "write a list of class names"),
        ("det: [cone]\ndet: [forklift]", "'det' is written twice"),
        ("det: [cone]\nignore: [cone]", "'cone' is ignored and a class of det"),
        ("dets: [cone]", "did you mean 'det'"),
        ("names: [a, b]\nnc: 3", "nc is 3, but names lists 2 classes"),
        ("names: {0: a, 2: b}", "number the classes from 0"),
        ("det: {a: [x], b: [x]}", "'x' is mapped to a and b"),
        ("scene: [clear]", "write a list per group"),
        ("lane: [a, b, c, d, e, f, g, h, i]", "9 classes; at most 8"),
        ("- cone", "no fields"),
        ("{", "not valid YAML"),
    ],
)
def test_wrong_class_files(tmp_path: Path, text: str, said: str):
    with pytest.raises(UserError, match=said) as caught:
        read_classes(put(tmp_path / "classes.yaml", text))
    assert "classes.yaml" in str(caught.value)


def test_wrong_labels_are_named(tmp_path: Path):
    write_yolo(tmp_path / "a")
    put(tmp_path / "a/labels/train/f03.txt", "0 0.5 0.5 1.4 0.2")
    with pytest.raises(UserError, match=r"f03\.txt line 1: box is outside the frame"):
        open_dataset(f"yolo:{tmp_path}/a", "train", ["det"])
    assert len(open_dataset(f"yolo:{tmp_path}/a", "train", ["det"], strict=False)) == 9
    put(tmp_path / "a/labels/train/f03.txt", "2 0.5 0.5 0.2 0.2")
    with pytest.raises(UserError, match=r"line 1: class 2 is not among the 2 names"):
        open_dataset(f"yolo:{tmp_path}/a", "train", ["det"])
    write_cvat(tmp_path / "b", version="2.0")
    with pytest.raises(UserError, match=r"annotations\.xml: CVAT version 2\.0; export as"):
        open_dataset(f"cvat:{tmp_path}/b", "train")
    write_voc(tmp_path / "c")
    nameless = (tmp_path / "c/Annotations/f00.xml").read_text().replace("cone", "")
    put(tmp_path / "c/Annotations/f00.xml", nameless)
    with pytest.raises(UserError, match=r"f00\.xml object 1: a label has no class name"):
        open_dataset(f"voc:{tmp_path}/c", "train")
    images(tmp_path / "c/more", FRAMES[:1])
    with pytest.raises(UserError, match="two frames of one name in two folders"):
        open_dataset(f"voc:{tmp_path}/c", "train")
    write_coco(tmp_path / "d")
    annotations = tmp_path / "d/annotations/train.json"
    whole = annotations.read_text()
    annotations.write_text(whole.replace('"category_id": 1', '"category_id": 9', 1))
    with pytest.raises(UserError, match=r"train\.json annotation 0: no category has the id 9"):
        open_dataset(f"coco:{tmp_path}/d", "train")
    annotations.write_text(whole.replace("f03.png", "g03.png"))
    with pytest.raises(UserError, match=r"train\.json: g03\.png \(1 of 9 images\) is not below"):
        open_dataset(f"coco:{tmp_path}/d", "train")
    images(tmp_path / "d/images/train", ["g03"])  # the remedy, which the cache must not hide
    assert len(open_dataset(f"coco:{tmp_path}/d", "train")) == 9
    write_fiftyone(tmp_path / "e")
    samples = tmp_path / "e/samples.json"
    samples.write_text(samples.read_text().replace("[0.1, ", "[0.9, ", 1))
    with pytest.raises(UserError, match=r"sample 0: box is outside the frame"):
        open_dataset(f"fiftyone:{tmp_path}/e", "train", ["det"])
    with pytest.raises(NoFramesError, match="it has train, val"):
        open_dataset(f"coco:{tmp_path}/d", "test")


def test_labels_and_images_in_two_folders(tmp_path: Path):
    write_yolo(tmp_path / "set")
    (tmp_path / "labels").mkdir()
    (tmp_path / "set/labels").rename(tmp_path / "labels/labels")
    (tmp_path / "set/data.yaml").rename(tmp_path / "labels/data.yaml")
    dataset = open_dataset(f"yolo:{tmp_path}/set", "val", ["det"], labels=tmp_path / "labels")
    assert dataset[0].labels["det"].classes.tolist() == [0, 1]


def test_check_bdd_is_clean_and_names_damage(written: tuple[str, Path]):
    kind, root = written
    report, datasets = examine(f"{kind}:{root}")
    assert report.findings == []
    assert {split: counts["frames"] for split, counts in report.splits.items()} == {
        "train": 9,
        "val": 1,
    }
    assert report.splits["train"]["boxes"] == {"cone": 9, "forklift": 9}
    drawn = np.vstack(drawn_frames(datasets))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 100
    broken = next(iter(sorted(root.rglob("f04.png"))))
    broken.write_bytes(broken.read_bytes()[:60])
    shutil.copy(next(iter(root.rglob("f01.png"))), next(iter(root.rglob("f09.png"))))
    report, _ = examine(f"{kind}:{root}", jobs=2)
    assert [(finding.kind, Path(finding.file).stem) for finding in report.findings] == [
        ("broken frame", "f04"),
        ("leak", "f09"),
    ]


@pytest.mark.slow
def test_own_classes_train_and_score(tmp_path: Path):
    write_yolo(tmp_path / "yolo")
    write_cvat(tmp_path / "cvat")
    config = Config(
        data=DataArgs(
            data=(f"{tmp_path}/yolo", f"{tmp_path}/cvat"), size=(64, 96), batch=4, workers=0
        ),
        model=ModelArgs(tasks=("det", "drivable", "lane")),
        optim=OptimArgs(epochs=1),
        run=RunArgs(out=str(tmp_path / "run"), device="cpu"),
    )
    Run(config, Console(quiet=True)).go()
    predictor = open_predictor(tmp_path / "run/last.safetensors")
    assert predictor.views["det"].classes == NAMES
    assert predictor.views["drivable"].classes == ("road", "background")
    assert predictor.views["lane"].categories == ("edge",)
    dataset = open_data(DataOptions(data=f"{tmp_path}/cvat"), predictor, False)
    assert set(dataset.tasks) == {"det", "drivable", "lane"}
    result = evaluate(predictor, dataset)
    assert set(result["scores"]["bdd"]) == {"det", "drivable", "lane"}
