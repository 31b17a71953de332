"""Datasets joined with different tasks, what is drawn from them, and bad frames skipped."""

import numpy as np
import pytest
from torch.utils.data import DataLoader

from perception.errors import UserError
from training.data.classes import ClassLists
from training.data.dataset import Dataset
from training.data.formats.bdd100k import BDD100K
from training.data.frames import Frames, draw, repeat_factors, weighed, whole
from training.data.labels import LaneMask
from training.data.sample import Sample, collate
from training.data.sampling import SkipBad


class Numbers(Dataset):
    """Frames whose only content is their number; `bad` ones cannot be read."""

    def __init__(self, count, tasks=("det",), bad=(), start=0, presence=None):
        self.count, self.tasks, self.bad, self.start = count, tasks, set(bad), start
        if presence is not None:
            self.presence = lambda: presence

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index in self.bad:
            raise UserError(f"frame {index} is broken")
        return Sample(np.full((2, 2, 3), self.start + index, np.uint8), {}, str(index))


def value(sample):
    return int(sample.image[0, 0, 0])


def test_union_is_one_after_the_other():
    union = Frames([Numbers(3), Numbers(0), Numbers(2, ("lane", "det"), start=3)])
    assert [value(union[index]) for index in range(len(union))] == [0, 1, 2, 3, 4]
    assert union.tasks == ("det", "lane")
    assert union.counts() == {"det": 5, "lane": 2}
    with pytest.raises(IndexError):
        union[5]


class Kerbs(Numbers):
    """Lanes of the categories kerb (byte 0) and edge (1), solid and parallel, dashed and vertical;
    background, not annotated, and a line of unknown type."""

    lane = np.array([[0, 1, 1 | 16 | 32, 255, 254, 64 | 128]], np.uint8)
    parts = {"styles": ("solid", "dashed"), "directions": ("parallel", "vertical")}  # noqa: RUF012
    classes = {"lane": {"categories": ("kerb", "edge"), **parts}}  # noqa: RUF012

    def __getitem__(self, index):
        return Sample(np.zeros((1, 6, 3), np.uint8), {"lane": LaneMask(self.lane)}, "0")


def test_lanes_of_a_category_that_the_list_lacks_are_of_no_known_one():
    lists = ClassLists({"lane": {"categories": ("edge",), **Kerbs.parts}}, strict=False)
    (found,) = Frames([Kerbs(1, ("lane",))], lists=lists)[0].labels.values()
    assert found.lane.tolist() == [[64, 0, 16 | 32, 255, 254, 64 | 128]]


@pytest.mark.parametrize("weights", [[1], [0, 0], [1, -1], [1, float("nan")]])
def test_weights_that_do_not_fit_are_named(weights):
    with pytest.raises(UserError, match="weights"):
        weighed([whole(Numbers(3)), whole(Numbers(2))], weights)


def test_equal_weights_draw_each_frame_once():
    for seed in range(20):
        drawn = draw(np.ones(37), np.random.default_rng(seed))
        assert sorted(drawn) == list(range(37))
    first, second = (draw(np.ones(37), np.random.default_rng(seed)) for seed in (1, 2))
    assert not np.array_equal(first, second)


def test_draws_follow_the_weights():
    weights = np.array([4.0, 1.0, 0.0, 2.5, 0.5])
    total = np.zeros(5)
    for seed in range(200):
        counts = np.bincount(draw(weights, np.random.default_rng(seed), 16), minlength=5)
        assert counts.sum() == 16
        assert (np.abs(counts - 16 * weights / 8) < 1).all()
        total += counts
    np.testing.assert_allclose(total / 200, 16 * weights / 8, atol=0.15)


def test_dataset_weights_shift_what_is_drawn():
    union = Frames(weighed([whole(Numbers(90)), whole(Numbers(10, start=90))], [1, 9]))
    drawn = draw(union.draws(rare=True), np.random.default_rng(0))
    assert (drawn >= 90).sum() == 50


