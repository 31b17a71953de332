"""YOLO: a text file per image, `class cx cy w h` or `class x1 y1 x2 y2 ...` in fractions.

`data.yaml` names the classes and, optionally, the image folders of the splits. Labels lie where
`images` in an image's path is replaced by `labels`, or next to the image. An image without a text
file shows no object, as in Ultralytics' training code.
"""

import math
import os
from pathlib import Path
from typing import Any, Final

import numpy as np

from perception.errors import UserError
from perception.files import read_bounded
from training.data.bdd.table import box_class
from training.data.classes import check_names, read_yaml, yolo_names
from training.data.formats.annotated import Annotated
from training.data.formats.images import Images
from training.data.formats.table import OUTSIDE, Builder

CONFIGS: Final = ("data.yaml", "data.yml", "dataset.yaml")
NAME_LISTS: Final = ("classes.txt", "obj.names", "labels/classes.txt")
SPLITS: Final = ("train", "val", "valid", "validation", "test")
MAX_BYTES: Final = 1 << 20
MOST_LINES: Final = 10_000
TOLERANCE: Final = 0.01


class YOLO(Annotated):
    """Boxes, or outlines of which the extent becomes the box."""

    format = "YOLO"
    relative = True

    @classmethod
    def recognises(cls, root: Path) -> bool:
        config = config_file(root)
        if config is None:
            return False
        try:
            names = yolo_names(read_yaml(config), config)
        except UserError:
            return True  # opening it says what is wrong
        # Folders with BDD100K's own classes may hold its masks too: BDD100K reads them.
        return any(box_class(name) is None for name in names)

    @classmethod
    def sources(cls, root: Path) -> list[Path]:
        found = [path for name in (*CONFIGS, *NAME_LISTS) if (path := root / name).is_file()]
        for folder, folders, _ in os.walk(root):
            folders.sort()
            found.append(Path(folder))
        return found

    def read(self, builder: Builder, images: Images) -> None:
        names, data = self._names()
        for name in names:
            builder.name(name)
        splits = _split_folders(self.root, data)
        texts = _text_files(self.label_root)
        for image in images.paths:
            frame = builder.frame(image, _split_of(image, splits))
            builder.annotated(frame, boxes=True)
            text = texts.get(_label_of(image)) or texts.get(image.rpartition(".")[0])
            if text is None and self.label_root != self.root:
                inside = _without_images(image)
                places = (
                    Path(image).stem,
                    inside,
                    f"labels/{Path(image).stem}",
                    f"labels/{inside}",
                )
                text = next((texts[place] for place in places if place in texts), None)
            if text is not None:
                _read_text(builder, frame, self.label_root / text, names)

    def _names(self) -> tuple[tuple[str, ...], dict[str, Any]]:
        for root in dict.fromkeys((self.root, self.label_root)):
            config = config_file(root)
            if config is not None:
                data = read_yaml(config)
                return yolo_names(data, config), data
            for name in NAME_LISTS:
                if (path := root / name).is_file():
                    lines = read_bounded(path, MAX_BYTES).decode(errors="replace").splitlines()
                    return check_names([line for line in lines if line.strip()], str(path)), {}
        raise UserError(
            f"{self.root}: no {CONFIGS[0]}; write one with the class names, "
            "e.g. names: [cone, forklift]"
        )


def config_file(root: Path) -> Path | None:
    """The data file of a folder."""
    return next((path for name in CONFIGS if (path := root / name).is_file()), None)


def _text_files(root: Path) -> dict[str, str]:
    """{path without suffix: path} of the text files, relative to the root."""
    found: dict[str, str] = {}
    for folder, folders, files in os.walk(root):
        folders.sort()
        inside = os.path.relpath(folder, root)
        prefix = "" if inside == "." else f"{inside}/"
        for name in files:
            if name.endswith(".txt"):
                found[prefix + name[:-4]] = prefix + name
    return found


def _label_of(image: str) -> str:
    """images/train/a.jpg -> labels/train/a; the last folder called images counts."""
    parts = image.rpartition(".")[0].split("/")
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            return "/".join([*parts[:place], "labels", *parts[place + 1 :]])
    return "/".join(parts)


def _without_images(image: str) -> str:
    return image.rpartition(".")[0].removeprefix("images/")


