"""Every reader of files from strangers, behind one call, with good files to begin from.

READERS[reader][variant] = Variant(seeds(), read(folder, data)). `read` puts the bytes where the
reader looks for them and reads them as a command would; it may raise UserError and nothing else.
"""

import importlib.util
import io
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import cv2
import numpy as np

from perception.errors import UserError

ROOT: Final = Path(__file__).parents[1]
STEM: Final = "0b00bbbb-00000002"
SIZE_HW: Final = (32, 48)


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


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def picture(size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    small = np.random.default_rng(0).integers(0, 255, (4, 6, 3)).astype(np.uint8)
    return cv2.resize(small, size_hw[::-1], interpolation=cv2.INTER_CUBIC)


def encoded(suffix: str, pixels: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(suffix, pixels, list(options))[1].tobytes()


# --- labels ---------------------------------------------------------------------------------------


def labels(kind: str) -> list[dict[str, Any]]:
    """Boxes, an area with a curve and a lane, in the words of a release."""
    old = kind == "2018"
    area = {"category": "drivable area", "attributes": {"areaType": "direct"}}
    line = {"category": "lane", "attributes": {"laneType": "single white"}}
    if not old:
        area = {"category": "direct"}
        line = {"category": "single white", "attributes": {}}
    line["attributes"] |= {"laneStyle": "solid", "laneDirection": "parallel"}
    curve = [[2, 30], [4, 20], [10, 12], [20, 8], [40, 30.5]]
    return [
        {"id": "0", "category": "bike" if old else "bicycle", "attributes": {"occluded": True},
         "box2d": {"x1": 1.5, "y1": 2.25, "x2": 20, "y2": 30}},
        {"id": "1", "category": "car", "box2d": {"x1": 5, "y1": 5, "x2": 9, "y2": 9}},
        {"id": "2", **area, "poly2d": [{"vertices": curve, "types": "LCCCL", "closed": True}]},
        {"id": "3", **line, "poly2d": [{"vertices": [[3, 31], [30, 2]], "types": "LL"}]},
    ]  # fmt: skip


def frame(kind: str) -> dict[str, Any]:
    attributes = {"weather": "clear", "scene": "highway", "timeofday": "daytime"}
    return {"name": f"{STEM}.jpg", "attributes": attributes, "labels": labels(kind)}


def image_2018() -> dict[str, Any]:
    objects = [
        {"category": "car", "box2d": {"x1": 5, "y1": 5, "x2": 9, "y2": 9}},
        {"category": "area/drivable", "poly2d": [[2, 30, "L"], [9, 2, "L"], [40, 30, "L"]]},
        {"category": "lane/single white", "attributes": {"direction": "parallel", "style": "solid"},
         "poly2d": [[3, 31, "L"], [9, 20, "C"], [20, 10, "C"], [30, 2, "C"]]},
    ]  # fmt: skip
    attributes = {"weather": "clear", "scene": "highway", "timeofday": "daytime"}
    return {
        "name": STEM,
        "frames": [{"timestamp": 1, "objects": objects}],
        "attributes": attributes,
    }


def coco() -> dict[str, Any]:
    box = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 20, 20], "iscrowd": 0}
    return {
        "info": {"year": 2017},
        "images": [{"id": 7, "file_name": f"{STEM}.jpg", "height": 32, "width": 48}],
        "annotations": [box, box | {"id": 2, "iscrowd": 1, "segmentation": {"counts": [1, 2]}}],
        "categories": [{"id": 3, "name": "car"}],
    }


VOC: Final = b"""<annotation><object><name>car</name><difficult>0</difficult>
<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></object></annotation>
"""


def as_json(*values: Any) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


def read_bdd(place: str, folder: Path, data: bytes) -> None:
    """The file in a BDD100K folder of one frame: index, then the frame with all its labels."""
    from training.data.bdd100k import BDD100K

    root = folder / "bdd"
    put(root / f"images/100k/train/{STEM}.jpg", jpeg())
    path = put(root / place, data)
    if path.suffix == ".yaml":
        put(root / f"labels/train/{STEM}.txt", b"0 .5 .5 .2 .2\n")
    elif "provenance" in place:
        put(root / "labels/det_20/det_train.json", as_json([frame("2020")])[0])
    blocked = put(folder / "file", b"") / "cache"  # so that the index is built each time
    try:
        dataset = BDD100K(root, "train", strict=False, cache_folder=blocked)
        for index in range(len(dataset)):
            dataset.provenance(index)
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


@cache
def jpeg() -> bytes:
    return encoded(".jpg", picture())


def read_dataset(kind: str, split: str, places: tuple[str, ...], folder: Path, data: bytes) -> None:
    """The file as the first of `places`; the others hold the frame and what else is looked for."""
    from training.data import DATASETS

    root = folder / kind
    put(root / places[0], data)
    for place in places[1:]:
        suffix = Path(place).suffix
        good = {".txt": STEM.encode(), ".jpg": jpeg(), ".png": encoded(".png", picture())}
        put(root / place, good[suffix])
    dataset = DATASETS[kind](root, split)
    for index in range(len(dataset)):
        use(dataset[index])


# --- images and arrays ----------------------------------------------------------------------------


