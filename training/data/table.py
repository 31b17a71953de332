"""Annotations of any dataset as flat columns: frames, boxes, outlines, masks, attributes.

A reader fills a `Builder`; the finished `Table` is kept in the cache folder as one .npy file per
column, which loader workers map instead of copying. Its key has the stamps of all label files, so
that they are read again only when one changes.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from perception.files import cache_folder
from training.data.files import stamp

FORMAT: Final = 7
IGNORE_FLAG, OCCLUDED_FLAG, TRUNCATED_FLAG = 1, 2, 4
# What an outline is: a filled area, a line, or a filled lane marking.
AREA, LINE, MARKING = 0, 1, 2
MASK_TASKS: Final = ("drivable", "lane", "semantic")  # the first of `masked`
NO_MASK: Final = -1


def whole_split(number: int) -> int:
    """What stands for the frame in problems of a whole split, by its number in `splits`; of -1, the
    whole folder, it is -1."""
    return -2 - number


@dataclass
class Table:
    """Columns over N frames, B boxes, P outlines and V vertices; class numbers index `names`."""

    texts: dict[str, Any]
    """splits, names, first (place of a name's first label), groups, problems, unused, encodings;
    masked: the tasks that have a column of mask files."""
    images: np.ndarray  # (N,) bytes: path relative to the root
    order: np.ndarray  # (N,) int64: frames by name
    size_hw: np.ndarray  # (N, 2) int32, 0 = not known before the image is read
    split: np.ndarray  # (N,) int8: number in `splits`
    relative: np.ndarray  # (N,) bool: boxes are in fractions of the frame
    boxes: np.ndarray  # (N,) bool: annotated with boxes, possibly none
    areas: np.ndarray  # (N,) bool: annotated with areas, possibly none
    lines: np.ndarray  # (N,) bool: annotated with lanes, possibly none
    box_start: np.ndarray  # (N + 1,) int64
    box_xyxy: np.ndarray  # (B, 4) float32, pixels, or fractions of the frame
    box_class: np.ndarray  # (B,) int16
    box_flags: np.ndarray  # (B,) uint8
    shape_start: np.ndarray  # (N + 1,) int64
    shape_class: np.ndarray  # (P,) int16
    shape_kind: np.ndarray  # (P,) uint8: AREA, LINE or MARKING
    shape_lane: np.ndarray  # (P,) uint8: style and direction bits of a lane, or not annotated
    vertex_start: np.ndarray  # (P + 1,) int64
    vertex_xy: np.ndarray  # (V, 2) float64
    vertex_curve: np.ndarray  # (V,) bool: of a Bezier curve
    attributes: np.ndarray  # (N, groups) int16: value of each group, -1 = unknown
    mask_file: np.ndarray  # (N, masked) bytes: path of the mask relative to the label root
    mask_code: np.ndarray  # (N, masked) int8: number in `encodings`, or NO_MASK
    folder: Path | None = None
    """Where its columns are cached."""

    def columns(self) -> dict[str, np.ndarray]:
        """The arrays by name."""
        return {
            name: value for name, value in vars(self).items() if name not in ("texts", "folder")
        }

    def image(self, frame: int) -> str:
        """The image's path relative to the root."""
        return os.fsdecode(self.images[frame])

    def mask(self, frame: int, task: str) -> tuple[str, Any] | None:
        """(path relative to the label root, encoding) of the frame's mask of a task."""
        if task not in self.texts["masked"]:
            return None
        column = self.texts["masked"].index(task)
        code = int(self.mask_code[frame, column])
        if code == NO_MASK:
            return None
        return os.fsdecode(self.mask_file[frame, column]), self.texts["encodings"][code]

    def has_mask(self, task: str) -> np.ndarray:
        """(N,) bool: frames with a mask of a task."""
        if task not in self.texts["masked"]:
            return np.zeros(len(self.images), bool)
        return np.asarray(self.mask_code[:, self.texts["masked"].index(task)] != NO_MASK)

    def __reduce__(self) -> tuple[Any, ...]:
        # A spawned worker maps the columns from the cache instead of receiving a copy.
        if self.folder is not None:
            return _mapped, (self.folder,)
        return Table, tuple(vars(self).values())


def cached_table(reader: str, sources: Iterable[str | Path], build: Callable[[], Table]) -> Table:
    """The table from the cache, else built and cached.

    `reader` names the reader and its folder; `sources` are label files and folders, of which what
    comes and goes in them counts. A table of the same reader that is older is removed. Where the
    cache cannot be written, the table is only in memory.
    """
    place_ = hashlib.sha256(f"{FORMAT} {reader}".encode()).hexdigest()[:12]
    digest = hashlib.sha256()
    for source in sources:
        digest.update(os.fsencode(stamp(source)))
    target = cache_folder() / "tables" / f"{place_}-{digest.hexdigest()[:20]}"
    found = _load(target)
    if found is None:
        found = build()
        try:
            _save(found, target)
        except OSError:
            return found
        for other in target.parent.glob(f"{place_}-*"):
            if other != target:
                shutil.rmtree(other, ignore_errors=True)
        found = _load(target) or found
    return found


def _save(table: Table, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".part-", dir=target.parent))
    try:
        (temporary / "texts.json").write_text(json.dumps(table.texts))
        for name, column in table.columns().items():
            np.save(temporary / f"{name}.npy", column, allow_pickle=False)
        if _load(target) is None:  # else another process has written it meanwhile, and reads it
            shutil.rmtree(target, ignore_errors=True)
            os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _load(target: Path) -> Table | None:
    """The cached table; None where it is absent or damaged."""
    try:
        return _mapped(target)
    except Exception:  # whatever a damaged file makes of it: it is built again
        return None


def _mapped(folder: Path) -> Table:
    texts = json.loads((folder / "texts.json").read_bytes())
    for key in ("problems", "unused"):
        texts[key] = [tuple(item) for item in texts[key]]
    # As plain arrays: slices of np.memmap would carry the class into every sample.
    names = [name for name in Table.__annotations__ if name not in ("texts", "folder")]
    columns = {
        name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False))
        for name in names
    }
    table = Table(texts, **columns, folder=folder)
    frames = len(table.images)
    rows = {"box": table.box_start[-1], "shape": table.shape_start[-1],
            "vertex": table.vertex_start[-1]}  # fmt: skip
    more = {"box_start": frames + 1, "shape_start": frames + 1, "vertex_start": rows["shape"] + 1}
    for name, column in columns.items():
        if len(column) != more.get(name, rows.get(name.partition("_")[0], frames)):
            raise ValueError(f"{folder}: damaged")
    return table
