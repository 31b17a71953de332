"""Frames and outputs between ranks."""

import numpy as np
import pytest

from training.data.sources import open_dataset
from training.distributed import ALONE, World
from training.evaluation import scores as scores_module
from training.evaluation.predictor import LabelledFrame, TorchPredictor, gather
from training.evaluation.scores import evaluate

NATIVE = (180, 320)


def test_images_stay_on_their_rank():
    frame = LabelledFrame(
        1, "b", NATIVE, np.zeros((*NATIVE, 3), np.uint8), {}, {"weather": "rainy"}
    )
    outputs = {"det": np.full((3, 6), 0.5, np.float32)}
    ((found, same),) = gather(ALONE, [(frame, outputs)])
    assert (found.name, found.attributes, found.image) == ("b", frame.attributes, None)
    assert same is outputs


def test_frames_of_all_ranks_come_in_the_order_of_the_dataset():
    def of(index):
        return LabelledFrame(index, str(index), NATIVE, None, {}, {}), {}

    class Two(World):
        def gather(self, own):
            return [own, [of(1), of(3)]]

    found = gather(Two(0, 2, ALONE.device), [of(0), of(2)])
    assert [frame.index for frame, _ in found] == [0, 1, 2, 3]


@pytest.mark.parametrize("ranks", [2, 3])
def test_scores_do_not_depend_on_the_number_of_ranks(ranks, folder, oracle, score, monkeypatch):
    """Each rank in turn, as the messages between them would have it."""

    class Known(TorchPredictor):
        """The outputs of the oracle."""

        name, size_hw, views = oracle.name, oracle.size_hw, oracle.views

        def __init__(self):
            self.oracle = oracle(spoil=True)

        def outputs(self, frames):
            return [self.oracle.arrays(int(frame[90, 160, 0]) - 40) for frame in frames]

    (folder / "images/100k/val/f1.jpg").write_bytes(b"no picture")
    expected = score(folder, Known(), skip_bad=True)
    assert expected["frames"] == 4
    dataset = open_dataset(str(folder), "val", tuple(Known.views), (192, 320), exact=True,
                           strict=False)  # fmt: skip
    rounds = []  # of each rank: what it gathers in each round

    class One(World):
        def total(self, numbers, tensors=()):
            return [1.0] if self.rank == 0 and len(rounds) < 4 else list(numbers)

        def gather_names(self, own):
            return list(own)

    def kept(world, found):
        rounds.append(found)
        return []

    gathered = {}
    for rank in range(1, ranks):
        rounds.clear()
        monkeypatch.setattr(scores_module, "gather", kept)
        evaluate(Known(), dataset, batch=1, skip_bad=True, world=One(rank, ranks, ALONE.device))
        gathered[rank] = list(rounds)

    def joined(world, found):
        place = len(rounds)
        rounds.append(found)
        others = [parts[place] for parts in gathered.values() if place < len(parts)]
        every = [item for part in (found, *others) for item in part]
        return sorted(every, key=lambda item: item[0].index)

    rounds.clear()
    monkeypatch.setattr(scores_module, "gather", joined)
    result = evaluate(Known(), dataset, batch=1, skip_bad=True, world=One(0, ranks, ALONE.device))
    assert result["frames"] == 4
    for protocol, tasks in expected["scores"].items():
        for task, values in tasks.items():
            assert result["scores"][protocol][task] == pytest.approx(values, nan_ok=True), task
