"""Several datasets as one: wanted tasks, weights, rare things more often, a choice of frames."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from perception.errors import UserError
from training.config import DataArgs
from training.data.dataset import Dataset
from training.data.frames import Choice, Frames, first, select, weighed, whole
from training.data.labels import Labels, Mask
from training.data.rendered import write_bdd100k
from training.data.sample import Sample
from training.data.sources import open_sources


class Part(Dataset):
    """Frames that label `tasks`; a quarter of a per cent show something rare."""

    def __init__(self, count, *tasks):
        self.count, self.tasks = count, tasks

    def __len__(self):
        return self.count

    def presence(self):
        return {task: np.ones(self.count, bool) for task in self.tasks} | {
            "train": np.arange(self.count) == 1
        }

    def __getitem__(self, index):
        kinds = {"scene": Labels(np.zeros(3)), "drivable": Mask(np.zeros((2, 2), np.uint8))}
        labels = {task: kinds[task] for task in self.tasks}
        return Sample(np.zeros((2, 2, 3), np.uint8), labels, f"{self.count}/{index}")


def test_only_wanted_labels_and_every_frame_once():
    joined = Frames([Part(3, "scene"), Part(400, "scene", "drivable")], ["drivable", "scene"])
    assert joined.tasks == ("drivable", "scene")
    assert (joined[2].name, joined[3].name) == ("3/2", "400/0")
    assert joined.draws(rare=False) is None
    assert joined.counts() == {"drivable": 400, "scene": 403}
    assert set(Frames([Part(3, "scene", "drivable")], ["scene"])[0].labels) == {"scene"}


def test_weights_and_rarity_multiply():
    parts = [whole(Part(3, "scene")), whole(Part(400, "drivable"))]
    joined = Frames(weighed(parts, [1, 0.5]), ["drivable", "scene"])
    np.testing.assert_array_equal(joined.draws(rare=False), [1.0] * 3 + [0.5] * 400)
    draws = joined.draws(rare=True)
    # `scene` is labelled on 3 of 403 frames, "train" shows on 2: sqrt(0.1 / share).
    assert draws[0] == pytest.approx((0.1 / (3 / 403)) ** 0.5)
    assert draws[4] == pytest.approx(0.5 * (0.1 / (2 / 403)) ** 0.5)
    assert draws[5] == 0.5


def rendered_folder(root, train, val):
    """Rendered roads in BDD100K's layout, without the split `val` where it has no frames."""
    write_bdd100k(root, train, val, 0, (192, 320))
    if not val:
        for path in [path for path in root.rglob("val*") if path.is_dir()]:
            shutil.rmtree(path, ignore_errors=True)
        for path in root.rglob("*_val.json"):
            path.unlink()
    return str(root)


def test_a_folder_without_val_adds_training_frames(tmp_path):
    both, only_train = rendered_folder(tmp_path / "a", 3, 2), rendered_folder(tmp_path / "b", 4, 0)
    args = DataArgs(data=(both, only_train), size=(64, 96))
    train, val = open_sources(args, ["scene"], 0)
    assert (len(train), len(val)) == (7, 2)
    with pytest.raises(UserError, match="no frames for split 'val'"):
        open_sources(replace(args, data=(only_train,)), ["scene"], 0)


def test_whole_datasets_are_weighted_by_place_or_folder_name(tmp_path):
    words = (rendered_folder(tmp_path / "a", 3, 2), rendered_folder(tmp_path / "b", 4, 0))
    args = DataArgs(data=words, size=(64, 96), trait_weights={"source/2": 0.5})
    train, _ = open_sources(args, ["scene"], 0)
    np.testing.assert_array_equal(train.draws(rare=False), [1.0] * 3 + [0.5] * 4)
    train, _ = open_sources(replace(args, trait_weights={"source/a": 0.0}), ["scene"], 0)
    assert len(train) == 4
    with pytest.raises(UserError, match="unknown trait 'source/3'"):
        open_sources(replace(args, trait_weights={"source/3": 2.0}), ["scene"], 0)


