"""Valid files of every kind that readers of untrusted files accept: seeds of the fuzzing."""

import importlib.util
import io
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

ROOT: Final = Path(__file__).parents[2]
STEM: Final = "0b00bbbb-00000002"
SIZE_HW: Final = (32, 48)


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


@cache
def jpeg() -> bytes:
    return encoded(".jpg", picture())


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


def masks() -> list[bytes]:
    pattern = np.indices(SIZE_HW).sum(0).astype(np.uint8)
    values = [pattern % 3, np.where(pattern % 5, 255, 6), pattern % 2 * 127, pattern % 19]
    pixels = [value.astype(np.uint8) for value in values]
    return [encoded(".png", one) for one in pixels] + [encoded(".png", np.dstack([pixels[0]] * 3))]


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


# --- checkpoints and models -----------------------------------------------------------------------


def small_model(name: str, tasks: list[str], views: Any = None) -> Any:
    """In place of the network: the same refusals, a thousandth of the work."""
    import torch

    from perception.errors import unknown_name
    from perception.model import ZOO, Heads
    from perception.tasks import TASKS

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
    from perception.runtime.providers import read_description

    with tempfile.TemporaryDirectory() as folder:
        shipped = ROOT / "perception" / "models" / "hydranet-lite0-384x640.onnx"
        tiny = put(Path(folder, "tiny.onnx"), models()[0])
        return [read_description(path).to_json().encode() for path in (tiny, shipped)]


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

    written = io.BytesIO()
    with av.open(written, "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *SIZE_HW, "yuv420p"
        stream.options = {"bf": "0", "threads": "1"}
        for index in range(6):
            image = av.VideoFrame.from_ndarray(np.roll(picture(), index, 1), "bgr24")
            file.mux(stream.encode(image))
        file.mux(stream.encode(None))
    return [written.getvalue()]


CAMERA: Final = {"extrinsic": {"baseline": 0.2}, "intrinsic": {"fx": 2000.0}}