def pictures() -> list[bytes]:
    grey = picture()[..., 0]
    deep = picture().astype(np.uint16) * 200
    return [
        encoded(".jpg", picture()),
        encoded(".jpg", picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        encoded(".png", picture()),
        encoded(".png", deep),
        encoded(".png", grey // 100),
        encoded(".png", np.dstack([picture(), grey])),
        encoded(".bmp", picture()),
        encoded(".webp", picture()),
        encoded(".tif", picture()),
        encoded(".tif", deep),
    ]


def read_frame(folder: Path, data: bytes) -> None:
    """As a frame for training: whole, and decoded small."""
    from training.data.bdd.images import read_image

    path = put(folder / "frame.jpg", data)
    for wanted in (None, (8, 12)):
        image, size_hw = read_image(path, wanted)
        assert is_picture(image), image.shape
        assert min(size_hw) > 0, size_hw


def masks() -> list[bytes]:
    pattern = np.indices(SIZE_HW).sum(0).astype(np.uint8)
    values = [pattern % 3, np.where(pattern % 5, 255, 6), pattern % 2 * 127, pattern % 19]
    pixels = [value.astype(np.uint8) for value in values]
    return [encoded(".png", one) for one in pixels] + [encoded(".png", np.dstack([pixels[0]] * 3))]


def read_masks(folder: Path, data: bytes) -> None:
    """In every encoding; what one refuses another may take."""
    from training.data.bdd.masks import ENCODINGS, read_mask
    from training.data.folder import read_pixels

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
    from demo.video import open_source

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


def arrays() -> list[bytes]:
    found = []
    for array in (
        np.ones((8, 12, 3), np.float32) / 2,
        np.ones((3, 8, 12), np.float64),
        np.zeros((8, 12), np.int64),
        np.asfortranarray(np.zeros((8, 12, 1), np.float16)),
    ):
        stream = io.BytesIO()
        np.save(stream, array)
        found.append(stream.getvalue())
    return found


def read_array(place: str, folder: Path, data: bytes) -> None:
    from training.data.nyuv2 import NYUv2

    root = folder / "nyuv2"
    for name in ("image", "label", "depth", "normal"):
        put(root / f"train/{name}/0.npy", arrays()[2 if name == "label" else 0])
    put(root / f"train/{place}/0.npy", data)
    for index in range(len(dataset := NYUv2(root, "train"))):
        use(dataset[index])


# --- checkpoints and models -----------------------------------------------------------------------


def small_model(name: str, tasks: list[str]) -> Any:
    """In place of the network: the same refusals, a thousandth of the work."""
    import torch

    from perception.errors import unknown_name
    from perception.model import Heads
    from perception.tasks import TASKS
    from perception.zoo import ZOO

    if name not in ZOO:
        raise unknown_name("model", name, ZOO)
    for task in tasks:
        if task not in TASKS:
            raise unknown_name("task", task, TASKS)
    model = torch.nn.Module()
    model.body = torch.nn.Linear(3, 2)
    model.tasks = Heads({task: torch.nn.Linear(2, 1) for task in tasks})
    return model


@cache
def checkpoints() -> list[bytes]:
    from perception import checkpoint

    name, tasks = "pvt-hydranet-b0", ["det", "lane"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.safetensors")
        meta = checkpoint.Meta(name, tasks, (64, 96), {"lane": {"iou": 0.5}}, {"steps": 3}, "MIT")
        model = small_model(name, tasks)
        checkpoint.save(path, model.state_dict(), meta)
        first = path.read_bytes()
        checkpoint.save(path, model.half().state_dict(), meta)
        return [first, path.read_bytes()]


def read_checkpoint(folder: Path, data: bytes) -> None:
    from perception import checkpoint

    path = put(folder / "x.safetensors", data)
    with patch("perception.checkpoint.build", small_model):
        _, meta = checkpoint.load(path)
    assert all(isinstance(side, int) and 0 < side <= 8192 for side in meta.size_hw)
    assert all(isinstance(task, str) for task in meta.tasks)


@cache
def models() -> list[bytes]:
    place = ROOT / "tests" / "conftest.py"
    spec = importlib.util.spec_from_file_location("fuzz_conftest", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with tempfile.TemporaryDirectory() as folder:
        return [module.tiny_model(Path(folder, "tiny.onnx")).read_bytes()]


def descriptions() -> list[bytes]:
    from perception.runtime.runner import read_description

    with tempfile.TemporaryDirectory() as folder:
        shipped = ROOT / "perception" / "models" / "pvt-hydranet-b0.onnx"
        tiny = put(Path(folder, "tiny.onnx"), models()[0])
        return [read_description(path).to_json().encode() for path in (tiny, shipped)]


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


# --- video ----------------------------------------------------------------------------------------


def video(suffix: str, code: str, frames: int = 6) -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"v{suffix}")
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 25, SIZE_HW[::-1])
        for index in range(frames):
            writer.write(np.roll(picture(), index, 1))
        writer.release()
        return [path.read_bytes()]


def h264() -> list[bytes]:
    """An MP4 of PyAV where that is installed, else none."""
    if importlib.util.find_spec("av") is None:
        return []
    import av

    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as file:
        film = file.add_stream("libx264", rate=25)
        film.height, film.width, film.pix_fmt = *SIZE_HW, "yuv420p"
        film.options = {"bf": "0", "threads": "1"}
        for index in range(6):
            image = av.VideoFrame.from_ndarray(np.roll(picture(), index, 1), "bgr24")
            file.mux(film.encode(image))
        file.mux(film.encode(None))
    return [stream.getvalue()]


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
CAMERA: Final = {"extrinsic": {"baseline": 0.2}, "intrinsic": {"fx": 2000.0}}
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
        "provenance": Variant(
            lambda: as_json({STEM: {"how": "restored", "painted_out": 0.25}}),
            partial(read_bdd, "labels/provenance_train.json"),
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


def scratch() -> Path:
    """A folder in memory where there is one: inputs are written and read thousands of times."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="fuzz-", dir=base))
