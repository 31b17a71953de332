"""Order and randomness by numbers alone."""

import numpy as np
import pytest

from perception.errors import UserError
from training.data.dataset import Dataset
from training.data.labels import Labels
from training.data.sample import Sample
from training.data.sampling import Order, SkipBad, TransformedFrames, loader


def batches(order: Order, epoch: int = 0, start: int = 0) -> list[list[tuple[int, int]]]:
    order.at(epoch, start)
    return list(order)


def test_an_epoch_has_every_frame_once_in_its_own_order() -> None:
    order = Order(12, 3, seed=5)
    first, second = batches(order, 0), batches(order, 1)
    assert sorted(index for batch in first for _, index in batch) == list(range(12))
    assert [[i for _, i in b] for b in first] != [[i for _, i in b] for b in second]
    assert batches(Order(12, 3, seed=5), 0) == first
    assert batches(Order(12, 3, seed=6), 0) != first


def test_order_resumes_at_a_given_batch() -> None:
    order = Order(20, 4, seed=0)
    whole = batches(order, 2)
    assert batches(order, 2, 3) == whole[3:]
    assert batches(order, 2, 5) == []


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_the_joint_batches_of_one(ranks: int) -> None:
    alone = batches(Order(20, 6, seed=1), 4, 1)
    shares = [batches(Order(20, 6, 1, rank, ranks), 4, 1) for rank in range(ranks)]
    for number, joint in enumerate(alone):
        assert sorted(key for share in shares for key in share[number]) == sorted(joint)


@pytest.mark.parametrize("weights", [None, np.ones(20)])
def test_the_last_batch_is_filled_with_the_first_frames_of_the_epoch(weights) -> None:
    assert (Order(20, 6, 0).steps, Order(18, 6, 0).steps, Order(5, 6, 0).steps) == (4, 3, 1)
    found = batches(Order(20, 6, 0, weights=weights), 7)
    assert [len(batch) for batch in found] == [6, 6, 6, 6]
    assert {index for batch in found for _, index, *_ in batch} == set(range(20))
    assert found[-1][2:] == [(7, index, 1) for _, index in found[0][:4]]  # augmented another way


def test_fewer_frames_than_a_batch_still_train() -> None:
    assert len(batches(Order(3, 8, 0))[0]) == 3


def test_a_batch_too_small_for_the_ranks() -> None:
    with pytest.raises(UserError, match="--batch 2"):
        Order(10, 2, 0, 0, 4)


class Numbers(Dataset):
    tasks = ("scene",)

    def __init__(self, bad: tuple[int, ...] = ()) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Sample:
        if index in self.bad:
            raise UserError(f"frame {index}: does not decode")
        labels = {"scene": Labels(np.array([index]))}
        return Sample(np.full((2, 2, 3), index, np.uint8), labels, str(index))


def noisy(sample: Sample, rng: np.random.Generator) -> Sample:
    return Sample(
        sample.image + rng.integers(0, 99, (2, 2, 3), np.uint8), sample.labels, sample.name
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_depends_on_seed_epoch_and_frame_not_on_workers(workers: int) -> None:
    def images(count: int, epoch: int, start: int) -> dict[str, np.ndarray]:
        order = Order(8, 2, 3)
        order.at(epoch, start)
        found = {}
        for batch in loader(TransformedFrames(Numbers(), noisy, 3), order, count):
            found |= dict(zip(batch.names, batch.frames.numpy(), strict=True))
        return found

    whole, rest = images(0, 1, 0), images(workers, 1, 2)
    assert len(rest) == 4
    for name, image in rest.items():
        np.testing.assert_array_equal(image, whole[name])
    assert any((images(0, 2, 0)[name] != whole[name]).any() for name in whole)


def test_bad_frames_stop_or_are_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"frame 3.*--skip-bad"):
        TransformedFrames(Numbers((3,)), noisy, 0)[0, 3]
    assert TransformedFrames(SkipBad(Numbers((3, 4)), 0.5), noisy, 0)[0, 3].name == "5"
    assert "frame 3" in capsys.readouterr().err
    with pytest.raises(UserError, match="more than --skip-bad allows"):
        TransformedFrames(SkipBad(Numbers(tuple(range(8))), 0.5), noisy, 0)[0, 3]


def test_weights_repeat_frames_and_a_repeat_looks_different() -> None:
    order = Order(4, 2, 0, weights=np.array([3.0, 1, 0, 0]))
    keys = [key for batch in order for key in batch]
    assert sorted(key[1] for key in keys) == [0, 0, 0, 1]
    assert len(set(keys)) == 4
    frames = TransformedFrames(Numbers(), noisy, 0)
    first, second = (frames[key].image for key in sorted(keys)[:2])
    assert (first != second).any()