def test_rare_traits_are_drawn_more_often_and_none_less_often():
    rare, very_rare = np.zeros(1000, bool), np.zeros(1000, bool)
    rare[:25], very_rare[999] = True, True
    factors = repeat_factors({"train": rare, "foggy": very_rare, "car": np.ones(1000, bool)}, 1000)
    np.testing.assert_allclose(factors[:25], 2.0)
    assert factors[999] == 8.0
    assert (factors[25:999] == 1).all()
    assert repeat_factors({}, 0).shape == (0,)


def test_a_frame_with_two_rare_traits_is_drawn_for_the_rarer_one():
    numbers = np.arange(1600)
    factors = repeat_factors({"rare": numbers < 40, "rarer": numbers < 10}, 1600)
    assert (factors[0], factors[20], factors[50]) == (4.0, 2.0, 1.0)  # roots of 0.1 / share


def test_a_rare_task_of_a_union_is_drawn_more_often():
    union = Frames([Numbers(980, ("det",)), Numbers(20, ("semantic",))])
    drawn = draw(union.draws(rare=True), np.random.default_rng(0))
    assert 40 <= (drawn >= 980).sum() <= 50


def test_traits_are_those_of_the_chosen_rows():
    foggy = np.array([True, False, False, True])
    choice = whole(Numbers(4, presence={"foggy": foggy}))
    some = choice._replace(rows=np.array([1, 3]), weights=np.ones(2))
    assert Frames([some]).presence()["foggy"].tolist() == [False, True]


def test_bdd100k_lists_its_traits(tmp_path, bdd_frames, bdd_write):
    dataset = BDD100K(bdd_write(tmp_path, "masks", bdd_frames), "train")
    presence = dataset.presence()
    assert presence["det/car"].tolist() == [False, True, False]
    assert presence["det/train"].tolist() == [False] * 3
    assert presence["timeofday/night"].tolist() == [True, False, False]
    assert presence["lane"].tolist() == [True] * 3


def test_bad_frames_are_replaced_counted_and_named(capsys):
    dataset = SkipBad(Numbers(100, bad=[3, 4, 99]), max_share=0.05)
    assert [value(dataset[index]) for index in (2, 3, 3, 99)] == [2, 5, 5, 0]
    assert dataset.skipped() == [3, 4, 99]
    said = capsys.readouterr().err
    assert [said.count(f"frame {bad} is broken") for bad in (3, 4, 99)] == [1, 1, 1]


def test_more_bad_frames_than_allowed_stop_with_a_name():
    dataset = SkipBad(Numbers(100, bad=[3, 4, 5]), max_share=0.02)
    with pytest.raises(UserError, match=r"3 of 100 frames are bad.*2\.0%.*frame 5 is broken"):
        dataset[3]


def test_no_good_frame_at_all_ends():
    with pytest.raises(UserError):
        SkipBad(Numbers(2, bad=[0, 1]), max_share=0.9)[0]


def test_workers_share_what_is_bad():
    dataset = SkipBad(Numbers(40, bad=[1, 22]), max_share=0.05)
    loader = DataLoader(dataset, batch_size=10, num_workers=2, collate_fn=collate)
    assert sum(len(batch.names) for batch in loader) == 40
    assert dataset.skipped() == [1, 22]


def test_a_wrong_label_skips_its_frame_only(tmp_path, bdd_frames, bdd_write, capsys):
    root = bdd_write(tmp_path, "masks", bdd_frames)
    path = root / "labels/det_20/det_train.json"
    path.write_text(path.read_text().replace('"car"', '"submarine"'))
    dataset = SkipBad(BDD100K(root, "train", strict=False), max_share=0.5)
    assert [dataset[index].name[:4] for index in range(3)] == ["0a00", "0c00", "0c00"]
    assert "unknown category 'submarine'" in capsys.readouterr().err
