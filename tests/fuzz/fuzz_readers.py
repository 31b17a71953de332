"""Every reader of untrusted files, behind one call; good files are in fuzz_examples.py.

READERS[reader][variant] = Variant(seeds(), read(folder, data)). `read` puts the bytes where the
reader looks for them and reads them as a command would; it may raise UserError and nothing else.
"""

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
from fuzz_examples import (
    CAMERA,
    SIZE_HW,
    STEM,
    VOC,
    arrays,
    as_json,
    checkpoints,
    coco,
    descriptions,
    encoded,
    frame,
    h264,
    image_2018,
    jpeg,
    masks,
    models,
    picture,
    pictures,
    put,
    small_model,
    video,
)

from perception.errors import UserError


@dataclass(frozen=True)
class Variant:
    """One kind of file: good examples, and how it is read from a scratch folder."""

    seeds: Callable[[], list[bytes]]
    read: Callable[[Path, bytes], None]


def attempt(reader: str, variant: str, folder: Path, data: bytes) -> str:
    """ "" where the bytes were read, else the one line that refuses them."""
    try:
        READERS[reader][variant].read(folder, data)
    except UserError as error:
        said = str(error)
        assert len(said.splitlines()) == 1, f"not one line: {said!r}"
        assert len(said) < 2000, f"{len(said)} characters long: {said[:100]!r}"
        return said
    return ""


def read_bdd(place: str, folder: Path, data: bytes) -> None:
    """The file in a BDD100K folder of one frame: index, then the frame with all its labels."""
    from training.data.formats.bdd100k import BDD100K

    root = folder / "bdd"
    put(root / f"images/100k/train/{STEM}.jpg", jpeg())
    path = put(root / place, data)
    if path.suffix == ".yaml":
        put(root / f"labels/train/{STEM}.txt", b"0 .5 .5 .2 .2\n")
    # A place that cannot be written to, so that the table is built each time.
    os.environ["PVT_HYDRANET_CACHE"] = str(put(folder / "file", b"") / "cache")
    try:
        dataset = BDD100K(root, "train", strict=False)
        for index in range(len(dataset)):
            use(dataset[index])
    finally:
        path.unlink()
        (root / f"labels/train/{STEM}.txt").unlink(missing_ok=True)


def is_picture(image: np.ndarray) -> bool:
    return image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8


def use(sample: Any) -> None:
    """What training does next: a window of the frame with all its labels, as arrays."""
    assert is_picture(sample.image), sample.image.shape
    seen = sample.window((0.1, 0.0, 1.0, 1.1), (16, 24)).flip()
    for name, label in seen.labels.items():
        for key, array in label.collate([label.arrays()]).items():
            assert array.dtype != object, (name, key)
            if key in ("mask", "lane", "map"):
                assert array.shape == (1, 16, 24), (name, array.shape)
            if key == "boxes_xyxy":
                assert np.isfinite(array).all(), (name, array)


def read_dataset(kind: str, split: str, places: tuple[str, ...], folder: Path, data: bytes) -> None:
    """The file as the first of `places`; the others hold the frame and what else is looked for."""
    from training.data.sources import DATASETS

    root = folder / kind
    shutil.rmtree(root, ignore_errors=True)  # with what another variant has put there
    put(root / places[0], data)
    for place in places[1:]:
        suffix = Path(place).suffix
        good = {".txt": STEM.encode(), ".jpg": jpeg(), ".png": encoded(".png", picture())}
        put(root / place, good[suffix])
    dataset = DATASETS[kind](root, split)
    for index in range(len(dataset)):
        use(dataset[index])


def read_frame(folder: Path, data: bytes) -> None:
    """As a frame for training: whole, and decoded small."""
    from perception.images import read_image

    path = put(folder / "frame.jpg", data)
    for wanted in (None, (8, 12)):
        image, size_hw = read_image(path, wanted)
        assert is_picture(image), image.shape
        assert min(size_hw) > 0, size_hw


