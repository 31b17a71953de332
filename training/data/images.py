"""What a folder holds next to its annotation files: images by name, and tables of attributes."""

import bisect
import csv
import io
import os
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import Final

from perception.errors import UserError
from perception.images import IMAGE_SUFFIXES
from training.data.builder import Builder
from training.data.files import nfc, read_text, split_folder, stem_of, walk

ATTRIBUTE_FILES: Final = ("attributes.csv", "labels/attributes.csv")
MAX_ATTRIBUTES: Final = 256 << 20


class Images:
    """The images under a folder, by path and by name. A file that links lead to counts once, by
    its own path if that is below the folder."""

    def __init__(self, root: Path) -> None:
        self.root = images_root(root)

    @cached_property
    def _files(self) -> list[tuple[str, str, bool]]:
        """(path with links resolved, path below the root, whether no link is on it)."""
        found: list[tuple[str, str, bool]] = []
        base = os.path.realpath(self.root)
        for folder, files in walk(self.root):
            place = os.path.realpath(self.root / folder)
            own = place == os.path.normpath(os.path.join(base, folder))
            some = (name for name in files if name.lower().endswith(IMAGE_SUFFIXES))
            found += [(f"{place}/{name}", folder + name, own) for name in some]
        return found

    @cached_property
    def real(self) -> dict[str, str]:
        """{path with links resolved: path below the root}."""
        found: dict[str, str] = {}
        for real, path, own in self._files:
            if own or real not in found:
                found[real] = path
        return found

    @cached_property
    def again(self) -> list[str]:
        """Further paths of images, by links from the folder of another split: a `val` that is a
        link to `train`."""
        pairs = [(split_folder(self.real[real]), path) for real, path, _ in self._files]
        return [path for split, path in pairs if split and split_folder(path) not in ("", split)]

    @cached_property
    def paths(self) -> list[str]:
        """Every image below the root, sorted."""
        return sorted(self.real.values())

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            name = spelled(path.rsplit("/", 1)[-1])
            found[name].append(path)
            found[stem_of(name)].append(path)
        return found

    def any_below(self, folder: str) -> bool:
        """Whether an image lies below a folder, written with a trailing slash."""
        at = bisect.bisect_left(self.paths, folder)
        return at < len(self.paths) and self.paths[at].startswith(folder)

    def find(self, name: str, where: str, near: str = "") -> str | None:
        """The path, relative to the root, of an image that a label file names; None: there is none.

        Raises UserError where several are equally near.
        """
        name = spelled(name.replace("\\", "/").lstrip("./"))
        if ".." in name.split("/"):
            raise UserError(f"{where}: image {name!r:.100} leaves its folder; fix it")
        found = self._by_name.get(name.rsplit("/", 1)[-1], [])
        exact = [path for path in found if f"/{spelled(path)}".endswith(f"/{name}")]
        found = exact or found
        close = [path for path in found if near and path.startswith(near)]
        found = close or found
        if (split := split_folder(f"{near}/")) and "/" not in name:
            # One of the same name in the folder of another split is another image.
            found = [path for path in found if split_folder(path) in ("", split)]
        if len(found) > 1:
            raise UserError(
                f"{where}: {name} is both {found[0]} and {found[1]}: two frames of one name in two "
                "folders; rename one"
            )
        return found[0] if found else None

    def need(self, name: str, where: str, near: str = "") -> str:
        """As `find`; raises UserError where there is none."""
        found = self.find(name, where, near)
        if found is None:
            raise UserError(f"{where}: no image {name!r:.100} below {self.root}; add it")
        return found

    def listed(self, text: str, folders: list[Path]) -> str | None:
        """The image of a line of a list file, relative to one of the folders or absolute; where
        that place does not exist (the data was moved), the one that ends alike."""
        text = text.replace("\\", "/")
        for folder in folders:
            place, _, name = os.path.join(folder, text).rpartition("/")
            if found := self.real.get(f"{os.path.realpath(place)}/{name}"):
                return found
        parts = spelled(text).split("/")
        found_all = self._by_name.get(parts[-1], [])
        common = {path: _common_end(spelled(path).split("/"), parts) for path in found_all}
        best = [path for path, count in common.items() if count == max(common.values())]
        return best[0] if len(best) == 1 else None


def spelled(path: str) -> str:
    """A path in NFC with the suffix in lower case: a label file may spell the name another way."""
    stem, dot, suffix = nfc(path).rpartition(".")
    return f"{stem}.{suffix.lower()}" if dot and "/" not in suffix else nfc(path)


def images_root(root: Path) -> Path:
    """The folder of the images: of a label file the one that it lies in."""
    return root if root.is_dir() else root.parent


def _common_end(first: list[str], second: list[str]) -> int:
    pairs = zip(reversed(first), reversed(second), strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def attribute_files(root: Path) -> list[Path]:
    """The tables of frame attributes that a folder holds."""
    return [path for name in ATTRIBUTE_FILES if (path := images_root(root) / name).is_file()]


def read_attributes(path: Path, builder: Builder) -> None:
    """Adds `name,group,...` rows. Raises UserError for a frame that does not exist."""
    stems: dict[str, list[int]] = defaultdict(list)
    for number, image in enumerate(builder.images):
        stems[stem_of(image).rsplit("/", 1)[-1]].append(number)
    try:
        rows = csv.DictReader(io.StringIO(read_text(path, MAX_ATTRIBUTES), newline=""))
        groups = [name for name in rows.fieldnames or () if name != "name"]
        if "name" not in (rows.fieldnames or ()) or not groups:
            raise UserError(f"{path} line 1: write name and the groups, e.g. name,weather")
        for row in rows:
            name = (row["name"] or "").strip()
            last = nfc(name).rsplit("/", 1)[-1]
            frames = stems.get(stem_of(last)) or stems.get(last)
            if not frames:
                raise UserError(
                    f"{path} line {rows.line_num}: no frame {name!r:.60} in {builder.root}; "
                    "remove the row or add the image"
                )
            for group in groups:
                for frame in frames:
                    builder.attribute(frame, group, (row[group] or "").strip())
    except csv.Error as error:
        raise UserError(f"{path}: cannot be read ({error!s:.200}); restore it") from None
