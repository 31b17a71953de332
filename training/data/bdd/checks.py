"""Checks every frame and every label of a BDD100K folder and lists all problems.

Training stops at the first wrong file; this check goes on, and each finding names its file.
"""

import hashlib
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from perception.classes import ATTRIBUTES, DETECTION
from perception.errors import UserError
from perception.images import read_image
from training.data.bdd import layouts
from training.data.bdd.cache import open_index
from training.data.bdd.index import MASK_TASKS, NO_SOURCE, Index
from training.data.bdd.layouts import SUFFIXES, Layout
from training.data.bdd.masks import read_mask

CHUNK: Final = 100
DRIVE_LETTERS: Final = 8  # of a name: frames of one drive
# A label that more than this share of a split has is expected of all its frames.
EXPECTED_SHARE: Final = 0.5


@dataclass(frozen=True)
class Finding:
    """One problem of one file."""

    kind: str
    file: str
    message: str
    split: str = ""


@dataclass
class CheckReport:
    """All findings, and counts per split."""

    root: str
    findings: list[Finding] = field(default_factory=list)
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "root": self.root,
            "clean": not self.findings,
            "findings": [asdict(finding) for finding in self.findings],
            "splits": self.splits,
        }


@dataclass
class Checked:
    """What a worker found in some frames."""

    findings: list[Finding] = field(default_factory=list)
    digests: list[tuple[str, str]] = field(default_factory=list)
    sizes: Counter[str] = field(default_factory=Counter)


def examine(
    root: Path, jobs: int = 1, progress: Callable[[int, int], None] | None = None
) -> CheckReport:
    """The report on a folder. Raises UserError only where it holds no frames at all."""
    report = CheckReport(str(root))
    found = layouts.splits(root)
    if not found:
        layouts.find(root, "train")  # raises with the names of the expected folders
    stems: dict[str, set[str]] = {}
    digests: dict[str, list[tuple[str, str]]] = {}
    parts = {split: layouts.find(root, split) for split in found}
    indexes = {split: open_index(layout) for split, layout in parts.items()}
    total, done = sum(len(index.stems) for index in indexes.values()), 0
    for split, layout in parts.items():
        index = indexes[split]
        stems[split] = {index.stem(frame) for frame in range(len(index.stems))}
        report.findings += [*_of_labels(layout, index), *_missing(layout, index)]
        checked = Checked()
        for part in _check_frames(layout, jobs, len(index.stems)):
            checked.findings += part.findings
            checked.digests += part.digests
            checked.sizes += part.sizes
            done += sum(part.sizes.values())
            if progress:
                progress(done, total)
        report.findings += checked.findings
        digests[split] = checked.digests
        report.splits[split] = _summary(layout, index, checked)
    report.findings += [*_leaks(stems), *duplicates(digests)]
    return report


def _of_labels(layout: Layout, index: Index) -> Iterator[Finding]:
    """Problems found when the label files were read and the folders listed."""
    for _, text in index.problems():
        file, _, message = text.partition(": ")
        yield Finding("label", file, message, layout.split)
    for orphan in index.orphans:
        file, _, name = orphan.decode().rpartition(": ")
        yield Finding("label without frame", file, f"no image for {name}", layout.split)
    label_folders = {source.path for source in layout.labels}
    for folder in layout.images:
        seen: dict[str, str] = {}
        for name in sorted(entry.name for entry in os.scandir(folder) if entry.is_file()):
            stem, _, suffix = name.rpartition(".")
            if f".{suffix}" not in SUFFIXES:
                if folder in label_folders:
                    continue
                message = "is not an image; move it elsewhere"
                yield Finding("stray file", str(folder / name), message, layout.split)
            elif stem in seen:
                message = f"has the same name as {seen[stem]}; rename or delete one"
                yield Finding("duplicate name", str(folder / name), message, layout.split)
            seen.setdefault(stem, name)


def missing_labels(
    has: Mapping[str, np.ndarray], name: Callable[[int], str], split: str
) -> Iterator[Finding]:
    """Frames without a label that most frames of the split have, from (frames,) bool per task."""
    for task, labelled in has.items():
        share = labelled.mean() if len(labelled) else 0.0
        for frame in np.flatnonzero(~labelled).tolist() if share > EXPECTED_SHARE else ():
            message = f"has no label for {task}, as {share:.1%} of the split have"
            yield Finding("missing label", name(frame), message, split)


def _missing(layout: Layout, index: Index) -> Iterator[Finding]:
    """Missing labels, and frames whose only lanes are a network's predictions."""

    def file(frame: int) -> str:
        return str(index.image_path(frame, layout))

    yield from missing_labels(labelled(index), file, layout.split)
    if layout.split == "train":
        return
    teachers = [n for n, mask in enumerate(layout.masks) if mask.name == "teacher"]
    lane = np.isin(index.source[:, MASK_TASKS.index("lane")], teachers)
    for frame in np.flatnonzero(lane).tolist():
        message = "has only a teacher's lanes: a score on them is agreement, not accuracy"
        yield Finding("teacher lanes", file(frame), message, layout.split)


def labelled(index: Index) -> dict[str, np.ndarray]:
    """(N,) bool for each task: which frames have a label of it."""
    masks = {task: index.source[:, column] != NO_SOURCE for column, task in enumerate(MASK_TASKS)}
    return {"det": index.has_boxes, "scene": index.has_attributes, **masks}