def read_masks(folder: Path, data: bytes) -> None:
    """In every encoding; what one refuses another may take."""
    from perception.images import read_pixels
    from training.data.masks import ENCODINGS, read_mask

    path, refusals = put(folder / "mask.png", data), []
    for encoding in ENCODINGS:
        try:
            mask = read_mask(path, encoding)
            assert (mask.ndim, mask.dtype) == (2, np.uint8), (encoding, mask.shape, mask.dtype)
        except UserError as error:
            refusals.append(error)
    read_pixels(path)
    if len(refusals) == len(ENCODINGS):
        raise refusals[0]


def read_source(name: str, folder: Path, data: bytes) -> None:
    """As the source of perceive."""
    from demo.sources import open_source

    source = open_source(str(put(folder / name, data)))
    last = -1.0
    for frame_ in source:
        assert is_picture(frame_.image), frame_.image.shape
        assert last < frame_.seconds < float("inf"), (last, frame_.seconds)
        last = frame_.seconds
        if frame_.index > 500:
            break
    if source.problems:
        raise UserError(source.problems[0])


def read_array(place: str, folder: Path, data: bytes) -> None:
    from training.data.nyuv2 import NYUv2

    root = folder / "nyuv2"
    for name in ("image", "label", "depth", "normal"):
        put(root / f"train/{name}/0.npy", arrays()[2 if name == "label" else 0])
    put(root / f"train/{place}/0.npy", data)
    for index in range(len(dataset := NYUv2(root, "train"))):
        use(dataset[index])


def read_checkpoint(folder: Path, data: bytes) -> None:
    from perception import checkpoint

    path = put(folder / "x.safetensors", data)
    with patch("perception.checkpoint.build", small_model):
        _, meta = checkpoint.load(path)
    assert all(isinstance(side, int) and 0 < side <= 8192 for side in meta.size_hw)
    assert all(isinstance(task, str) for task in meta.tasks)


def read_model(folder: Path, data: bytes) -> None:
    """Loaded on the CPU, and run on one frame."""
    from perception.runtime.runner import Runner

    runner = Runner(put(folder / "m.onnx", data), "cpu", 1)
    runner(np.zeros((*SIZE_HW, 3), np.uint8))


def read_text(folder: Path, data: bytes) -> None:
    from perception.runtime.description import Description

    text = data.decode("utf-8", "replace")
    again = Description.from_json(text, "m.onnx")
    Description.from_json(again.to_json(), "m.onnx")


BDD_PLACES: Final = {
    "det-20": ("labels/det_20/det_train.json", "2020"),
    "drivable": ("labels/drivable/polygons/drivable_train.json", "2020"),
    "lane": ("labels/lane/polygons/lane_train.json", "2020"),
    "consolidated": ("labels/bdd100k_labels_images_train.json", "2018"),
    "export": ("labels/train.json", "2020"),
}
ANNOTATIONS: Final = (
    f"Annotations/{STEM}.xml",
    "ImageSets/Main/train.txt",
    f"JPEGImages/{STEM}.jpg",
)
CITY: Final = "train/bonn/a"

