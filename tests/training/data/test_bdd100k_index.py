"""The index: streamed, cached, mapped, and never older than the files it was read from."""

import json
import os
import pickle

import numpy as np
import pytest

from perception.errors import UserError
from training.data.bdd import cache, layouts, stream
from training.data.bdd100k import BDD100K


def columns(root, folder):
    return cache.open_index(layouts.find(root, "train"), folder).columns()


def test_cache_gives_the_same_columns(tmp_path, bdd_frames, bdd_write):
    root = bdd_write(tmp_path / "data", "2018", bdd_frames)
    built, loaded = columns(root, tmp_path / "c"), columns(root, tmp_path / "c")
    for name, column in built.items():
        assert column.dtype == loaded[name].dtype
        assert np.array_equal(column, loaded[name]), name


def test_cache_is_mapped_not_copied(tmp_path, bdd_frames, bdd_write):
    root = bdd_write(tmp_path / "data", "2018", bdd_frames)
    for column in columns(root, tmp_path / "c").values():
        assert not column.flags.owndata
        assert not column.flags.writeable


def test_second_opening_reads_no_label_file(tmp_path, bdd_frames, bdd_write, monkeypatch):
    root = bdd_write(tmp_path / "data", "2018", bdd_frames)
    columns(root, tmp_path / "c")
    monkeypatch.setattr(cache, "build", lambda layout: pytest.fail("built again"))
    columns(root, tmp_path / "c")


def change_labels(root):
    path = root / "labels/det_20/det_train.json"
    path.write_text(path.read_text().replace('"car"', '"bus"'))


def touch_labels(root):
    path = root / "labels/det_20/det_train.json"
    text = path.read_text().replace("10.5", "11.5")
    path.write_text(text)  # same size: only the time tells


def remove_mask(root):
    (root / "labels/lane/masks/train/0b00bbbb-00000002.png").unlink()


def remove_image(root):
    (root / "images/100k/train/0b00bbbb-00000002.jpg").unlink()


@pytest.mark.parametrize("change", [change_labels, touch_labels, remove_mask, remove_image])
def test_a_changed_file_invalidates_the_cache(tmp_path, bdd_frames, bdd_write, change):
    root = bdd_write(tmp_path / "data", "masks", bdd_frames)
    before = columns(root, tmp_path / "c")
    change(root)
    after = columns(root, tmp_path / "c")
    assert any(not np.array_equal(before[name], after[name]) for name in before)
    assert len(list((tmp_path / "c/bdd").iterdir())) == 1


def test_a_changed_file_of_one_image_invalidates_the_cache(tmp_path, bdd_frames, bdd_write):
    root = bdd_write(tmp_path / "data", "2018-images", bdd_frames)
    before = columns(root, tmp_path / "c")
    path = root / "labels/100k/train/0b00bbbb-00000002.json"
    folder_time = path.parent.stat().st_mtime_ns
    path.write_text(path.read_text().replace('"car"', '"bus"'))
    os.utime(path.parent, ns=(folder_time, folder_time))
    assert not np.array_equal(before["box_class"], columns(root, tmp_path / "c")["box_class"])


@pytest.mark.parametrize("damage", ["torn", "gone", "longer"])
def test_a_damaged_cache_is_built_again(tmp_path, bdd_frames, bdd_write, damage):
    root = bdd_write(tmp_path / "data", "masks", bdd_frames)
    before = {name: np.array(column) for name, column in columns(root, tmp_path / "c").items()}
    path = next((tmp_path / "c/bdd").glob("*/box_class.npy"))
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:50])
    elif damage == "gone":
        path.unlink()
    else:
        np.save(path, np.zeros(99, np.int8))
    after = columns(root, tmp_path / "c")
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_an_unwritable_cache_is_no_error(tmp_path, bdd_frames, bdd_write):
    root = bdd_write(tmp_path / "data", "masks", bdd_frames)
    (tmp_path / "file").write_text("")
    assert len(columns(root, tmp_path / "file")["stems"]) == 3


def test_spawned_workers_get_no_copy_of_the_index(tmp_path, bdd_frames, bdd_write):
    dataset = BDD100K(bdd_write(tmp_path / "data", "2018", bdd_frames), "train")
    data = pickle.dumps(dataset)
    assert b"box_xyxy" not in data
    twin = pickle.loads(data)
    assert np.array_equal(twin[1].labels["lane"].lane, dataset[1].labels["lane"].lane)


@pytest.mark.parametrize("chunk", [1, 7, 100, 1 << 20])
@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: {"config": {"a": [1]}, "frames": f}])
def test_streaming_equals_reading_whole(tmp_path, monkeypatch, chunk, wrap):
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
