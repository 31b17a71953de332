"""Every dataset on a tiny folder in its own format: found, read, augmented, collated, learned."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console

from perception.classes import COCO, DETECTION, IGNORE, VOC_OBJECTS
from perception.errors import UserError
from perception.runtime.letterbox import Letterbox
from perception.runtime.scene import read_scene
from perception.tasks import TASKS
from perception.tasks.base import total_loss
from training.config import Config, DataArgs, ModelArgs, OptimArgs, RunArgs
from training.data.augment import Augment
from training.data.dataset import Dataset
from training.data.frames import Frames
from training.data.rendered import RenderedRoads
from training.data.sample import Sample, collate
from training.data.sources import DATASETS, kind_and_root, near_names, open_dataset
from training.data.voc import palette
from training.evaluate import open_data, parse_arguments
from training.evaluation.scores import evaluate
from training.resume import check_same_data
from training.run import Run

HW = (48, 64)


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 255, (*HW, 3)).astype(np.uint8)
    cv2.imwrite(str(path), image)


def pixels(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), values)


def write_nyuv2(root: Path) -> None:
    """Rendered roads; the 19 driving classes are folded into 13 numbers."""
    for split, count in (("train", 2), ("val", 1)):
        for index in range(count):
            sample = RenderedRoads(count, 0, HW, ("semantic", "depth", "normals"))[index]
            arrays = {task: label.arrays() for task, label in sample.labels.items()}
            mask = arrays["semantic"]["mask"].astype(np.float32)
            parts = {
                "image": sample.image[..., ::-1] / 255,
                "label": np.where(mask == IGNORE, -1, np.minimum(mask, 12)),
                "depth": np.nan_to_num(arrays["depth"]["map"])[..., None],
                "normal": np.nan_to_num(arrays["normals"]["normals"]).transpose(1, 2, 0),
            }
            for part, array in parts.items():
                path = root / split / part / f"{index}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, array.astype(np.float32))


def write_cityscapes(root: Path) -> None:
    for split in ("train", "val"):
        stem = f"{split}/bonn/bonn_000000_000019"
        picture(root / f"leftImg8bit/{stem}_leftImg8bit.png")
        ids = np.full(HW, 7, np.uint8)  # road
        ids[:10], ids[10:20] = 23, 4  # sky, and a class that is not evaluated
        pixels(root / f"gtFine/{stem}_gtFine_labelIds.png", ids)
        disparity = np.full(HW, 1 + 20 * 256, np.uint16)
        disparity[:24] = 0
        pixels(root / f"disparity/{stem}_disparity.png", disparity)
        camera = {"extrinsic": {"baseline": 0.2}, "intrinsic": {"fx": 1000}}
        (root / f"camera/{split}/bonn").mkdir(parents=True)
        (root / f"camera/{stem}_camera.json").write_text(json.dumps(camera))


def write_coco(root: Path) -> None:
    ids = {"person": 1, "car": 3, "zebra": 24}
    for split in ("train", "val"):
        for name in ("a.jpg", "b.jpg"):
            picture(root / f"{split}2017/{name}")
        rows = [("person", [4, 6, 20, 30], 0), ("zebra", [30, 10, 20, 20], 0),
                ("car", [0, 0, 30, 20], 1), ("car", [5, 5, 0, 3], 0)]  # fmt: skip
        data = {
            "images": [
                {"id": 7 - n, "file_name": f, "height": HW[0], "width": HW[1]}
                for n, f in enumerate(("a.jpg", "b.jpg"))
            ],
            "categories": [{"id": i, "name": name} for name, i in ids.items()],
            "annotations": [
                {"image_id": 7, "category_id": ids[name], "bbox": box, "iscrowd": crowd}
                for name, box, crowd in rows
            ],
        }
        (root / "annotations").mkdir(exist_ok=True)
        (root / f"annotations/instances_{split}2017.json").write_text(json.dumps(data))


def write_ade20k(root: Path) -> None:
    for folder in ("training", "validation"):
        place = root / "ADEChallengeData2016"
        picture(place / f"images/{folder}/ADE_1.jpg")
        picture(place / f"images/{folder}/ADE_2.jpg")  # without a mask
        stored = np.zeros(HW, np.uint8)
        stored[:, 10:], stored[:, 30:] = 1, 150
        pixels(place / f"annotations/{folder}/ADE_1.png", stored)


def write_imagenet(root: Path) -> None:
    for split in ("train", "val"):
        for name in ("n01440764", "n15075141"):
            picture(root / f"{split}/{name}/{name}_1.JPEG")


OBJECT = """<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>5</xmin><ymin>3</ymin>
<xmax>30</xmax><ymax>40</ymax></bndbox></object>"""


def write_voc(root: Path) -> None:
    place = root / "VOCdevkit/VOC2012"
    for folder in ("ImageSets/Main", "ImageSets/Segmentation", "Annotations"):
        (place / folder).mkdir(parents=True)
    picture(place / "JPEGImages/2007_000032.jpg")
    objects = OBJECT.format("dog", 0) + OBJECT.format("cat", 1)
    (place / "Annotations/2007_000032.xml").write_text(f"<annotation>{objects}</annotation>")
    for split in ("train", "val"):
        for folder in ("Main", "Segmentation"):
            (place / f"ImageSets/{folder}/{split}.txt").write_text("2007_000032\n")
    mask = np.zeros((*HW, 3), np.uint8)
    mask[10:30, 5:20] = palette()[12]
    mask[9] = (192, 224, 224)  # the border between classes: not annotated
    pixels(place / "SegmentationClass/2007_000032.png", mask)


WRITERS = {
    "nyuv2": write_nyuv2,
    "cityscapes": write_cityscapes,
    "coco": write_coco,
    "ade20k": write_ade20k,
    "imagenet": write_imagenet,
    "voc": write_voc,
}


@pytest.fixture(scope="module", params=WRITERS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """(kind, folder) of each dataset."""
    root = tmp_path_factory.mktemp(request.param)
    WRITERS[request.param](root)
    return request.param, root


def test_every_dataset_is_tested():
    """Those of an annotation format in test_formats.py."""
    formats = {name for name, kind in DATASETS.items() if ".formats." in kind.__module__}
    assert set(WRITERS) | {"bdd100k", "rendered"} | formats == set(DATASETS)


@pytest.mark.parametrize("kind", WRITERS)
def test_names_that_begin_with_a_dot_are_no_data(kind: str, tmp_path: Path):
    """As macOS writes them next to every file."""
    WRITERS[kind](tmp_path)
    counts = [len(open_dataset(f"{kind}:{tmp_path}", split)) for split in ("train", "val")]
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    assert kind_and_root(str(tmp_path))[0] == kind
    for split, count in zip(("train", "val"), counts, strict=True):
        dataset = open_dataset(f"{kind}:{tmp_path}", split)
        assert len([dataset[index] for index in range(len(dataset))]) == count


def test_is_recognised_and_passes_load_augment_collate_loss(written: tuple[str, Path]):
    kind, root = written
    assert kind_and_root(str(root)) == (kind, root)
    assert kind_and_root(f"{kind}:{root}") == (kind, root)
    dataset = open_dataset(str(root), "train", DATASETS[kind].labels)
    assert dataset.tasks == DATASETS[kind].labels
    assert len(open_dataset(str(root), "val", dataset.tasks)) >= 1
    augment, rng = Augment((64, 96)), np.random.default_rng(0)
    batch = collate([augment(dataset[index], rng) for index in range(len(dataset))])
    assert set(batch.targets) == set(dataset.tasks)
    for name in dataset.tasks:
        task = TASKS[name](8, (4, 8, 16, 32))
        sizes = [(16, 24), (8, 12), (4, 6), (2, 3)]
        raw = task([torch.randn(len(batch.rows[name]), 8, *size) for size in sizes])
        loss = total_loss(task.loss(raw, batch.targets[name]))
        assert torch.isfinite(loss)
        decoded = task.decode(raw)[0].detach().numpy()
        seen = dataset[0].letterbox((64, 96)).labels[name].arrays()
        metric = task.metric(task.view)
        metric.update(decoded, seen)
        assert task.score in metric.compute()


class Untrained:
    """A predictor of every task that a dataset labels, with random outputs."""

    name, size_hw = "untrained", (64, 96)

    def __init__(self, tasks):
        self.tasks = {name: TASKS[name](8, (4, 8, 16, 32)) for name in tasks}
        self.views = {name: task.view for name, task in self.tasks.items()}

    def __call__(self, frames):
        features = [torch.randn(1, 8, 16 // 2**n, 24 // 2**n) for n in range(4)]
        outputs = {n: task.decode(task(features))[0] for n, task in self.tasks.items()}
        arrays = {n: value.detach().numpy() for n, value in outputs.items()}
        boxes = [Letterbox(frame.shape[:2], self.size_hw) for frame in frames]
        return [read_scene(arrays, self.views, box) for box in boxes]


def test_every_dataset_is_scored(written: tuple[str, Path]):
    kind, root = written
    predictor = Untrained(DATASETS[kind].labels)
    arguments = parse_arguments(["model", "--data", f"{kind}:{root}"])
    dataset = open_data(arguments.data, predictor, unlabelled=False)
    result = evaluate(predictor, dataset, threads=1)
    assert result["frames"] == len(dataset)
    assert set(result["scores"]["bdd"]) == set(DATASETS[kind].labels)


def test_says_what_was_expected_where_a_split_is_missing(written: tuple[str, Path]):
    kind, root = written
    with pytest.raises(UserError, match=r"expected [^{}]*$"):
        open_dataset(f"{kind}:{root}", "test", DATASETS[kind].labels)
    with pytest.raises(UserError, match="no labels for lane"):
        open_dataset(f"{kind}:{root}", "train", ["lane"])


@pytest.mark.parametrize(
    ("spec", "kind"), [("rendered", "rendered"), ("rendered:5", "rendered"), ("/no", "bdd100k")]
)
def test_specs_that_are_no_folder(spec: str, kind: str):
    assert kind_and_root(spec)[0] == kind


def test_a_wrong_kind_is_named():
    with pytest.raises(UserError, match="did you mean 'coco'"):
        kind_and_root("cocoo:/data")


def test_the_name_of_the_own_label_space_is_suggested(tmp_path: Path):
    (tmp_path / "train/image").mkdir(parents=True)
    (tmp_path / "train/normal").mkdir()
    hint = near_names(["semantic", "lane"], [str(tmp_path)])
    assert hint == "; did you mean semantic_nyuv2 instead of semantic?"
    assert near_names(["lane"], []) == ""


def test_rendered_frames_beside_folders():
    dataset = open_dataset("rendered:3", "train", ["depth", "det_coco"], (64, 96))
    assert (len(dataset), dataset.tasks) == (3, ("depth",))
    with pytest.raises(UserError, match="number of frames"):
        open_dataset("rendered:many", "train", ["depth"])


def test_nyuv2_conventions(tmp_path: Path):
    for part, array in {
        "image": np.full((*HW, 3), (1.0, 0.5, 0.0)),
        "label": np.full(HW, -1.0),
        "depth": np.zeros((*HW, 1)),
        "normal": np.zeros((*HW, 3)),
    }.items():
        (tmp_path / "val" / part).mkdir(parents=True)
        for index in (10, 2):
            np.save(tmp_path / "val" / part / f"{index}.npy", array.astype(np.float32))
    sample = open_dataset(str(tmp_path), "val", ["semantic_nyuv2", "depth", "normals"])[0]
    assert sample.name == "val-2"  # numbers, not letters, order the frames
    assert sample.image[0, 0].tolist() == [0, 128, 255]  # BGR
    assert (sample.labels["semantic_nyuv2"].arrays()["mask"] == IGNORE).all()
    assert np.isnan(sample.labels["depth"].arrays()["map"]).all()
    assert np.isnan(sample.labels["normals"].arrays()["normals"]).all()


def test_cityscapes_values(tmp_path: Path):
    write_cityscapes(tmp_path)
    labels = open_dataset(str(tmp_path), "train", ["semantic", "depth"])[0].labels
    mask, depth = labels["semantic"].arrays()["mask"], labels["depth"].arrays()["map"]
    assert (mask[0, 0], mask[15, 0], mask[40, 0]) == (10, IGNORE, 0)
    assert np.isnan(depth[0, 0])
    assert depth[40, 0] == pytest.approx(0.2 * 1000 / 20)  # baseline * focal / 20 px


def test_coco_values(tmp_path: Path):
    write_coco(tmp_path)
    dataset = open_dataset(str(tmp_path), "train", ["det_coco", "det"])
    crowded, empty = dataset[0], dataset[1]  # b.jpg has none
    assert len(empty.labels["det_coco"].arrays()["classes"]) == 0
    own, driving = (crowded.labels[task].arrays() for task in ("det_coco", "det"))
    assert [COCO[c] for c in own["classes"]] == ["person", "zebra", "car"]
    assert [DETECTION[c] for c in driving["classes"]] == ["pedestrian", "car"]
    assert own["ignore"].tolist() == [False, False, True]
    assert own["boxes_xyxy"][0].tolist() == [4, 6, 24, 36]


def test_ade20k_counts_from_one(tmp_path: Path):
    write_ade20k(tmp_path)
    dataset = open_dataset(str(tmp_path), "train", ["semantic_ade20k"])
    assert len(dataset) == 1
    row = dataset[0].labels["semantic_ade20k"].arrays()["mask"][0]
    assert (row[0], row[15], row[40]) == (IGNORE, 0, 149)


def test_voc_values(tmp_path: Path):
    write_voc(tmp_path)
    dataset = open_dataset(str(tmp_path), "val", ["det_voc", "semantic_voc", "classes_voc"])
    labels = Frames([dataset])[0].labels
    boxes = labels["det_voc"].arrays()
    assert boxes["boxes_xyxy"][0].tolist() == [4, 2, 30, 40]  # counted from one, both ends in
    assert boxes["ignore"].tolist() == [False, True]
    shown = labels["classes_voc"].arrays()["labels"]
    assert (shown[VOC_OBJECTS.index("dog")], shown[VOC_OBJECTS.index("cat")]) == (1, 2)
    assert shown.sum() == 3
    mask = labels["semantic_voc"].arrays()["mask"]
    assert (mask[0, 0], mask[9, 0], mask[15, 10]) == (0, IGNORE, 12)
    assert palette()[[1, 15]].tolist() == [[0, 0, 128], [128, 128, 192]]


def test_imagenet_numbers_follow_the_synsets(tmp_path: Path):
    write_imagenet(tmp_path)
    dataset = open_dataset(str(tmp_path), "train", ["imagenet"])
    assert [dataset[i].labels["imagenet"].arrays()["labels"].tolist() for i in (0, 1)] == [
        [0],
        [999],
    ]
    picture(tmp_path / "train/n99999999/a.JPEG")
    with pytest.raises(UserError, match="n99999999"):
        open_dataset(str(tmp_path), "train", ["imagenet"])


def test_imagenet_classes_may_name_their_images_alike(tmp_path: Path):
    for name in ("n01440764", "n15075141"):
        picture(tmp_path / f"train/{name}/1.JPEG")
    dataset = open_dataset(str(tmp_path), "train", ["imagenet"])
    assert [dataset.name(i) for i in (0, 1)] == ["n01440764_1", "n15075141_1"]


def test_imagenet_coco_and_ade20k_train_one_network(tmp_path: Path):
    for kind in ("imagenet", "coco", "ade20k"):
        (tmp_path / kind).mkdir()
        WRITERS[kind](tmp_path / kind)
    config = Config(
        DataArgs(
            data=tuple(str(tmp_path / kind) for kind in ("imagenet", "coco", "ade20k")),
            size=(64, 96),
            batch=2,
            workers=0,
        ),
        ModelArgs(tasks=("imagenet", "det_coco", "semantic_ade20k")),
        OptimArgs(epochs=1),
        RunArgs(out=str(tmp_path / "run"), device="cpu"),
    )
    run = Run(config, Console(quiet=True))
    assert len(run.train) == 2 + 2 + 1
    scores = run.go()
    assert set(scores) == {"imagenet", "det_coco", "semantic_ade20k"}
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    taught = {task for line in log if "tasks" in line for task in line["tasks"]}
    assert len(taught) >= 2  # two steps of two frames see at least two of the three
    assert all(line.get("skipped") is None for line in log)


def swap_text(root: Path, name: str, old: str, new: str) -> None:
    (path,) = root.rglob(name)
    path.write_text(path.read_text().replace(old, new))


def shift_pixels(root: Path, name: str) -> None:
    for path in root.rglob(name):
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), stored[::-1, ::-1])


def shift_array(root: Path, folder: str) -> None:
    path = root / f"train/{folder}/0.npy"
    np.save(path, np.load(path)[::-1])


OTHER_LABELS = {
    "nyuv2 classes": lambda root: shift_array(root, "label"),
    "nyuv2 depth": lambda root: shift_array(root, "depth"),
    "cityscapes classes": lambda root: shift_pixels(root, "*_labelIds.png"),
    "cityscapes depth": lambda root: shift_pixels(root, "*_disparity.png"),
    "coco": lambda root: swap_text(root, "instances_train2017.json", "[4, 6, 20", "[4, 6, 21"),
    "ade20k": lambda root: shift_pixels(root, "annotations/training/*.png"),
    "imagenet": lambda root: (root / "train/n01440764").rename(root / "train/n01443537"),
    "voc boxes": lambda root: swap_text(root, "2007_000032.xml", ">dog<", ">cow<"),
    "voc masks": lambda root: shift_pixels(root, "SegmentationClass/*.png"),
}


@pytest.mark.parametrize("what", OTHER_LABELS)
def test_a_run_is_not_resumed_on_other_labels(what: str, tmp_path: Path):
    kind, root, moved = what.split()[0], tmp_path / "set", tmp_path / "moved"

    def held(folder: Path) -> dict[str, dict]:
        return {"train": open_dataset(f"{kind}:{folder}", "train").contents()}

    root.mkdir()
    WRITERS[kind](root)
    shutil.copytree(root, moved)
    check_same_data(held(root), held(moved))
    OTHER_LABELS[what](moved)
    # The class is in the name of a frame of ImageNet.
    changed = "frames of split train" if kind == "imagenet" else "(labels|masks)"
    with pytest.raises(UserError, match=rf"--resume: the {changed} "):
        check_same_data(held(root), held(moved))


class Listed(Dataset):
    """Images with a number each in list.txt; does not say where its labels are."""

    labels = tasks = ("luminance",)

    def __init__(self, root: Path) -> None:
        self.root, self.paths = root, sorted(root.glob("*.png"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        return Sample(np.zeros((8, 8, 3), np.uint8), {}, self.paths[index].stem)


def test_labels_of_an_unknown_place_are_any_files_but_images(tmp_path: Path):
    picture(tmp_path / "a.png")
    (tmp_path / "list.txt").write_text("1")
    first = Listed(tmp_path).contents()
    picture(tmp_path / "a.png", seed=1)
    check_same_data({"train": first}, {"train": Listed(tmp_path).contents()})
    (tmp_path / "list.txt").write_text("2")
    with pytest.raises(UserError, match="--resume: the masks are not those"):
        check_same_data({"train": first}, {"train": Listed(tmp_path).contents()})


def test_voc_frames_without_a_mask_are_known_to_have_none(tmp_path: Path):
    write_voc(tmp_path)
    next(tmp_path.rglob("SegmentationClass/*.png")).unlink()
    dataset = open_dataset(f"voc:{tmp_path}", "train")
    assert dataset.tasks == ("det_voc", "classes_voc")
    wanted = {"det_voc": True, "classes_voc": True, "det_voc/dog": True, "det_voc/cow": False}
    assert {trait: dataset.presence()[trait].tolist() for trait in wanted} == {
        trait: [has] for trait, has in wanted.items()
    }


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("cityscapes", ".png", ".PNG"),
        ("voc", ".jpg", ".JPG"),
        ("voc", ".xml", ".XML"),
        ("ade20k", ".png", ".PNG"),
        ("nyuv2", ".npy", ".NPY"),
        ("imagenet", ".JPEG", ".jpeg"),
    ],
)
def test_suffixes_of_data_sets_may_be_in_capitals(tmp_path: Path, kind: str, old: str, new: str):
    WRITERS[kind](tmp_path)
    for path in [*tmp_path.rglob(f"*{old}")]:
        path.rename(path.with_suffix(new))
    dataset = open_dataset(f"{kind}:{tmp_path}", "train")
    assert dataset.tasks == DATASETS[kind].labels
    assert set(dataset[0].labels) == set(dataset.tasks)
