"""The table of labels: streamed, cached, mapped, never older than the files it was read from."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from perception.errors import UserError
from perception.files import cache_folder
from training.data import builder as collect
from training.data import stream
from training.data.builder import Builder
from training.data.formats.bdd100k import BDD100K
from training.data.table import AREA, LINE, MASK_TASKS


def columns(root, split="train"):
    return BDD100K(root, split, strict=None).table.columns()


def test_cache_gives_the_same_columns_mapped(tmp_path, bdd_frames, bdd_write):
    root = bdd_write(tmp_path / "data", "2018", bdd_frames)
    built = BDD100K(root, "train")
    fresh = built._build().columns()
    for name, column in columns(root).items():
        assert column.dtype == fresh[name].dtype
        assert np.array_equal(column, fresh[name]), name
        assert not column.flags.owndata
        assert not column.flags.writeable


def test_second_opening_reads_no_label_file(tmp_path, bdd_frames, bdd_write, monkeypatch):
    root = bdd_write(tmp_path / "data", "2018", bdd_frames)
    columns(root)
    monkeypatch.setattr(BDD100K, "_build", lambda self: pytest.fail("built again"))
    columns(root)


def test_a_table_that_another_process_wrote_meanwhile_stays(
    tmp_path, bdd_frames, bdd_write, monkeypatch
):
    root = bdd_write(tmp_path / "data", "2018", bdd_frames)
    build, written = BDD100K._build, []

    def slowly(dataset):
        monkeypatch.setattr(BDD100K, "_build", build)
        written.append(BDD100K(root, "train").table.folder.stat().st_ino)
        return build(dataset)

    monkeypatch.setattr(BDD100K, "_build", slowly)
    assert BDD100K(root, "train").table.folder.stat().st_ino == written[0]


def change_labels(root):
    path = root / "labels/det_20/det_train.json"
    path.write_text(path.read_text().replace('"car"', '"bus"'))


def touch_labels(root):
    path = root / "labels/det_20/det_train.json"
    status = path.stat()
    path.write_text(path.read_text().replace("10.5", "11.5"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # only the change time tells


def remove_mask(root):
    (root / "labels/lane/masks/train/0b00bbbb-00000002.png").unlink()


def remove_image(root):
    (root / "images/100k/train/0b00bbbb-00000002.jpg").unlink()


@pytest.mark.parametrize("change", [change_labels, touch_labels, remove_mask, remove_image])
def test_a_changed_file_invalidates_the_cache(tmp_path, bdd_frames, bdd_write, change):
    root = bdd_write(tmp_path / "data", "masks", bdd_frames)
    before = {name: np.array(column) for name, column in columns(root).items()}
    change(root)
    after = columns(root)
    assert any(not np.array_equal(before[name], after[name]) for name in before)
    assert len(list((cache_folder() / "tables").iterdir())) == 1


def test_a_changed_file_of_one_image_invalidates_the_cache(tmp_path, bdd_frames, bdd_write):
    root = bdd_write(tmp_path / "data", "2018-images", bdd_frames)
    before = np.array(columns(root)["box_class"])
    path = root / "labels/100k/train/0b00bbbb-00000002.json"
    folder_time = path.parent.stat().st_mtime_ns
    path.write_text(path.read_text().replace('"car"', '"bus"'))
    os.utime(path.parent, ns=(folder_time, folder_time))
    assert not np.array_equal(before, columns(root)["box_class"])


@pytest.mark.parametrize("damage", ["torn", "gone", "longer", "header"])
def test_a_damaged_cache_is_built_again(tmp_path, bdd_frames, bdd_write, damage):
    root = bdd_write(tmp_path / "data", "masks", bdd_frames)
    before = {name: np.array(column) for name, column in columns(root).items()}
    path = next((cache_folder() / "tables").glob("*/box_class.npy"))
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:50])
    elif damage == "gone":
        path.unlink()
    elif damage == "header":  # its header is Python text to numpy
        path.write_bytes(b"{'descr': '<f4', 'shape': (")
    else:
        np.save(path, np.zeros(99, np.int16))
    after = columns(root)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_an_unwritable_cache_is_no_error(tmp_path, bdd_frames, bdd_write, monkeypatch):
    root = bdd_write(tmp_path / "data", "masks", bdd_frames)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PVT_HYDRANET_CACHE", str(tmp_path / "file"))
    assert len(BDD100K(root, "train")) == 3


def test_spawned_workers_get_no_copy_of_the_table(tmp_path, bdd_frames, bdd_write):
    dataset = BDD100K(bdd_write(tmp_path / "data", "2018", bdd_frames), "train")
    data = pickle.dumps(dataset)
    assert b"box_xyxy" not in data
    twin = pickle.loads(data)
    assert np.array_equal(twin[1].labels["lane"].lane, dataset[1].labels["lane"].lane)


def test_columns_are_ordered_by_frame(tmp_path):
    """By hand: labels are added out of order and come back with their frames."""
    builder = Builder(tmp_path)
    late, early = builder.frame("b.png"), builder.frame("a.png")
    builder.box(early, "car", (1, 2, 3, 4), "x")
    builder.box(late, "bus", (5, 6, 7, 8), "x", 2)
    builder.shape(early, "lane", [(1, 1), (2, 2)], "x", LINE, types="LC")
    builder.shape(late, "road", [(0, 0), (3, 0), (3, 3)], "x", AREA)
    builder.mask(late, "semantic", "m.png", builder.encoding("semantic"))
    found = builder.table()
    assert [found.image(i) for i in found.order] == ["a.png", "b.png"]
    assert found.box_start.tolist() == [0, 1, 2]
    assert found.box_xyxy.tolist() == [[5, 6, 7, 8], [1, 2, 3, 4]]
    assert (found.box_class.tolist(), found.box_flags.tolist()) == ([1, 0], [2, 0])
    assert found.vertex_xy.tolist() == [[0, 0], [3, 0], [3, 3], [1, 1], [2, 2]]
    assert found.vertex_curve.tolist() == [False] * 4 + [True]
    assert (found.shape_kind.tolist(), found.vertex_start.tolist()) == ([0, 1], [0, 3, 5])
    assert found.mask(late, "semantic") == ("m.png", "semantic")
    assert found.mask(early, MASK_TASKS[0]) is None


@pytest.mark.parametrize(
    ("xyxy", "fits"),
    [
        ((-2, -2, 102, 52), True),
        ((-3, 0, 10, 10), False),
        ((0, -3, 10, 10), False),
        ((90, 0, 103, 10), False),
        ((0, 40, 10, 53), False),
    ],
)
def test_a_box_may_stand_two_pixels_outside(tmp_path, xyxy, fits):
    builder = Builder(tmp_path)
    builder.box(builder.frame("a.png", size_hw=(50, 100)), "car", xyxy, "x")
    assert len(builder.table().box_class) == fits
    assert len(builder.problems) == (not fits)


def test_outlines_are_bounded_and_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "MOST_VERTICES_OF_FRAME", 7)
    builder = Builder(tmp_path)
    first, second = builder.frame("a.png"), builder.frame("b.png")
    triangle = [(0, 0), (3, 0), (3, 3)]
    for frame in (first, first, second, first):
        builder.shape(frame, "road", triangle, "x", AREA)
    assert builder.problems == [(first, "x: more than 7 vertices in one frame; fix it")]
    assert builder.table().shape_start.tolist() == [0, 2, 3]
    wrong = [(triangle[:2], ""), ([*triangle[:2], (3, float("nan"))], ""), (triangle, "LL"),
             (triangle, "LLX"), ([(0, 0), (1e6, 0), (3, 3)], "")]  # fmt: skip
    for points, types in wrong:
        builder.shape(second, "road", points, "y", AREA, types=types)
    assert [text[:20] for _, text in builder.problems[1:]] == ["y: malformed outline"] * 5
    builder.shape(second, "road", triangle[:2], "z", AREA, types="LL")  # as releases have it
    assert builder.table().shape_start.tolist() == [0, 2, 4]


def test_the_first_problem_of_every_frame_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "MOST_LISTED", 3)
    builder = Builder(tmp_path)
    frames = [builder.frame(f"{n}.png") for n in range(4)]
    for frame in frames:
        for text in ("first", "second"):
            builder.problem(frame, f"{frame} {text}\n")
    assert [text for _, text in builder.problems] == [
        "0 first\\n", "0 second\\n", "1 first\\n", "2 first\\n", "3 first\\n",
    ]  # fmt: skip


@pytest.mark.parametrize("chunk", [1, 7, 100, 1 << 20])
@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: {"config": {"a": [1]}, "frames": f}])
def test_streaming_equals_reading_whole(tmp_path: Path, monkeypatch, chunk, wrap):
    monkeypatch.setattr(stream, "CHUNK", chunk)
    frames = [{"name": f"f{i}", "labels": [{"id": "é"}] * i} for i in range(5)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(wrap(frames), ensure_ascii=False, indent=1), encoding="utf-8")
    assert list(stream.frames(path)) == frames


@pytest.mark.parametrize(
    "text", ["", "[", "[{}", '[{"name": "a"} {', "[1]", "hello", '{"frames": [}', '"text"', "[{},]"]
)
@pytest.mark.parametrize("chunk", [4, 1 << 20])
def test_broken_json_is_named(tmp_path, monkeypatch, chunk, text):
    monkeypatch.setattr(stream, "CHUNK", chunk)
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"a\.json: not valid JSON near character"):
        list(stream.frames(path))


def test_an_empty_list_has_no_frames(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(" [ ] ")
    assert list(stream.frames(path)) == []
