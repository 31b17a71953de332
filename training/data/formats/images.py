"""What a folder holds next to its annotation files: images by name, and tables of attributes."""

import bisect
import csv
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from perception.errors import UserError
from perception.images import IMAGE_SUFFIXES
from training.data.formats.table import Builder

DEEPEST: Final = 5  # folder levels that are searched for images
ATTRIBUTE_FILES: Final = ("attributes.csv", "labels/attributes.csv")


class Images:
    """The images under a folder, by path and by name."""

    def __init__(self, root: Path) -> None:
        self.root = root if root.is_dir() else root.parent
        self.paths: list[str] = []
        self._by_name: dict[str, list[str]] = defaultdict(list)
        base = len(self.root.parts)
        for folder, folders, files in os.walk(self.root):
            if len(Path(folder).parts) - base >= DEEPEST:
                folders.clear()
            folders.sort()
            inside = os.path.relpath(folder, self.root)
            prefix = "" if inside == "." else f"{inside}/"
            for name in sorted(files):
                stem, dot, suffix = name.rpartition(".")
                if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES and not name.startswith("."):
                    self.paths.append(prefix + name)
                    self._by_name[name].append(prefix + name)
                    self._by_name[stem].append(prefix + name)
        self.paths.sort()

    def any_below(self, folder: str) -> bool:
        """Whether an image lies below a folder, written with a trailing slash."""
        at = bisect.bisect_left(self.paths, folder)
        return at < len(self.paths) and self.paths[at].startswith(folder)

    def find(self, name: str, where: str, near: str = "") -> str | None:
        """The path, relative to the root, of an image that a label file names; None: there is none.

        Raises UserError where several are equally near.
        """
        name = name.replace("\\", "/").lstrip("./")
        if ".." in name.split("/"):
            raise UserError(f"{where}: image {name!r:.100} leaves its folder; fix it")
        found = self._by_name.get(name.rsplit("/", 1)[-1], [])
        exact = [path for path in found if path == name or path.endswith(f"/{name}")]
        found = exact or found
        close = [path for path in found if near and path.startswith(near)]
        found = close or found
        if len(found) > 1:
            raise UserError(
                f"{where}: {name} is both {found[0]} and {found[1]}: two frames of one name in two "
                "folders; rename one"
            )
        return found[0] if found else None


def files_below(root: Path, suffix: str) -> Iterator[tuple[Path, str]]:
    """(path, its folder relative to `root`, "" for `root`) of all files with a suffix, in order."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        inside = os.path.relpath(folder, root)
        for name in sorted(files):
            if name.endswith(suffix):
                yield Path(folder, name), "" if inside == "." else inside.replace(os.sep, "/")


def check_duplicates(builder: Builder) -> None:
    """Raises UserError for two frames of a split that have the same name."""
    seen: dict[tuple[int, str], str] = {}
    for image, split in zip(builder.images, builder._split, strict=True):
        other = seen.setdefault((split, Path(image).stem), image)
        if other != image:
            raise UserError(
                f"{builder.root}: {other} and {image} are two frames of one name in two folders; "
                "rename one"
            )


def attribute_files(root: Path) -> list[Path]:
    """The tables of frame attributes that a folder holds."""
    folder = root if root.is_dir() else root.parent
    return [path for name in ATTRIBUTE_FILES if (path := folder / name).is_file()]


def read_attributes(path: Path, builder: Builder) -> None:
    """Adds `name,group,...` rows. Raises UserError for a frame that does not exist."""
    stems: dict[str, list[int]] = defaultdict(list)
    for number, image in enumerate(builder.images):
        stems[Path(image).stem].append(number)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            groups = [name for name in rows.fieldnames or () if name != "name"]
            if "name" not in (rows.fieldnames or ()) or not groups:
                raise UserError(f"{path} line 1: write name and the groups, e.g. name,weather")
            for row in rows:
                name = (row["name"] or "").strip()
                stem = name[: -len(Path(name).suffix)] if Path(name).suffix else name
                frames = stems.get(Path(stem).name) or stems.get(Path(name).name)
                if not frames:
                    raise UserError(
                        f"{path} line {rows.line_num}: no frame {name!r:.60} in {builder.root}; "
                        "remove the row or add the image"
                    )
                for group in groups:
                    value = (row[group] or "").strip()
                    for frame in frames if value and value != "undefined" else ():
                        builder.attribute(frame, group, value)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error!s:.200}); restore it") from None
