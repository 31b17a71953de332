"""The index on disk: one folder of .npy columns, mapped into memory and shared by all workers.

The folder's name is a digest of everything the index was read from (paths, sizes, times), so a
changed file leads to another name.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Final

import numpy as np

from perception.files import cache_folder
from training.data.bdd import yolo
from training.data.bdd.index import Index, build
from training.data.bdd.layouts import LabelSource, Layout
from training.data.files import stamp
from training.data.folder import UNREADABLE_ARRAY

FORMAT: Final = 4


def open_index(layout: Layout, folder: Path | None = None) -> Index:
    """The index of a split: from its cache in well under a second, else built and cached.

    Columns are read-only maps of files. Where the cache cannot be written, the index is built in
    memory.
    """
    folder = (folder or cache_folder()) / "bdd"
    place = hashlib.sha256(f"{layout.root.resolve()}\n{layout.split}".encode()).hexdigest()[:12]
    target = folder / f"{place}-{fingerprint(layout)}"
    found = _load(target)
    if found is not None:
        return found
    index = build(layout)
    try:
        _save(index, target)
    except OSError:
        return index
    _forget_older(folder, place, target)
    return _load(target) or index


def fingerprint(layout: Layout) -> str:
    """A digest of the format, and of the path, size and time of all that the index depends on."""
    digest = hashlib.sha256(json.dumps([FORMAT, str(layout.root.resolve())]).encode())
    for folder in layout.images:
        digest.update(_stamp(folder))
    for mask in layout.masks:
        digest.update(_stamp(mask.folder) + mask.suffix.encode())
    for source in layout.labels:
        digest.update(_label_stamp(source))
        names = yolo.name_file(layout.root) if source.format == "yolo" else None
        digest.update(_stamp(names) if names else b"-")
    return digest.hexdigest()[:20]


def _stamp(path: Path) -> bytes:
    """A folder's times change when an entry is added or removed."""
    return os.fsencode(stamp(path))


def _label_stamp(source: LabelSource) -> bytes:
    if source.path.is_file():
        return _stamp(source.path)
    digest = hashlib.sha256(_stamp(source.path))
    for name in sorted(os.listdir(source.path)):
        digest.update(_stamp(source.path / name))
    return digest.digest()


def _load(target: Path) -> Index | None:
    """The cached index; None where it is absent or damaged."""
    try:
        columns = {column.name: _mapped(target / f"{column.name}.npy") for column in fields(Index)}
    except UNREADABLE_ARRAY:
        return None
    index = Index(**columns)
    return index if _consistent(index) else None


def _mapped(path: Path) -> np.ndarray:
    # As a plain array: slices of np.memmap would carry the class into every sample.
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _consistent(index: Index) -> bool:
    frames, boxes, polygons = len(index.stems), len(index.box_class), len(index.polygon_kind)
    per_frame = (index.image, index.attributes, index.has_boxes, index.source, index.box_rows)
    return (
        all(len(column) == frames for column in per_frame)
        and len(index.box_xyxy) == boxes
        and len(index.vertex_start) == polygons + 1
        and len(index.vertex_xy) == len(index.vertex_curve)
    )


def _save(index: Index, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".part-", dir=target.parent))
    try:
        for name, column in index.columns().items():
            np.save(temporary / f"{name}.npy", column, allow_pickle=False)
        if target.exists():  # damaged, or written by another process meanwhile
            shutil.rmtree(target, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _forget_older(folder: Path, place: str, target: Path) -> None:
    for other in folder.glob(f"{place}-*"):
        if other != target:
            shutil.rmtree(other, ignore_errors=True)
