"""The BDD100K reader: every layout gives the same samples; what is wrong is named."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.classes import DRIVABLE
from perception.errors import UserError
from training.data.bdd_names import IGNORED, RENAMED
from training.data.formats.bdd100k import BDD100K
from training.data.masks import read_mask

SHARED = Path(__file__).parents[4] / "shared/data"
POLYGON_LAYOUTS = ("official", "2018", "2018-images", "scalabel")


def shared(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"no {SHARED / name} here")
    return SHARED / name


def same(first, second, tolerance=0.0):
    assert first.name == second.name
    assert np.array_equal(first.image, second.image)
    for task, label in second.labels.items():
        for key, array in label.arrays().items():
            np.testing.assert_allclose(first.labels[task].arrays()[key], array, atol=tolerance)


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("layout", ["masks", "2018", "2018-images", "scalabel"])
def test_layouts_give_identical_samples(tmp_path, bdd_frames, bdd_write, layout, split):
    reference = BDD100K(bdd_write(tmp_path / "a", "official", bdd_frames, split), split)
    dataset = BDD100K(bdd_write(tmp_path / "b", layout, bdd_frames, split), split)
    assert dataset.tasks == reference.tasks == ("det", "drivable", "lane", "scene")
    assert len(dataset) == len(bdd_frames)
    for index in range(len(dataset)):
        assert dataset[index].labels.keys() == reference[index].labels.keys()
        same(reference[index], dataset[index])


def test_panoptic_layout_loses_only_the_kind_of_lane(tmp_path, bdd_frames, bdd_write):
    reference = BDD100K(bdd_write(tmp_path / "a", "official", bdd_frames), "train")
    dataset = BDD100K(bdd_write(tmp_path / "b", "panoptic", bdd_frames), "train")
    for index in range(len(dataset)):
        known, read = reference[index], dataset[index]
        lines = known.labels.pop("lane").lane
        assert np.array_equal(np.where(lines == 255, 255, 192), read.labels.pop("lane").lane)
        assert known.labels.keys() == read.labels.keys()
        same(known, read)


def test_coloured_areas_of_the_panoptic_layout_are_red_and_blue(tmp_path):
    colours = np.array([[[0, 0, 255], [255, 0, 0], [0, 0, 0]]], np.uint8)  # BGR
    cv2.imwrite(str(tmp_path / "m.png"), colours)
    mask = read_mask(tmp_path / "m.png", "drivable-panoptic")
    assert mask.tolist() == [[DRIVABLE.index(n) for n in ("direct", "alternative", "background")]]


def test_yolo_layout_has_the_boxes_and_nothing_else(tmp_path, bdd_frames, bdd_write):
    reference = BDD100K(bdd_write(tmp_path / "a", "official", bdd_frames), "train")
    dataset = BDD100K(bdd_write(tmp_path / "b", "yolo", bdd_frames), "train")
    assert dataset.tasks == ("det",)
    for index in range(len(dataset)):
        same(reference[index], dataset[index], tolerance=1e-3)


def test_yolo_class_order_is_read_where_it_is_given(tmp_path, bdd_frames, bdd_write):
    root = bdd_write(tmp_path, "yolo", bdd_frames)
    (root / "data.yaml").write_text("nc: 3\nnames:\n  0: car\n  1: person\n  2: other vehicle\n")
    (root / "labels/train/0b00bbbb-00000002.txt").write_text("1 .5 .5 .1 .1\n2 .2 .2 .1 .1\n")
    for name in ("0a00aaaa-00000001", "0c00cccc-00000003"):
        (root / f"labels/train/{name}.txt").write_text("")
    boxes = BDD100K(root, "train")[1].labels["det"]
    assert boxes.classes.tolist() == [0, 2]
    assert boxes.ignore.tolist() == [False, True]
    (root / "data.yaml").write_text("names: [car, dog]\n")
    with pytest.raises(UserError, match=r"data\.yaml.*unknown class 'dog'"):
        BDD100K(root, "train")


@pytest.mark.parametrize("flag", ["crowd", "ignored"])
def test_crowds_are_ignored_regions(tmp_path, bdd_frames, bdd_write, flag):
    root = bdd_write(tmp_path, "official", bdd_frames)
    path = root / "labels/det_20/det_train.json"
    frames = json.loads(path.read_text())
    for label, value in zip(frames[2]["labels"], (True, False, True), strict=True):
        label["attributes"] = {flag: value, "occluded": not value}
    path.write_text(json.dumps(frames))
    boxes = BDD100K(root, "train")[2].labels["det"]
    assert boxes.ignore.tolist() == [True, False, True]
    assert boxes.occluded.tolist() == [False, True, False]


def test_an_export_with_boxes_only_has_no_lane_labels(tmp_path, bdd_frames, bdd_write):
    root = bdd_write(tmp_path, "scalabel", bdd_frames)
    path = root / "labels/my_train.json"
    data = json.loads(path.read_text())
    for frame in data["frames"]:
        frame["labels"] = [label for label in frame["labels"] if "box2d" in label]
    path.write_text(json.dumps(data["frames"]))
    assert BDD100K(root, "train").tasks == ("det", "scene")


def test_the_export_that_the_docs_show_is_read(tmp_path):
    text = (Path(__file__).parents[3] / "docs/data.md").read_text()
    block = text.partition("```json\n")[2].partition("```")[0]
    for folder in ("images/train", "labels"):
        (tmp_path / folder).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "images/train/0001.jpg"), np.zeros((720, 1280, 3), np.uint8))
    (tmp_path / "labels/train.json").write_text(block)
    labels = BDD100K(tmp_path, "train")[0].labels
    assert labels["det"].xyxy.tolist() == [[10, 20, 60, 50]]
    assert set(np.unique(labels["drivable"].mask)) == {0, 2}
    assert set(np.unique(labels["lane"].lane)) == {6 | 16, 255}
    (tmp_path / "labels/train.json").write_text("name,x1,y1\n")
    with pytest.raises(UserError, match=r"labels/train\.json: not valid JSON"):
        BDD100K(tmp_path, "train")


def test_binary_lanes_come_after_typed_ones_and_outlines(tmp_path, bdd_frames, bdd_write):
    root = bdd_write(tmp_path, "masks", bdd_frames)
    (root / "labels/lane/masks/train/0a00aaaa-00000001.png").unlink()
    for stem in ("0a00aaaa-00000001", "0b00bbbb-00000002"):
        path = root / f"ll_seg_annotations/train/{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((180, 320), 255, np.uint8))
    dataset = BDD100K(root, "train")
    assert (dataset[0].labels["lane"].lane == 192).all()
    assert set(np.unique(dataset[1].labels["lane"].lane)) == {6, 255}
    root = bdd_write(tmp_path / "b", "official", bdd_frames)
    path = root / "ll_seg_annotations/train/0b00bbbb-00000002.PNG"
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path.with_suffix(".png")), np.full((180, 320), 255, np.uint8))
    path.with_suffix(".png").rename(path)
    assert set(np.unique(BDD100K(root, "train")[1].labels["lane"].lane)) == {6, 255}
    (root / "labels/lane/polygons/lane_train.json").unlink()
    assert (BDD100K(root, "train")[1].labels["lane"].lane == 192).all()


def test_missing_labels_are_missing_keys(tmp_path, bdd_frames, bdd_write):
    root = bdd_write(tmp_path, "masks", bdd_frames)
    (root / "labels/drivable/masks/train/0b00bbbb-00000002.png").unlink()
    dataset = BDD100K(root, "train", ("det", "drivable", "scene"))
    assert [set(sample.labels) for sample in dataset] == [
        {"det", "drivable", "scene"},
        {"det", "scene"},
        {"det", "drivable", "scene"},
    ]
    assert dataset.presence()["drivable"].tolist() == [True, False, True]
    assert len(BDD100K(root, "train", ("drivable",))) == 2


def test_undefined_attributes_are_unknown(tmp_path, bdd_frames, bdd_write):
    dataset = BDD100K(bdd_write(tmp_path, "masks", bdd_frames), "train")
    assert dataset[2].labels["scene"].labels.tolist() == [-1, 3, 2]
    assert dataset.attributes(2) == {
        "weather": "undefined",
        "scene": "city street",
        "timeofday": "dawn/dusk",
    }


def test_semantic_frames_of_another_folder_join_by_name(tmp_path, bdd_frames, bdd_write):
    """As the 10k images do: some of them are also among the 100k."""
    root = bdd_write(tmp_path, "masks", bdd_frames[:2])
    for frame in bdd_frames[1:]:
        for folder, suffix, pixels in (
            ("images/10k/train", ".jpg", frame.image()),
            ("labels/sem_seg/masks/train", ".png", np.full((180, 320), 18, np.uint8)),
        ):
            path = root / folder / f"{frame.stem}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pixels)
    dataset = BDD100K(root, "train")
    assert [sorted(sample.labels) for sample in dataset] == [
        ["det", "drivable", "lane", "scene"],
        ["det", "drivable", "lane", "scene", "semantic"],
        ["semantic"],
    ]


def test_scaled_decoding_keeps_the_labels_native(tmp_path, bdd_frames, bdd_write):
    root = bdd_write(tmp_path, "masks", bdd_frames)
    full, half = BDD100K(root, "train")[1], BDD100K(root, "train", size_hw=(96, 160))[1]
    assert half.image.shape == (90, 160, 3)
    shrunk = cv2.resize(full.image, (160, 90), interpolation=cv2.INTER_AREA)
    assert cv2.absdiff(half.image, shrunk).mean() < 3
    assert half.labels["det"].size_hw == (180, 320)
    assert BDD100K(root, "train", size_hw=(96, 161))[1].image.shape == (180, 320, 3)


def damage_json(root):
    path = root / "labels/det_20/det_train.json"
    path.write_text(path.read_text()[:-40])


def damage_box(**changes):
    def change(root):
        path = root / "labels/det_20/det_train.json"
        frames = json.loads(path.read_text())
        frames[1]["labels"][0]["box2d"] |= changes
        path.write_text(json.dumps(frames))

    return change


def rename_category(root):
    path = root / "labels/det_20/det_train.json"
    path.write_text(path.read_text().replace('"car"', '"submarine"'))


def repeat_frame(root):
    path = root / "labels/det_20/det_train.json"
    frames = json.loads(path.read_text())
    path.write_text(json.dumps([*frames, frames[1]]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_json, r"det_train\.json: not valid JSON near character \d+"),
        (damage_box(x2=10.0), r"det_train\.json: frame 0b00bbbb.* label 0: box is empty"),
        (damage_box(x1=-9.0), r"frame 0b00bbbb.* label 0: box .* is outside the frame"),
        (damage_box(x1="left"), r"frame 0b00bbbb.*lacks a number"),
        (damage_box(y2=float("nan")), r"frame 0b00bbbb.*(finite|empty)"),
        (rename_category, r"frame 0b00bbbb.*unknown category 'submarine'"),
        (repeat_frame, r"0b00bbbb-00000002\.jpg occurs twice"),
    ],
)
def test_wrong_labels_are_named_when_the_folder_is_opened(
    tmp_path, bdd_frames, bdd_write, damage, message
):
    root = bdd_write(tmp_path, "masks", bdd_frames)
    damage(root)
    with pytest.raises(UserError, match=message):
        BDD100K(root, "train")


def test_without_strict_only_the_wrong_frame_raises(tmp_path, bdd_frames, bdd_write):
    root = bdd_write(tmp_path, "masks", bdd_frames)
    damage_box(x2=10.0)(root)
    dataset = BDD100K(root, "train", strict=False)
    assert dataset[0].name == "0a00aaaa-00000001"
    with pytest.raises(UserError, match="0b00bbbb"):
        dataset[1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("images/100k/train/{}.jpg", b"not a picture", "does not decode"),
        ("images/100k/train/{}.jpg", b"", "does not decode"),
        ("labels/drivable/masks/train/{}.png", b"\x89PNG\r\n", "does not decode"),
        ("labels/drivable/masks/train/{}.png", (180, 320, 7), "unknown value 7"),
        ("labels/drivable/masks/train/{}.png", (90, 160, 1), "160x90, its frame 320x180"),
        ("labels/lane/masks/train/{}.png", (180, 320, 64), "no lane byte"),
    ],
)
def test_broken_images_are_named_when_read(tmp_path, bdd_frames, bdd_write, name, content, message):
    root = bdd_write(tmp_path, "masks", bdd_frames)
    path = root / name.format("0b00bbbb-00000002")
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        cv2.imwrite(str(path), np.full(content[:2], content[2], np.uint8))
    dataset = BDD100K(root, "train")
    with pytest.raises(UserError, match=message) as error:
        dataset[1]
    assert str(path) in str(error.value)


def test_a_truncated_jpeg_is_refused(tmp_path, bdd_frames, bdd_write):
    root = bdd_write(tmp_path, "masks", bdd_frames)
    path = root / "images/100k/train/0b00bbbb-00000002.jpg"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match="does not decode"):
        BDD100K(root, "train")[1]


def test_a_box_beyond_the_frame_is_named_when_read(tmp_path, bdd_frames, bdd_write):
    root = bdd_write(tmp_path, "masks", bdd_frames)
    damage_box(x2=330.0)(root)
    with pytest.raises(UserError, match=r"0b00bbbb.*outside the frame of 320x180"):
        BDD100K(root, "train")[1]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: None, "no such folder"),
        (lambda root: root.mkdir(), "no frames found"),
    ],
)
def test_a_missing_or_empty_folder_is_named(tmp_path, prepare, message):
    prepare(tmp_path / "data")
    with pytest.raises(UserError, match=message):
        BDD100K(tmp_path / "data", "train")


def test_a_wrong_split_or_task_lists_the_available_ones(tmp_path, bdd_frames, bdd_write):
    root = bdd_write(tmp_path, "masks", bdd_frames)
    with pytest.raises(UserError, match="no frames for split 'val'; it has train"):
        BDD100K(root, "val")
    with pytest.raises(UserError, match="no labels for semantic; it has det, drivable, lane"):
        BDD100K(root, "train", ("semantic",))


def test_an_archive_unpacked_in_place_is_found(tmp_path, bdd_frames, bdd_write):
    bdd_write(tmp_path / "bdd100k", "masks", bdd_frames)
    assert len(BDD100K(tmp_path, "train")) == 3


def test_archives_that_unpack_to_different_places_are_joined(tmp_path, bdd_frames, bdd_write):
    """Today's images archive unpacks to 100k/, labels to bdd100k/labels, both in one folder."""
    reference = BDD100K(bdd_write(tmp_path / "a", "masks", bdd_frames), "train")
    root = bdd_write(tmp_path / "b", "masks", bdd_frames)
    (root / "bdd100k").mkdir()
    (root / "labels").rename(root / "bdd100k/labels")
    (root / "images/100k").rename(root / "100k")
    for first, second in zip(reference, BDD100K(root, "train"), strict=True):
        same(first, second)


def test_names_are_mapped_as_the_toolkit_maps_them():
    pytest.importorskip("bdd100k", reason="pip install 'pvt-hydranet[bdd]'")
    from training.evaluation import toolkit

    settings = toolkit.config("det")
    assert (settings.name_mapping, settings.ignored_mapping) == (RENAMED, IGNORED)


def test_real_2018_frames_have_every_part_of_the_lane_byte():
    dataset = BDD100K(shared("bdd100k-2018"), "train")
    assert dataset.tasks == ("det", "drivable", "lane", "scene")
    seen = np.unique(np.concatenate([s.labels["lane"].lane.reshape(-1) for s in dataset]))
    lines = seen[seen != 255]
    assert (lines < 64).all()
    assert set(lines & 7) >= {0, 2, 3, 4, 6, 7}
    assert sum(len(sample.labels["det"].classes) for sample in dataset) == 210


def test_real_10k_frames_have_semantic_masks():
    dataset = BDD100K(shared("bdd100k-10k"), "val", ("semantic",))
    assert len(dataset) == 8
    assert all(set(np.unique(s.labels["semantic"].mask)) <= {*range(19), 255} for s in dataset)
