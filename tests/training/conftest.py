"""The same few synthetic frames written in each of BDD100K's layouts."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from perception.classes import DETECTION, LANE_CATEGORIES, LANE_DIRECTIONS, LANE_STYLES
from training.data.outlines import TOOLKIT_LINE, TRAINING_LINE, paint

SIZE_HW = (180, 320)
# What the 2018 release calls them.
OLD_NAMES = {"pedestrian": "person", "bicycle": "bike", "motorcycle": "motor"}


def curved(types: str) -> np.ndarray:
    return np.array([letter == "C" for letter in types])


@dataclass
class Frame:
    """Boxes as (category, x1, y1, x2, y2), areas and lanes as outlines with Bezier letters."""

    stem: str
    attributes: dict[str, str]
    boxes: list[tuple[str, float, float, float, float]] = field(default_factory=list)
    areas: list[tuple[str, list[list[float]], str]] = field(default_factory=list)
    lanes: list[tuple[str, str, str, list[list[float]], str]] = field(default_factory=list)

    def image(self) -> np.ndarray:
        rng = np.random.default_rng(int(self.stem[:4], 16))
        small = rng.integers(0, 255, (9, 16, 3)).astype(np.uint8)
        return cv2.resize(small, SIZE_HW[::-1], interpolation=cv2.INTER_CUBIC)

    def drivable(self) -> np.ndarray:
        shapes = [
            (("direct", "alternative").index(name), np.array(vertices, float), curved(types))
            for name, vertices, types in self.areas
        ]
        return paint(shapes, SIZE_HW, 2)

    def lane(self, line: float) -> np.ndarray:
        """Lane bytes, drawn as lines of a width."""
        lines = []
        for category, style, direction, vertices, types in self.lanes:
            byte = (
                LANE_CATEGORIES.index(category)
                | LANE_STYLES.index(style) << 4
                | LANE_DIRECTIONS.index(direction) << 5
            )
            lines.append((byte, np.array(vertices, float), curved(types)))
        return paint(lines, SIZE_HW, 255, line)


def frames() -> list[Frame]:
    """An empty frame, a plain one and a crowded one."""
    day = {"weather": "clear", "scene": "highway", "timeofday": "daytime"}
    dusk = {"weather": "undefined", "scene": "city street", "timeofday": "dawn/dusk"}
    return [
        Frame("0a00aaaa-00000001", {"weather": "rainy", "scene": "tunnel", "timeofday": "night"}),
        Frame(
            "0b00bbbb-00000002",
            day,
            [("car", 10.5, 20.25, 60.0, 50.5)],
            [("direct", [[60, 170], [140, 60], [180, 60], [260, 170]], "LLLL")],
            [("single white", "solid", "parallel", [[60, 170], [140, 60]], "LL")],
        ),
        Frame(
            "0c00cccc-00000003",
            dusk,
            [
                ("pedestrian", 5.0, 80.0, 21.0, 130.5),
                ("bicycle", 100.25, 90.5, 130.75, 120.0),
                ("traffic light", 150.0, 5.0, 158.5, 22.0),
            ],
            [
                ("alternative", [[0, 120], [90, 70], [130, 70], [60, 170], [0, 170]], "LLLLL"),
                (
                    "direct",
                    [[60, 170], [100, 90], [120, 75], [140, 60], [180.4, 60.6], [260, 170]],
                    "LCCCLL",
                ),
            ],
            [
                ("crosswalk", "dashed", "vertical", [[20, 150], [200, 140]], "LL"),
                ("road curb", "solid", "parallel", [[300, 170], [280, 120], [250, 80], [200, 60]],
                 "CCCL"),
            ],
        ),
    ]  # fmt: skip


def _poly2d(vertices: list[list[float]], types: str, closed: bool) -> list[dict[str, Any]]:
    return [{"vertices": vertices, "types": types, "closed": closed}]


def _box2d(box: tuple[str, float, float, float, float]) -> dict[str, float]:
    return dict(zip(("x1", "y1", "x2", "y2"), box[1:], strict=True))


def scalabel(frame: Frame, kinds: str = "box area lane") -> dict[str, Any]:
    """The frame as the 2020 release and Scalabel exports have it."""
    labels: list[dict[str, Any]] = []
    if "box" in kinds:
        labels += [{"category": box[0], "box2d": _box2d(box)} for box in frame.boxes]
    if "area" in kinds:
        labels += [
            {"category": name, "poly2d": _poly2d(vertices, types, True)}
            for name, vertices, types in frame.areas
        ]
    if "lane" in kinds:
        labels += [
            {
                "category": category,
                "attributes": {"laneStyle": style, "laneDirection": direction},
                "poly2d": _poly2d(vertices, types, False),
            }
            for category, style, direction, vertices, types in frame.lanes
        ]
    for number, label in enumerate(labels):
        label["id"] = str(number)
    return {"name": f"{frame.stem}.jpg", "attributes": frame.attributes, "labels": labels}


def release_2018(frame: Frame) -> dict[str, Any]:
    """The frame as the consolidated 2018 file has it."""
    labels = [
        {"category": OLD_NAMES.get(box[0], box[0]), "box2d": _box2d(box)} for box in frame.boxes
    ]
    labels += [
        {
            "category": "drivable area",
            "attributes": {"areaType": name},
            "poly2d": _poly2d(vertices, types, True),
        }
        for name, vertices, types in frame.areas
    ]
    labels += [
        {
            "category": "lane",
            "attributes": {
                "laneType": category,
                "laneStyle": style,
                "laneDirection": direction,
            },
            "poly2d": _poly2d(vertices, types, False),
        }
        for category, style, direction, vertices, types in frame.lanes
    ]
    for number, label in enumerate(labels):
        label["id"] = number
    return {"name": f"{frame.stem}.jpg", "attributes": frame.attributes, "labels": labels}


def image_2018(frame: Frame) -> dict[str, Any]:
    """The frame as the 2018 release's file of one image has it."""

    def mixed(vertices: list[list[float]], types: str) -> list[list[Any]]:
        return [[*vertex, letter] for vertex, letter in zip(vertices, types, strict=True)]

    area_names = {"direct": "area/drivable", "alternative": "area/alternative"}
    objects: list[dict[str, Any]] = [
        {"category": OLD_NAMES.get(box[0], box[0]), "box2d": _box2d(box)} for box in frame.boxes
    ]
    objects += [
        {"category": area_names[name], "poly2d": mixed(vertices, types)}
        for name, vertices, types in frame.areas
    ]
    objects += [
        {
            "category": f"lane/{category}",
            "attributes": {"direction": direction, "style": style},
            "poly2d": mixed(vertices, types),
        }
        for category, style, direction, vertices, types in frame.lanes
    ]
    return {
        "name": frame.stem,
        "frames": [{"timestamp": 10000, "objects": objects}],
        "attributes": frame.attributes,
    }