def _check_frames(layout: Layout, jobs: int, count: int) -> Iterator[Checked]:
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    if jobs <= 1 or len(chunks) == 1:
        yield from (check_chunk(layout, chunk) for chunk in chunks)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(check_chunk, [layout] * len(chunks), chunks)


def check_chunk(layout: Layout, chunk: range) -> Checked:
    """Reads the frames of a chunk with all their masks, also those that training would not use."""
    cv2.setNumThreads(1)
    index = open_index(layout)
    checked = Checked()
    with _CapturedStderr() as stderr:
        for frame in chunk:
            _check_frame(layout, index, frame, checked, stderr)
    return checked


class _CapturedStderr:
    """Captures stderr: libjpeg reports damage in a JPEG that it still decodes only there."""

    def __enter__(self) -> "_CapturedStderr":
        self.file = tempfile.TemporaryFile()
        self.saved = os.dup(2)
        os.dup2(self.file.fileno(), 2)
        return self

    def __exit__(self, *_: object) -> None:
        os.dup2(self.saved, 2)
        os.close(self.saved)
        self.file.close()

    def last_line(self) -> str:
        """The last line written since the last call; "" for none."""
        self.file.seek(0)
        lines = self.file.read().decode(errors="replace").split("\n")
        self.file.seek(0)
        self.file.truncate()
        return next((line for line in reversed(lines) if line.strip()), "")


def _check_frame(
    layout: Layout, index: Index, frame: int, checked: Checked, stderr: _CapturedStderr
) -> None:
    path = index.image_path(frame, layout)

    def add(kind: str, file: Path, message: str) -> None:
        checked.findings.append(Finding(kind, str(file), message, layout.split))

    size_hw = None
    try:
        image, size_hw = read_image(path)
        said = stderr.last_line()
        if "Corrupt" in said or "premature" in said.lower():
            add("broken image", path, f"decodes with damage ({said}); restore it")
        elif image.max() == image.min():
            add("blank image", path, "has one colour only; restore or delete it")
        checked.digests.append((hashlib.sha256(path.read_bytes()).hexdigest(), str(path)))
    except UserError as error:
        add("broken image", path, str(error).partition(": ")[2])
    stderr.last_line()
    checked.sizes["broken" if size_hw is None else f"{size_hw[1]}x{size_hw[0]}"] += 1
    for mask in layout.masks:
        file = mask.folder / f"{index.stem(frame)}{mask.suffix}"
        if file.is_file():
            try:
                read_mask(file, mask.encoding, size_hw)
            except UserError as error:
                add("broken mask", file, str(error).partition(": ")[2])
    if size_hw is not None:
        for message in index.boxes(frame, size_hw)[1]:
            add("box outside", path, message)


def _leaks(stems: dict[str, set[str]]) -> Iterator[Finding]:
    """Frames or drives that are in two splits, so that scores would be of training data."""
    names = list(stems)
    for first, second in ((a, b) for i, a in enumerate(names) for b in names[i + 1 :]):
        for stem in sorted(stems[first] & stems[second]):
            message = f"is both in {first} and in {second}; delete one"
            yield Finding("leak", stem, message, second)
        drives: dict[str, list[str]] = defaultdict(list)
        for stem in sorted(stems[first] - stems[second]):
            drives[stem[:DRIVE_LETTERS]].append(stem)
        for stem in sorted(stems[second] - stems[first]):
            others = drives.get(stem[:DRIVE_LETTERS]) if "-" in stem else None
            if others:
                message = f"({second}) is from the same drive as {others[0]} ({first})"
                yield Finding("leak", stem, message, second)


def duplicates(digests: dict[str, list[tuple[str, str]]]) -> Iterator[Finding]:
    """Image files with the same bytes under different names."""
    first: dict[str, tuple[str, str]] = {}
    for split, pairs in digests.items():
        for digest, file in sorted(pairs, key=lambda pair: pair[1]):
            if digest not in first:
                first[digest] = split, file
                continue
            other_split, other = first[digest]
            if Path(other).stem == Path(file).stem:
                continue  # already listed as a leak
            kind = "duplicate image" if other_split == split else "leak"
            message = f"is the same image as {other}; delete one"
            yield Finding(kind, file, message, split)


def _summary(layout: Layout, index: Index, checked: Checked) -> dict[str, Any]:
    names = {number: mask.name for number, mask in enumerate(layout.masks)}
    has = labelled(index)
    sources = {
        task: {
            names.get(code, "polygons"): count
            for code, count in Counter(index.source[:, column].tolist()).items()
            if code != NO_SOURCE
        }
        for column, task in enumerate(MASK_TASKS)
    }
    counts = np.bincount(index.box_class[index.box_class >= 0], minlength=len(DETECTION))
    return {
        "frames": len(index.stems),
        "sizes": dict(checked.sizes),
        "labelled": {task: int(having.sum()) for task, having in has.items()},
        "sources": {task: counts for task, counts in sources.items() if counts},
        "boxes": dict(zip(DETECTION, counts.tolist(), strict=True)),
        "attributes": {
            name: _histogram(index.attributes[:, column], values)
            for column, (name, values) in enumerate(ATTRIBUTES.items())
        },
        "missing": {
            task: [index.stem(frame) for frame in np.flatnonzero(~having).tolist()]
            for task, having in has.items()
            if 0 < having.sum() < len(having)
        },
    }


def _histogram(codes: np.ndarray, values: tuple[str, ...]) -> dict[str, int]:
    counts = {value: int((codes == number).sum()) for number, value in enumerate(values)}
    return counts | {"undefined": int((codes < 0).sum())}
