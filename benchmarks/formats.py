"""Time and memory to open own data of BDD100K's size, and the speed of loading it, per format:

    python benchmarks/formats.py [--frames 80000] [--formats yolo,coco] [--folder DIR]

Writes a synthetic label set per format (18.75 boxes and two outlines per frame where the format
has these; images are links to a few files), opens it in a process of its own without and with the
cache, and loads frames with one core. Removes the files again.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from perception.classes import DETECTION
from perception.errors import UserError, cli, unknown_name

WIDTH, HEIGHT = 1280, 720
BODIES: Final = 64  # different sets of labels, which frames repeat
LINKS: Final = 4  # image files; a file system allows 65,000 links to one
Box = tuple[int, float, float, float, float]
Body = tuple[list[Box], list[tuple[str, list[list[float]]]]]


def bodies() -> list[Body]:
    """Boxes as (class, x1, y1, x2, y2), and outlines as (class, points)."""
    rng = random.Random(7)
    made: list[Body] = []
    for _ in range(BODIES):
        boxes = []
        for _ in range(int(18.75 + rng.random())):
            x, y = rng.uniform(0, 1180), rng.uniform(0, 640)
            corners = (round(v, 2) for v in (x, y, x + rng.uniform(4, 90), y + 40.25))
            boxes.append((rng.randrange(len(DETECTION)), *corners))
        shapes = [
            (name, [[round(rng.uniform(0, side), 1) for side in (WIDTH, HEIGHT)] for _ in range(8)])
            for name in ("direct", "single white")
        ]
        made.append((boxes, shapes))
    return made


def stems(count: int) -> Iterator[str]:
    return (f"{number:08x}-5ce3cf52" for number in range(count))


def write(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def yolo(root: Path, count: int) -> None:
    texts = []
    for boxes, _ in bodies():
        rows = []
        for kind, x1, y1, x2, y2 in boxes:
            numbers = ((x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT)
            sizes = ((x2 - x1) / WIDTH, (y2 - y1) / HEIGHT)
            rows.append(f"{kind} " + " ".join(f"{value:.6f}" for value in (*numbers, *sizes)))
        texts.append("\n".join(rows) + "\n")
    folder = root / "labels/train"
    folder.mkdir(parents=True)
    for number, stem in enumerate(stems(count)):
        write(folder / f"{stem}.txt", texts[number % BODIES])
    names = json.dumps(list(DETECTION))
    write(root / "data.yaml", f"train: images/train\nval: images/train\nnames: {names}\n")


def coco(root: Path, count: int) -> None:
    made = bodies()
    (root / "annotations").mkdir()
    with open(root / "annotations/train.json", "w", encoding="utf-8") as file:
        images = [
            {"id": n, "file_name": f"{stem}.jpg", "width": WIDTH, "height": HEIGHT}
            for n, stem in enumerate(stems(count))
        ]
        names = [{"id": n, "name": name} for n, name in enumerate(DETECTION)]
        names.append({"id": len(names), "name": "direct"})
        head = {"images": images, "categories": names}
        file.write(json.dumps(head)[:-1] + ', "annotations": [')
        for n in range(count):
            boxes, shapes = made[n % BODIES]
            items: list[dict[str, Any]] = [
                {"category_id": k, "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]}
                for k, x1, y1, x2, y2 in boxes
            ]
            area = [value for point in shapes[0][1] for value in point]
            items.append({"category_id": len(DETECTION), "segmentation": [area]})
            texts = [
                json.dumps({"id": 32 * n + m, "image_id": n, "iscrowd": 0, "area": 9.5} | item)
                for m, item in enumerate(items)
            ]
            file.write((", " if n else "") + ", ".join(texts))
        file.write("]}")


def voc(root: Path, count: int) -> None:
    texts = []
    for boxes, _ in bodies():
        parts = []
        for kind, *corners in boxes:
            sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
            inside = "".join(f"<{side}>{value + 1:.0f}</{side}>" for side, value in sides)
            flags = "<pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>"
            parts.append(
                f"<object><name>{DETECTION[kind]}</name>{flags}<bndbox>{inside}</bndbox></object>\n"
            )
        texts.append("".join(parts))
    (root / "Annotations").mkdir()
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    for number, stem in enumerate(stems(count)):
        head = f"<annotation><folder>images</folder><filename>{stem}.jpg</filename>{size}\n"
        write(root / f"Annotations/{stem}.xml", head + texts[number % BODIES] + "</annotation>\n")


def cvat(root: Path, count: int) -> None:
    texts = []
    for boxes, shapes in bodies():
        parts = []
        for kind, *corners in boxes:
            sides = zip(("xtl", "ytl", "xbr", "ybr"), corners, strict=True)
            inside = " ".join(f'{side}="{value:.2f}"' for side, value in sides)
            head = f'label="{DETECTION[kind]}" source="manual" occluded="0"'
            parts.append(f'    <box {head} {inside} z_order="0">\n    </box>\n')
        for (name, points), tag in zip(shapes, ("polygon", "polyline"), strict=True):
            text = ";".join(f"{x:.2f},{y:.2f}" for x, y in points)
            head = f'label="{name}" source="manual" occluded="0"'
            parts.append(f'    <{tag} {head} points="{text}" z_order="0">\n    </{tag}>\n')
        texts.append("".join(parts))
    with open(root / "annotations.xml", "w", encoding="utf-8") as file:
        file.write('<?xml version="1.0"?>\n<annotations>\n  <version>1.1</version>\n')
        for number, stem in enumerate(stems(count)):
            size = f'width="{WIDTH}" height="{HEIGHT}"'
            file.write(f'  <image id="{number}" name="{stem}.jpg" {size}>\n')
            file.write(texts[number % BODIES] + "  </image>\n")
        file.write("</annotations>\n")


def labelme(root: Path, count: int) -> None:
    texts = []
    for boxes, outlines in bodies():
        shapes: list[dict[str, Any]] = [
            {"label": DETECTION[kind], "points": [[x1, y1], [x2, y2]], "shape_type": "rectangle"}
            for kind, x1, y1, x2, y2 in boxes
        ]
        kinds = zip(outlines, ("polygon", "linestrip"), strict=True)
        shapes += [{"label": n, "points": p, "shape_type": kind} for (n, p), kind in kinds]
        filled = [shape | {"group_id": None, "flags": {}} for shape in shapes]
        texts.append(json.dumps(filled, indent=1))
    size = f'"imageHeight": {HEIGHT}, "imageWidth": {WIDTH}, "imageData": null'
    for number, stem in enumerate(stems(count)):
        head = f'{{"version": "5.2.1", "flags": {{}}, "imagePath": "{stem}.jpg", {size},\n'
        path = root / "images/train" / f"{stem}.json"
        write(path, head + f'"shapes": {texts[number % BODIES]}}}\n')


def scalabel(root: Path, count: int) -> None:
    texts = []
    for boxes, shapes in bodies():
        labels: list[dict[str, Any]] = []
        for n, (kind, *corners) in enumerate(boxes):
            box = dict(zip(("x1", "y1", "x2", "y2"), corners, strict=True))
            flags = {"occluded": False, "truncated": False, "trafficLightColor": "NA"}
            label = {"id": str(n), "category": DETECTION[kind], "attributes": flags}
            labels.append(label | {"box2d": box})
        for n, (name, points) in enumerate(shapes, len(boxes)):
            line = {"vertices": points, "types": "L" * len(points), "closed": n == len(boxes)}
            labels.append({"id": str(n), "category": name, "poly2d": [line]})
        texts.append(json.dumps(labels))
    (root / "labels").mkdir()
    attributes = '{"weather": "rainy", "scene": "city street", "timeofday": "night"}'
    with open(root / "labels/train.json", "w", encoding="utf-8") as file:
        for number, stem in enumerate(stems(count)):
            head = f'{{"name": "{stem}.jpg", "attributes": {attributes}, "timestamp": 10000, '
            file.write(("[" if number == 0 else ",\n") + head)
            file.write(f'"labels": {texts[number % BODIES]}}}')
        file.write("]")


WRITERS: Final[dict[str, Callable[[Path, int], None]]] = {
    "yolo": yolo,
    "coco": coco,
    "voc": voc,
    "cvat": cvat,
    "labelme": labelme,
    "scalabel": scalabel,
}


def write_images(root: Path, count: int) -> None:
    """images/train/: links to a few frames with about the texture of a photograph."""
    folder = root / "images/train"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    sources = []
    for number in range(LINKS):
        coarse = cv2.resize(rng.integers(0, 255, (45, 80, 3)).astype(np.uint8), (WIDTH, HEIGHT))
        noisy = np.clip(coarse + rng.integers(0, 24, coarse.shape), 0, 255).astype(np.uint8)
        sources.append(root / f"source{number}.bin")
        sources[-1].write_bytes(cv2.imencode(".jpg", noisy)[1].tobytes())
    for number, stem in enumerate(stems(count)):
        os.link(sources[number % LINKS], folder / f"{stem}.jpg")


def opened(word: str) -> tuple[Any, float, float, float]:
    """(dataset, seconds of CPU, MB that opening it took at most, MB of the process then)."""
    from training.data.sources import open_dataset

    Path("/proc/self/clear_refs").write_text("5")  # resets the peak, VmHWM
    before, start = _memory_mb("VmRSS"), time.process_time()
    dataset = open_dataset(word, "train", size_hw=(384, 640))
    peak = _memory_mb("VmHWM")
    return dataset, time.process_time() - start, peak - before, peak


def _memory_mb(name: str) -> float:
    text = Path("/proc/self/status").read_text()
    return next(int(row.split()[1]) / 1024 for row in text.splitlines() if row.startswith(name))


def report(word: str, load: int) -> None:
    """Prints the numbers of one opening. Called in a process of its own."""
    cv2.setNumThreads(1)
    dataset, seconds, grown, peak = opened(word)
    boxes = len(dataset.table.box_class)
    print(f"  {len(dataset):,} training frames, {boxes:,} boxes: {seconds:.2f} s of CPU, "
          f"{grown:.0f} MB ({peak:.0f} MB with the imports)")  # fmt: skip
    if load:
        start = time.process_time()
        for index in range(load):
            dataset[index % len(dataset)]
        print(f"  loading: {load / (time.process_time() - start):.0f} frames/s of one core")


def run(args: argparse.Namespace) -> int:
    """Every format, one after the other."""
    for name in args.formats.split(","):
        if name not in WRITERS:
            raise unknown_name("format", name, WRITERS)
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            root = Path(folder) / "data"
            write_images(root, args.frames)
            WRITERS[name](root, args.frames)
            os.environ["PVT_HYDRANET_CACHE"] = str(Path(folder) / "cache")
            for title, load in (("first", 0), ("from cache", args.load)):
                print(f"{name}, {title}:", flush=True)
                words = [sys.executable, __file__, "--open", f"{name}:{root}", "--load", str(load)]
                if os.spawnv(os.P_WAIT, sys.executable, words):
                    raise UserError(f"{name}: opening failed")
            shutil.rmtree(root)
    return 0


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=80_000)
    parser.add_argument("--formats", default=",".join(WRITERS))
    parser.add_argument("--folder", type=Path, help="for the files (about 1 GB; default: /tmp)")
    parser.add_argument("--load", type=int, default=100, help="frames to load for the speed")
    parser.add_argument("--open", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.open:
        report(args.open, args.load)
    else:
        raise SystemExit(cli(lambda: run(args)))


if __name__ == "__main__":
    main()
