"""YOLO: a text file per image, `class cx cy w h` or `class x1 y1 x2 y2 ...` in fractions.

`data.yaml` names the classes and, optionally, the image folders of the splits. Labels lie where
`images` in an image's path is replaced by `labels`, or next to the image. An image without a text
file shows no object, as in Ultralytics' training code.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from perception.errors import UserError
from training.data.annotated import Annotated
from training.data.bdd_names import is_bdd100k
from training.data.builder import Builder
from training.data.classes import check_names, read_yaml, yolo_names
from training.data.files import SPLITS, files_below, read_text, split_folder, stem_of, text_of
from training.data.images import Images
from training.data.table import AREA

CONFIGS: Final = ("data.yaml", "data.yml", "dataset.yaml", "bdd100k.yaml")
NAME_FILES: Final = (*CONFIGS, "classes.txt", "obj.names")
MAX_BYTES: Final = 1 << 20
MAX_LIST: Final = 64 << 20
MOST_LINES: Final = 10_000


class YOLO(Annotated):
    """Boxes, or outlines of which the extent becomes the box."""

    format = "YOLO"
    relative = True

    @classmethod
    def recognises(cls, root: Path) -> bool:
        config = next(iter(name_files(root)), None)
        if config is None or not is_yaml(config):
            return False
        try:
            names = class_names(config)
        except UserError:
            return True  # opening it says what is wrong
        # Folders with BDD100K's own classes may hold its masks too: BDD100K reads them.
        return not is_bdd100k(names)

    def read(self, builder: Builder, images: Images) -> None:
        names, config, data = self._names()
        for name in names:
            builder.name(name)
        texts = {stem_of(path): path for path in files_below(self.label_root, ".txt")}
        spare = set(texts)
        for image, split in split_images(self.root, config, data, images, builder):
            frame = builder.frame(image, split)
            builder.annotated(frame, "boxes")
            place = next((place for place in self._places(image) if place in texts), None)
            if place is not None:
                spare.discard(place)
                read_lines(builder, frame, self.label_root / texts[place], names)
        for place in sorted(spare):
            if "labels" in place.split("/")[:-1] and not place.endswith("/classes"):
                path = self.label_root / texts[place]
                builder.leave_out("label without frame", f"{path}: no image of this name")

    def _places(self, image: str) -> Iterator[str]:
        """Where the labels of an image may be, without suffix."""
        stem = stem_of(image)
        yield label_of(stem)
        yield stem
        if self.label_root != self.root:
            inside = stem.removeprefix("images/")
            name = inside.rsplit("/", 1)[-1]
            yield from (name, inside, f"labels/{name}", f"labels/{inside}")

    def _names(self) -> tuple[tuple[str, ...], Path, dict[str, Any]]:
        for path in (*name_files(self.root), *name_files(self.label_root)):
            return class_names(path), path, read_yaml(path, texts=True) if is_yaml(path) else {}
        raise UserError(
            f"{self.root}: no {NAME_FILES[0]}; write one with the class names, "
            "e.g. names: [cone, forklift]"
        )


def class_names(path: Path) -> tuple[str, ...]:
    """The class names of a data file, or of a text file with one on each line."""
    if is_yaml(path):
        return yolo_names(read_yaml(path, texts=True), path)
    lines = read_text(path, MAX_BYTES).splitlines()
    return check_names([line for line in lines if line.strip()], str(path))


def is_yaml(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml")


def name_files(root: Path) -> list[Path]:
    """The files of a folder, or of its `labels`, that name the classes; the first counts."""
    paths = [place / name for name in NAME_FILES for place in (root, root / "labels")]
    return [path for path in paths if path.is_file()]


def label_of(image: str) -> str:
    """images/train/a -> labels/train/a; the last folder called images counts."""
    before, found, after = f"/{image}".rpartition("/images/")
    return f"{before}/labels/{after}".lstrip("/") if found else image


def split_images(
    root: Path, config: Path, data: dict[str, Any], images: Images, builder: Builder
) -> Iterator[tuple[str, str]]:
    """(image, split): as the data file's folders and lists say, else by the names of folders.

    An image of two splits is given twice, as a data file means it whose `val` is its `train`.
    """
    found: dict[str, set[str]] = {}
    for key, split in SPLITS.items():
        given = data.get(key) or []
        for entry in given if isinstance(given, list) else [given]:
            with builder.part(split):
                some = _entry_images(root, config, data, str(entry), images, builder)
                if not some:
                    text = f"{config}: {key}: {entry!s:.100} is not below {root}"
                    builder.leave_out("split without images", text)
                else:
                    found.setdefault(split, set()).update(some)
    for image in images.paths:
        splits = [split for split, some in found.items() if image in some]
        own = split_folder(image)
        # A list or folder of a split leaves out what else a folder of its name holds.
        yield from ((image, split) for split in splits or ["" if own in found else own])
    for image in images.again:
        if (split := split_folder(image)) not in found:
            yield image, split
    if (both := found.get("train", set()) & found.get("val", set())) and config.is_file():
        text = f"{config}: train and val are the same {len(both)} images: scores are on training"
        builder.leave_out("one folder for both splits", f"{text} frames")


def _entry_images(
    root: Path, config: Path, data: dict[str, Any], entry: str, images: Images, builder: Builder
) -> set[str]:
    """The images below `root` that a folder or list file of a data file stands for."""
    base, entry = str(data.get("path") or ""), entry.replace("\\", "/")
    for tried in (os.path.join(base, entry), entry, entry.removeprefix("../")):
        place = Path(os.path.normpath(os.path.join(root, tried)))
        if place.is_file():
            return _listed(place, [place.parent, root, root / base], images, builder)
        real = os.path.join(os.path.realpath(place), "")
        if found := {path for whole, path in images.real.items() if whole.startswith(real)}:
            return found
    return set()


def _listed(file: Path, folders: list[Path], images: Images, builder: Builder) -> set[str]:
    """The images of a list file; a line without one is noted."""
    found: set[str] = set()
    for number, line in enumerate(read_text(file, MAX_LIST).splitlines(), 1):
        image = images.listed(line.strip(), folders) if line.strip() else ""
        if image is None:
            text = f"{file} line {number}: no image {line.strip():.100} below {images.root}"
            builder.leave_out("list line without image", text)
        elif image:
            found.add(image)
    return found


def read_lines(
    builder: Builder, frame: int, path: Path, names: Sequence[str], shapes: bool = True
) -> None:
    """Adds the boxes of a text file and, with `shapes`, its outlines; problems are noted.

    `names` are those of the class numbers.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise OSError(f"more than {MAX_BYTES >> 20} MB")
        lines = text_of(data).splitlines()
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
        if kind.is_integer() and 0 <= kind < len(names):
            _add(builder, frame, names[int(kind)], values, where, shapes)
        else:
            text = f"class {kind:g} is not among the {len(names)} names of the data file"
            builder.problem(frame, f"{where}: {text}; add its name there or fix the line")


def _add(
    builder: Builder, frame: int, name: str, values: list[float], where: str, shapes: bool
) -> None:
    xs, ys = values[0::2], values[1::2]
    if len(values) in (4, 5):  # with a confidence where a model wrote the file
        cx, cy, width, height = values[:4]
        xyxy = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
    elif len(values) >= 6 and len(xs) == len(ys):
        xyxy = (min(xs), min(ys), max(xs), max(ys))
        if shapes:
            builder.shape(frame, name, list(zip(xs, ys, strict=True)), where, AREA)
    else:
        builder.problem(frame, f"{where}: expected 'class cx cy w h'; fix it")
        return
    builder.box(frame, name, xyxy, where)