def write_json(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def write_image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def write_layout(root: Path, layout: str, some: list[Frame], split: str = "train") -> Path:
    """Writes the frames under `root`; lanes are 8 px wide for train, else the toolkit's."""
    line = TRAINING_LINE if split == "train" else TOOLKIT_LINE
    images = "images/100k" if layout in {"official", "masks", "2018", "2018-images"} else "images"
    for frame in some:
        write_image(root / images / split / f"{frame.stem}.jpg", frame.image())
    if layout == "official":
        labels = root / "labels"
        write_json(labels / f"det_20/det_{split}.json", [scalabel(f, "box") for f in some])
        write_json(
            labels / f"drivable/polygons/drivable_{split}.json",
            [scalabel(f, "area") for f in some],
        )
        write_json(labels / f"lane/polygons/lane_{split}.json", [scalabel(f, "lane") for f in some])
    elif layout == "masks":
        write_json(root / f"labels/det_20/det_{split}.json", [scalabel(f, "box") for f in some])
        for frame in some:
            name = f"{split}/{frame.stem}.png"
            write_image(root / "labels/drivable/masks" / name, frame.drivable())
            write_image(root / "labels/lane/masks" / name, frame.lane(line))
    elif layout == "2018":
        path = root / f"labels/bdd100k_labels_images_{split}.json"
        write_json(path, [release_2018(frame) for frame in some])
        for frame in some:
            ids = np.array([1, 2, 0], np.uint8)[frame.drivable()]
            name = f"drivable_maps/labels/{split}/{frame.stem}_drivable_id.png"
            write_image(root / name, ids)
    elif layout == "2018-images":
        for frame in some:
            write_json(root / f"labels/100k/{split}/{frame.stem}.json", image_2018(frame))
    elif layout == "panoptic":
        for frame in some:
            write_json(root / f"det_annotations/{split}/{frame.stem}.json", image_2018(frame))
            area = np.array([255, 127, 0], np.uint8)[frame.drivable()]
            write_image(root / f"da_seg_annotations/{split}/{frame.stem}.png", area)
            lines = np.where(frame.lane(line) == 255, 0, 255).astype(np.uint8)
            write_image(root / f"ll_seg_annotations/{split}/{frame.stem}.png", lines)
    elif layout == "yolo":
        height, wide = SIZE_HW
        for frame in some:
            lines_ = [
                f"{DETECTION.index(name)} {(x1 + x2) / 2 / wide} {(y1 + y2) / 2 / height} "
                f"{(x2 - x1) / wide} {(y2 - y1) / height}\n"
                for name, x1, y1, x2, y2 in frame.boxes
            ]
            path = root / f"labels/{split}/{frame.stem}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(lines_))
    elif layout == "scalabel":
        write_json(root / f"labels/my_{split}.json", {"frames": [scalabel(f) for f in some]})
    else:
        raise ValueError(layout)
    return root


@pytest.fixture
def bdd_frames() -> list[Frame]:
    return frames()


@pytest.fixture
def bdd_write() -> Any:
    return write_layout


@pytest.fixture(autouse=True)
def own_index_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any) -> None:
    """No test reads or leaves an index in the user's cache folder."""
    monkeypatch.setenv("PVT_HYDRANET_CACHE", str(tmp_path_factory.mktemp("cache")))
