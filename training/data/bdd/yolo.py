"""YOLO text boxes: one file per frame, lines `class cx cy w h` in fractions of the frame."""

import math
from pathlib import Path
from typing import Final

from perception.classes import DETECTION
from perception.errors import UserError
from perception.files import read_bounded
from training.data.bdd.table import IGNORE_FLAG, LabelColumns, box_class
from training.data.classes import read_yaml, yolo_names

NAME_FILES: Final = ("data.yaml", "dataset.yaml", "bdd100k.yaml", "classes.txt", "obj.names")
MAX_BYTES: Final = 1 << 20
MOST_LINES: Final = 10_000


def class_table(root: Path) -> list[tuple[int, bool]]:
    """(class index, ignore) of each number; the official order where there is no file of names.

    Raises UserError for a name that BDD100K does not have.
    """
    path = name_file(root)
    return _of_names(path) if path else [(index, False) for index in range(len(DETECTION))]


def name_file(root: Path) -> Path | None:
    """The file in the folder that names the classes, if any."""
    for name in NAME_FILES:
        for path in (root / name, root / "labels" / name):
            if path.is_file():
                return path
    return None


def _of_names(path: Path) -> list[tuple[int, bool]]:
    if path.suffix == ".yaml":
        names = yolo_names(read_yaml(path), path)
    else:
        text = read_bounded(path, MAX_BYTES).decode("utf-8", errors="replace")
        names = tuple(filter(None, map(str.strip, text.split("\n"))))
    table: list[tuple[int, bool]] = []
    for name in names:
        found = box_class(name)
        if found is None:
            raise UserError(f"{path}: unknown class {name!r:.60}; known: {', '.join(DETECTION)}")
        table.append(found)
    return table


def add_boxes(table: LabelColumns, path: Path, classes: list[tuple[int, bool]]) -> list[str]:
    """Adds a file's boxes in fractions of the frame; returns what is wrong with the others."""
    wrong: list[str] = []
    try:
        lines = read_bounded(path, MAX_BYTES).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        return [f"cannot be read ({error})"]
    except UserError as error:
        return [str(error).removeprefix(f"{path}: ")]
    if len(lines) > MOST_LINES:
        return [f"{len(lines)} lines, at most {MOST_LINES} are read"]
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found = _box(line, len(classes))
        if isinstance(found, str):
            wrong.append(f"line {number}: {found}")
            continue
        kind, xyxy = found
        index, ignore = classes[kind]
        table.box_xyxy.extend(xyxy)
        table.box_class.append(index)
        table.box_flags.append(IGNORE_FLAG if ignore else 0)
    return wrong


def _box(line: str, classes: int) -> tuple[int, tuple[float, ...]] | str:
    try:
        kind, cx, cy, width, height = (float(part) for part in line.split()[:5])
    except ValueError:
        return "expected 'class cx cy w h'"
    if not kind.is_integer() or not 0 <= kind < classes:
        return f"unknown class {kind:g}; there are {classes}"
    xyxy = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
    if not all(math.isfinite(value) for value in xyxy) or width <= 0 or height <= 0:
        return "box is empty or not finite"
    if min(xyxy) < -0.01 or max(xyxy) > 1.01:
        return "box is outside the frame (fractions of 0..1 expected)"
    return int(kind), xyxy
