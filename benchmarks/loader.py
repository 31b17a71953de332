"""Time to open and load BDD100K: python benchmarks/loader.py [--frames 70000] [--data DIR]

Writes a label set of BDD100K's size (70,000 + 10,000 frames, 1.5 million boxes, two masks per
frame; images and masks are links to a few files), opens it cold and from its cache, and then
measures frames/s of one worker from 1280x720 JPEGs to four labels at 384x640, part by part.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from perception.classes import ATTRIBUTES, DETECTION
from perception.errors import cli

SIZE_HW = (384, 640)
BOXES_A_FRAME = 18.75
KINDS = 8  # different images that all frames link to


def write_label_set(root: Path, split: str, frames: int, source: Path | None) -> None:
    """A folder in the official layout; pictures are hard links to `KINDS` files."""
    pictures = _pictures(root / "pictures", source)
    for kind, folder, suffix in (
        ("image", f"images/100k/{split}", ".jpg"),
        ("drivable", f"labels/drivable/masks/{split}", ".png"),
        ("lane", f"labels/lane/masks/{split}", ".png"),
    ):
        (root / folder).mkdir(parents=True)
        for number in range(frames):
            target = root / folder / f"{stem(number, split)}{suffix}"
            os.link(pictures[kind][number % KINDS], target)
    path = root / f"labels/det_20/det_{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        for number, frame in enumerate(_frames(split, frames)):
            file.write(("[" if number == 0 else ",\n") + json.dumps(frame))
        file.write("]")


def stem(number: int, split: str) -> str:
    """A name like BDD100K's."""
    return f"{number:08x}-{0x5CE3CF52 if split == 'train' else 0x7C670BE8:08x}"


def _frames(split: str, count: int) -> Iterator[dict[str, object]]:
    rng = random.Random(7)
    for number in range(count):
        labels = []
        for box in range(int(BOXES_A_FRAME + rng.random())):
            x, y = rng.uniform(0, 1180), rng.uniform(0, 640)
            labels.append(
                {
                    "id": f"{number}-{box}",
                    "attributes": {"occluded": True, "truncated": False, "trafficLightColor": "NA"},
                    "category": rng.choice(DETECTION),
                    "box2d": {"x1": x, "x2": x + rng.uniform(4, 90), "y1": y, "y2": y + 40.25},
                }
            )
        attributes = {name: rng.choice(values) for name, values in ATTRIBUTES.items()}
        name = f"{stem(number, split)}.jpg"
        yield {"name": name, "attributes": attributes, "timestamp": 10000, "labels": labels}


def _pictures(folder: Path, source: Path | None) -> dict[str, list[Path]]:
    """Real frames where `source` (a BDD100K folder) is given, else frames of similar texture."""
    if source is not None:
        split = source / "images/100k/val"
        stems = [path.stem for path in sorted(split.iterdir())[:KINDS]]
        return {
            "image": [_linkable(split / f"{name}.jpg", folder) for name in stems],
            "drivable": [
                _linkable(source / f"labels/drivable/masks/val/{name}.png", folder / "d")
                for name in stems
            ],
            "lane": [
                _linkable(source / f"labels/lane/marking/val/{name}.png", folder / "l", lane=True)
                for name in stems
            ],
        }
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, list[Path]] = {"image": [], "drivable": [], "lane": []}
    for kind in range(KINDS):
        rng = np.random.default_rng(kind)
        coarse = cv2.resize(rng.integers(0, 255, (45, 80, 3)).astype(np.uint8), (1280, 720))
        noisy = np.clip(coarse + rng.integers(0, 24, coarse.shape), 0, 255).astype(np.uint8)
        drivable = np.full((720, 1280), 2, np.uint8)
        cv2.fillPoly(drivable, [np.array([[300, 719], [600, 380], [680, 380], [1000, 719]])], 0)
        lane = np.full((720, 1280), 255, np.uint8)
        cv2.line(lane, (300, 719), (600, 380), 6, 8)
        for name, pixels, suffix in (
            ("image", noisy, ".jpg"),
            ("drivable", drivable, ".png"),
            ("lane", lane, ".png"),
        ):
            path = folder / f"{name}{kind}{suffix}"
            cv2.imwrite(str(path), pixels)
            paths[name].append(path)
    return paths


