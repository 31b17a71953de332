"""Several datasets as one: wanted tasks, weights, rare things more often, a limit."""

import numpy as np
import pytest

from perception.errors import UserError
from training.data.labels import Labels, Mask
from training.data.sample import Sample
from training.sources import Joined


class Part:
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
    joined = Joined([Part(3, "scene"), Part(400, "scene", "drivable")], ["drivable", "scene"])
    assert joined.tasks == ("drivable", "scene")
    assert (joined[2].name, joined[3].name) == ("3/2", "400/0")
    assert joined.draws(rare=False) is None
    assert joined.counts() == {"drivable": 400, "scene": 403}
    assert set(Joined([Part(3, "scene", "drivable")], ["scene"])[0].labels) == {"scene"}


def test_weights_and_rarity_multiply():
    joined = Joined([Part(3, "scene"), Part(400, "drivable")], ["drivable", "scene"], 0, [1, 0.5])
    np.testing.assert_array_equal(joined.draws(rare=False), [1.0] * 3 + [0.5] * 400)
    draws = joined.draws(rare=True)
    # `scene` is labelled on 3 of 403 frames, "train" shows on 2: sqrt(0.1 / share).
    assert draws[0] == pytest.approx((0.1 / (3 / 403)) ** 0.5)
    assert draws[4] == pytest.approx(0.5 * (0.1 / (2 / 403)) ** 0.5)
    assert draws[5] == 0.5


def test_a_limit_cuts_everything_alike():
    joined = Joined([Part(3, "scene"), Part(400, "drivable")], ["scene"], 100)
    assert len(joined) == 100
    assert len(joined.presence()["scene"]) == 100
    assert len(joined.draws(rare=True)) == 100


def test_as_many_weights_as_folders():
    with pytest.raises(UserError, match="1 weights for 2 datasets"):
        Joined([Part(3, "scene"), Part(4, "scene")], ["scene"], 0, [1.0])