def _split_folders(root: Path, data: dict[str, Any]) -> dict[str, list[str]]:
    """{split: folders or listed images} of a data file, as far as they lie in the folder."""
    found: dict[str, list[str]] = {}
    base = str(data.get("path", "") or "")
    for split in SPLITS:
        given = data.get(split) or []
        for entry in given if isinstance(given, list) else [given]:
            entry = str(entry).replace("\\", "/")
            for place in (f"{base}/{entry}", entry, entry.removeprefix("../")):
                place = os.path.normpath(os.path.join(root, place))
                inside = os.path.relpath(place, root)
                if inside.startswith("..") or not os.path.exists(place):
                    continue
                listed = [inside]
                if inside.endswith(".txt"):
                    lines = read_bounded(Path(place), 64 << 20).decode(errors="replace").split("\n")
                    listed = [line.strip().lstrip("./") for line in lines if line.strip()]
                found.setdefault(split, []).extend(listed)
                break
    return found


def _split_of(image: str, splits: dict[str, list[str]]) -> str:
    for split, places in splits.items():
        if any(image == place or image.startswith(f"{place}/") for place in places):
            return split
    return next((part for part in image.split("/")[:-1] if part in SPLITS), "")


def _read_text(builder: Builder, frame: int, path: Path, names: tuple[str, ...]) -> None:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES)
        if _read_plain(builder, frame, data, path, names):
            return
        lines = data.decode("utf-8").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        builder.problem(frame, f"{path}: cannot be read ({error!s:.100}); restore it")
        return
    if len(lines) > MOST_LINES:
        builder.problem(frame, f"{path}: {len(lines)} lines; at most {MOST_LINES} are read")
        return
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        where = f"{path} line {number}"
        try:
            kind, *values = map(float, words)
        except ValueError:
            builder.problem(frame, f"{where}: expected 'class cx cy w h'; fix it")
            continue
        if not kind.is_integer() or not 0 <= kind < len(names):
            builder.problem(
                frame,
                f"{where}: class {kind:g} is not among the {len(names)} names of the data file; "
                "add its name there or fix the line",
            )
            continue
        _add(builder, frame, names[int(kind)], values, where)


def _read_plain(
    builder: Builder, frame: int, data: bytes, path: Path, names: tuple[str, ...]
) -> bool:
    """Adds the boxes of a file that holds nothing but correct lines of five numbers, which is
    several times faster than line by line; else False."""
    lines = [line for line in data.split(b"\n") if line.strip()]
    if any(line.count(b" ") != 4 for line in lines) or len(lines) > MOST_LINES:
        return False
    try:
        values = np.array(b" ".join(lines).split(), np.float64).reshape(-1, 5)
    except ValueError:
        return False
    kinds, centre, half = values[:, 0], values[:, 1:3], values[:, 3:5] / 2
    xyxy = np.hstack([centre - half, centre + half])
    numbers = kinds.astype(np.int64)
    fine = (numbers == kinds).all() and (numbers >= 0).all() and (numbers < len(names)).all()
    if not fine or not (
        (half > 0).all() and (xyxy >= -TOLERANCE).all() and (xyxy <= 1 + TOLERANCE).all()
    ):
        return False
    for line, number in enumerate(numbers.tolist(), 1):
        if names[number] not in builder.first:
            builder.name(names[number], f"{path} line {line}")
    found = [builder.names[names[number]] for number in numbers.tolist()]
    builder.boxes(frame, found, np.clip(xyxy, 0, 1))
    return True


def _add(builder: Builder, frame: int, name: str, values: list[float], where: str) -> None:
    if len(values) in (4, 5):  # with a confidence where a model wrote the file
        cx, cy, width, height = values[:4]
        xyxy = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
    elif len(values) >= 6 and len(values) % 2 == 0:
        points = list(zip(values[0::2], values[1::2], strict=True))
        xyxy = (min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2]))
        builder.shape(frame, name, points, where, closed=True)
    else:
        builder.problem(frame, f"{where}: expected 'class cx cy w h'; fix it")
        return
    if not all(math.isfinite(value) for value in xyxy):
        builder.problem(frame, f"{where}: box is not finite; fix it")
    elif min(xyxy) < -TOLERANCE or max(xyxy) > 1 + TOLERANCE:
        builder.problem(frame, f"{where}: box {OUTSIDE} (fractions of 0..1 expected); fix it")
    else:
        builder.box(frame, name, [min(max(value, 0.0), 1.0) for value in xyxy], where)