def test_a_limit_takes_the_first_frames():
    joined = Frames(first([whole(Part(3, "scene")), whole(Part(400, "drivable"))], 100), ["scene"])
    assert len(joined) == 100
    assert [joined[index].name for index in (0, 2, 3, 99)] == ["3/0", "3/2", "400/0", "400/96"]
    assert len(joined.presence()["scene"]) == 100
    assert len(joined.draws(rare=True)) == 100
    parts = [whole(Part(3)), whole(Part(4))]
    assert [len(part.rows) for part in first(parts, 2)] == [2, 0]
    assert [len(part.rows) for part in first(parts, 0)] == [3, 4]


def test_as_many_weights_as_folders():
    with pytest.raises(UserError, match="1 weights for 2 datasets"):
        weighed([whole(Part(3, "scene")), whole(Part(4, "scene"))], [1.0])


def rows(choice: Choice) -> list[int]:
    frames = Frames([choice])
    return [int(frames[index].name.split("/")[1]) for index in range(len(frames))]


def test_smaller_shares_are_subsets_of_larger_ones():
    def share(value, seed=0):
        (part,) = select([whole(Part(101, "scene"))], {}, value, seed)
        return rows(part)

    quarter, half, all_of_them = share(0.25), share(0.5), share(1.0)
    assert [len(quarter), len(half), len(all_of_them)] == [26, 51, 101]
    assert set(quarter) < set(half) < set(all_of_them)
    assert share(0.25) == quarter == sorted(quarter)
    assert share(0.25, seed=1) != quarter


def test_trait_weights_multiply_and_zero_leaves_out():
    class Foggy(Part):
        def presence(self):
            return super().presence() | {"weather/foggy": np.arange(self.count) % 2 == 0}

    parts = [whole(Foggy(4, "scene")), whole(Part(3, "scene"))]
    weights = {"weather/foggy": 0.5, "train": 3.0}
    joined = Frames(weighed(select(parts, weights, 1.0, 0), [1, 2]), ["scene"])
    np.testing.assert_array_equal(joined.draws(rare=False), [0.5, 3, 0.5, 1, 2, 6, 2])
    clear, other = select(parts, {"weather/foggy": 0}, 1.0, 0)
    assert (rows(clear), rows(other)) == ([1, 3], [0, 1, 2])
    assert Frames([clear, other], ["scene"]).draws(rare=False) is None
    half, _ = select(parts, {"weather/foggy": 0}, 0.5, 0)
    assert rows(half) in ([1], [3])
    with pytest.raises(UserError, match="did you mean 'weather/foggy'"):
        select(parts, {"weather/fogy": 0}, 1.0, 0)


def test_frames_are_chosen_by_trait(tmp_path, bdd_frames, bdd_write):
    root = bdd_write(tmp_path, "masks", bdd_frames)
    bdd_write(tmp_path, "masks", bdd_frames, "val")
    stems = [frame.stem for frame in bdd_frames]

    def names(**weights):
        args = DataArgs(data=(str(root),), trait_weights=weights, val_limit=2)
        train, val = open_sources(args, ["det"], 0)
        assert len(val) == 2  # never weighed nor left out
        return [train[index].name for index in range(len(train))]

    assert names() == names(**{"det/car": 0.5}) == stems
    assert names(**{"det/car": 0}) == [stems[0], stems[2]]
    with pytest.raises(UserError, match="no training frames are left"):
        names(**{"det": 0})


def test_rendered_roads_come_on_top(tmp_path, bdd_frames, bdd_write):
    for split in ("train", "val"):
        bdd_write(tmp_path, "masks", bdd_frames, split)
    args = DataArgs(
        data=(str(tmp_path),), size=(64, 96), limit=2, rendered=5, rendered_weight=0.6, share=0.9
    )
    train, val = open_sources(args, ["det", "drivable"], 0)
    assert (len(train), len(val)) == (2 + 5, 3)
    np.testing.assert_array_equal(train.draws(rare=False), [1, 1, *[0.6] * 5])
    assert train[6].name.startswith("rendered")
    more = open_sources(replace(args, data_weights=(2.0,)), ["det"], 0)[0]
    np.testing.assert_array_equal(more.draws(rare=False), [2, 2, *[0.6] * 5])
    train, _ = open_sources(DataArgs(size=(64, 96), limit=2, rendered=5), ["det"], 0)
    assert len(train) == 2  # without --data all roads are rendered anyway
