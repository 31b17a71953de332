"""The cache gives the dataset's samples and writes a damaged file again."""

import numpy as np

from training.data.cached import Cached
from training.data.dataset import Dataset
from training.data.labels import Boxes, LaneMask
from training.data.sample import Sample


class Counting(Dataset):
    """One frame with one box and a lane; counts how often it is read."""

    tasks = ("det", "lane")

    def __init__(self, key=""):
        self.reads, self.key = 0, key

    def fingerprint(self):
        return self.key

    def __len__(self):
        return 1

    def __getitem__(self, index):
        self.reads += 1
        lane = np.full((40, 80), 255, np.uint8)
        lane[:, 7] = 6
        boxes = Boxes(np.array([[4, 4, 24, 20]]), np.array([2]), (40, 80))
        return Sample(
            np.full((40, 80, 3), 9, np.uint8), {"det": boxes, "lane": LaneMask(lane)}, "x"
        )


def test_read_once_then_from_disk_and_again_when_damaged(tmp_path):
    source = Counting()
    cached = Cached(source, tmp_path, (20, 60))
    first, second = cached[0], cached[0]
    assert source.reads == 1
    assert second.image.shape == (20, 40, 3)
    np.testing.assert_array_equal(second.labels["det"].xyxy, [[2, 2, 12, 10]])
    np.testing.assert_array_equal(second.labels["lane"].lane, first.labels["lane"].lane)
    assert second.labels["det"].size_hw == (20, 40)
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    assert cached[0].image.shape == (20, 40, 3)
    assert source.reads == 2


def test_never_enlarged(tmp_path):
    assert Cached(Counting(), tmp_path, (400, 800))[0].image.shape == (40, 80, 3)


def test_other_content_or_size_is_another_folder(tmp_path):
    one, two = Counting("one"), Counting("two")
    for source, size_hw in ((one, (20, 40)), (two, (20, 40)), (two, (40, 80)), (two, (20, 40))):
        Cached(source, tmp_path, size_hw)[0]
    assert (one.reads, two.reads) == (1, 2)


def test_validation_through_the_cache_sees_the_same_pixels(tmp_path):
    class Noise(Counting):
        def __getitem__(self, index):
            image = np.random.default_rng(0).integers(0, 256, (75, 133, 3)).astype(np.uint8)
            return Sample(image, {}, "noise")

    cached = Cached(Noise(), tmp_path, (32, 64))
    for _ in range(2):
        seen = cached[0].letterbox((32, 64)).image
        np.testing.assert_array_equal(seen, Noise()[0].letterbox((32, 64)).image)