def _linkable(path: Path, folder: Path, lane: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / path.name
    if lane:  # binary foreground becomes a lane byte: single white, solid, parallel
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert mask is not None, path
        cv2.imwrite(str(copy), np.where(np.asarray(mask) > 0, 6, 255).astype(np.uint8))
    elif not copy.exists():
        copy.write_bytes(path.read_bytes())
    return copy


def measure_opening(root: Path, cache: Path) -> None:
    """Prints the seconds of the first and of the second opening, and the memory they took."""
    for when in ("first", "from cache"):
        (wall, cpu), memory = _in_child(lambda: _open_both(root, cache))
        print(f"open, {when}: {wall:.2f} s ({cpu:.2f} s of CPU), peak memory {memory:.0f} MB")


def _open_both(root: Path, cache: Path) -> tuple[float, float]:
    from training.data.bdd100k import BDD100K

    started, cpu_started = time.perf_counter(), time.process_time()
    parts = [BDD100K(root, split, cache_folder=cache) for split in ("train", "val")]
    seconds = time.perf_counter() - started, time.process_time() - cpu_started
    boxes = sum(len(part.index.box_class) for part in parts)
    masks = sum(int((part.index.source >= 0).sum()) for part in parts)
    print(f"  {sum(map(len, parts)):,} frames, {boxes:,} boxes, {masks:,} masks")
    return seconds


def measure_sharing(root: Path, cache: Path) -> None:
    """Prints what a worker that reads all of the index has for itself of it."""

    def touch() -> float:
        from training.data.bdd100k import BDD100K

        dataset = BDD100K(root, "train", cache_folder=cache)
        before = _own_mb()
        size = sum(column.nbytes for column in dataset.index.columns().values()) / 1e6
        for column in dataset.index.columns().values():
            hashlib.md5(column.data, usedforsecurity=False)
        print(f"index {size:.0f} MB; ", end="", flush=True)
        return _own_mb() - before

    own, _ = _in_child(touch)
    print(f"of it in a worker's own memory after reading all: {own:.1f} MB")


def _own_mb() -> float:
    """Memory that no other process can share: pages that belong to no file."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def _in_child(work: Callable[[], Any]) -> tuple[Any, float]:
    """(result, peak MB) of a function in a process of its own, so that peaks do not add up."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        result = work()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        os.write(write, json.dumps([result, peak]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    result, memory = json.loads(os.read(read, 1000))
    return result, memory


def measure_loading(root: Path, cache: Path, frames: int) -> None:
    """Prints frames/s of one worker: decode and labels, and with augmentation on top."""
    from perception.images import read_image
    from training.data.augment import Augment
    from training.data.bdd100k import BDD100K

    cv2.setNumThreads(1)
    dataset = BDD100K(root, "val", decode_size_hw=SIZE_HW, cache_folder=cache)
    augment = Augment(SIZE_HW)
    rng = np.random.default_rng(0)
    for index in range(20):
        augment(dataset[index], rng)
    for title, work in (
        ("decode and labels", lambda i: dataset[i % len(dataset)]),
        (
            "decode, labels and letterbox-size window",
            lambda i: dataset[i % len(dataset)].window(WHOLE, SIZE_HW),
        ),
        ("decode, labels and augment", lambda i: augment(dataset[i % len(dataset)], rng)),
    ):
        print(f"{title}: {_rate(work, frames):.0f} frames/s of one core")
    print("where the time goes, ms a frame of one core:")
    samples = [dataset[index % len(dataset)] for index in range(KINDS)]
    paths = [dataset.image_path(index) for index in range(KINDS)]
    parts: dict[str, Callable[[int], Any]] = {
        "JPEG at half size": lambda index: read_image(paths[index % KINDS], SIZE_HW),
        "JPEG at full size (not done)": lambda index: read_image(paths[index % KINDS]),
        "augment": lambda index: augment(samples[index % KINDS], rng),
    }
    for task in dataset.tasks:
        one = BDD100K(root, "val", (task,), SIZE_HW, cache_folder=cache)
        parts[f"{task} label"] = partial(_read_label, one, task)
    for title, work in parts.items():
        print(f"  {1e3 / _rate(work, frames):6.2f}  {title}")


def _read_label(dataset: Any, task: str, index: int) -> None:
    dataset._label(task, int(dataset.frames[index % len(dataset)]), (720, 1280))


def _rate(work: Callable[[int], Any], frames: int) -> float:
    """Calls a second of CPU."""
    started = time.process_time()
    for index in range(frames):
        work(index)
    return frames / (time.process_time() - started)


WHOLE = (0.0, 0.0, 1.0, 1.0)


def run() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=70_000, help="train frames; val has 1/7")
    parser.add_argument("--data", type=Path, help="a BDD100K folder to take real pictures from")
    parser.add_argument("--load", type=int, default=300, help="frames to load for the speed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder) / "data", Path(folder) / "cache"
        started = time.perf_counter()
        for split, count in (("train", args.frames), ("val", max(args.frames // 7, 1))):
            write_label_set(root, split, count, args.data)
        print(f"label set written in {time.perf_counter() - started:.0f} s")
        measure_opening(root, cache)
        measure_sharing(root, cache)
        measure_loading(root, cache, args.load)
    return 0


def main() -> None:
    raise SystemExit(cli(run))


if __name__ == "__main__":
    main()