READERS: Final[dict[str, dict[str, Variant]]] = {
    "labels": {
        name: Variant(
            lambda kind=kind: as_json([frame(kind)], {"frames": [frame(kind)], "config": {}}),
            partial(read_bdd, place),
        )
        for name, (place, kind) in BDD_PLACES.items()
    }
    | {
        "image-2018": Variant(
            lambda: as_json(image_2018()), partial(read_bdd, f"labels/100k/train/{STEM}.json")
        ),
        "yolo": Variant(
            lambda: [b"0 .5 .5 .25 .5\n2 0.25 0.25 0.1 0.1\n"],
            partial(read_bdd, f"labels/train/{STEM}.txt"),
        ),
        "yolo-names": Variant(
            lambda: [b"names: [car, bus]\n", b"names:\n  - car\n  - bus\n", b"names:\n  0: car\n"],
            partial(read_bdd, "data.yaml"),
        ),
        "coco": Variant(
            lambda: as_json(coco()),
            partial(read_dataset, "coco", "train",
                    ("annotations/instances_train2017.json", f"train2017/{STEM}.jpg")),
        ),
        "voc": Variant(lambda: [VOC], partial(read_dataset, "voc", "train", ANNOTATIONS)),
        "voc-list": Variant(
            lambda: [STEM.encode() + b"\n"],
            partial(read_dataset, "voc", "train", (ANNOTATIONS[1], ANNOTATIONS[2])),
        ),
        "camera": Variant(
            lambda: as_json(CAMERA),
            partial(read_dataset, "cityscapes", "train",
                    (f"camera/{CITY}_camera.json", f"leftImg8bit/{CITY}_leftImg8bit.png",
                     f"disparity/{CITY}_disparity.png")),
        ),
    },
    "images": {
        "frame": Variant(pictures, read_frame),
        "mask": Variant(masks, read_masks),
        "source-png": Variant(pictures, partial(read_source, "a.png")),
        "array-image": Variant(arrays, partial(read_array, "image")),
        "array-label": Variant(arrays, partial(read_array, "label")),
        "array-depth": Variant(arrays, partial(read_array, "depth")),
        "array-normal": Variant(arrays, partial(read_array, "normal")),
        "voc-mask": Variant(
            masks,
            partial(read_dataset, "voc", "train",
                    (f"SegmentationClass/{STEM}.png", "ImageSets/Segmentation/train.txt",
                     *ANNOTATIONS[1:])),
        ),
        "city-mask": Variant(
            masks,
            partial(read_dataset, "cityscapes", "train",
                    (f"gtFine/{CITY}_gtFine_labelIds.png", f"leftImg8bit/{CITY}_leftImg8bit.png")),
        ),
        "city-disparity": Variant(
            masks,
            partial(read_dataset, "cityscapes", "train",
                    (f"disparity/{CITY}_disparity.png", f"leftImg8bit/{CITY}_leftImg8bit.png")),
        ),
        "ade-mask": Variant(
            masks,
            partial(read_dataset, "ade20k", "train",
                    (f"annotations/training/{STEM}.png", f"images/training/{STEM}.jpg")),
        ),
    },
    "checkpoint": {"load": Variant(checkpoints, read_checkpoint)},
    "onnx": {
        "model": Variant(models, read_model),
        "description": Variant(descriptions, read_text),
    },
    "video": {
        "mp4v": Variant(partial(video, ".mp4", "mp4v"), partial(read_source, "v.mp4")),
        "h264": Variant(h264, partial(read_source, "v.mp4")),
        "mjpeg": Variant(partial(video, ".avi", "MJPG"), partial(read_source, "v.avi")),
        "matroska": Variant(partial(video, ".mkv", "mp4v"), partial(read_source, "v.mkv")),
    },
}  # fmt: skip


def memory() -> tuple[int, int]:
    """(bytes resident now, at most so far) of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return int(found["VmRSS"]) * 1024, int(found["VmHWM"]) * 1024


def damage(data: bytes, rng: random.Random) -> bytes:
    """A copy with a few bytes changed, an end cut off, a run of zeros, or a part repeated."""
    at, length = rng.randrange(len(data)), rng.randint(1, 64)
    kind = rng.choice(("bytes", "cut", "zeros", "repeat"))
    if kind == "cut":
        return data[:at]
    if kind == "zeros":
        return data[:at] + bytes(length) + data[at + length :]
    if kind == "repeat":
        return data[:at] + data[at : at + length] * 3 + data[at + length :]
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def main() -> None:
    """fuzz_readers.py READER COUNT: reads COUNT damaged files of each variant, the same each time.

    Prints "READ REFUSED MEGABYTES"; any exception but UserError ends it.
    """
    reader, count = sys.argv[1], int(sys.argv[2])
    read = refused = 0
    with tempfile.TemporaryDirectory() as folder:
        for variant, kind in READERS[reader].items():
            for seed in (seeds := kind.seeds()):  # first reads import libraries: not counted
                attempt(reader, variant, Path(folder), seed)
            before = memory()[0]
            for number in range(count if seeds else 0):
                rng = random.Random(f"{reader} {variant} {number}")
                print(f"{reader} {variant} {number}", file=sys.stderr)
                data = damage(seeds[number % len(seeds)], rng)
                if attempt(reader, variant, Path(folder), data):
                    refused += 1
                else:
                    read += 1
    print(read, refused, (memory()[1] - before) >> 20)


if __name__ == "__main__":
    main()
