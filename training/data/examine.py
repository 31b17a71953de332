"""check-bdd on any dataset: reads every frame of every split and lists all problems.

Training stops at the first wrong file; this check goes on, and each finding names its file.
"""

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from perception.errors import NoFramesError, UserError
from training.data.classes import OFFICIAL, ONLY, ClassLists
from training.data.dataset import Dataset
from training.data.labels import Boxes
from training.data.sources import open_dataset

SPLITS: Final = ("train", "val", "test")
# A label that more than this share of a split has is expected of all its frames.
EXPECTED_SHARE: Final = 0.5
CHUNK: Final = 100  # frames between two calls of the progress callback
CHUNKS_PER_JOB: Final = 8


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
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "root": self.root,
            "clean": not self.findings,
            "findings": [asdict(finding) for finding in self.findings],
            "splits": self.splits,
        }

    def add(self, kind: str, text: str, split: str = "") -> None:
        """Adds a finding from "file: what is wrong", unless another split had it already."""
        file, colon, message = text.partition(": ")
        if (kind, text) not in self._seen:
            self._seen.add((kind, text))
            self.findings.append(Finding(kind, file if colon else "", message or text, split))


@dataclass(frozen=True)
class FrameCheck:
    """What was found when a frame was read."""

    name: str
    file: str
    error: str = ""
    size: str = "broken"
    digest: str = ""
    boxes: tuple[int, ...] = ()


def examine(
    word: str,
    jobs: int = 1,
    progress: Callable[..., None] | None = None,
    labels: Path | None = None,
    classes: ClassLists | None = None,
) -> tuple[CheckReport, dict[str, Dataset]]:
    """The report on a `--data` argument, and its readable splits.

    Raises UserError only where there are no frames at all.
    """
    report = CheckReport(word)
    datasets = dict(_splits(word, report, labels, classes))
    total, done = sum(map(len, datasets.values())), 0
    checked: dict[str, list[FrameCheck]] = {}
    for split, dataset in datasets.items():
        known = dataset.problems()
        for text in known:
            report.add("label", text, split)
        frames = checked[split] = []
        for part in _read_all(dataset, jobs):
            frames += part
            done += len(part)
            if progress:
                progress(completed=done, total=total)
        for frame in frames:
            if frame.error and frame.error not in known:
                report.add("broken frame", frame.error, split)
        presence = dataset.presence()
        has = {task: presence[task] for task in dataset.tasks}
        for task, labelled in has.items():
            share = labelled.mean()
            for index in np.flatnonzero(~labelled) if share > EXPECTED_SHARE else ():
                text = f"has no label for {task}, as {share:.1%} of the split have"
                report.add("missing label", f"{dataset.file(int(index))}: {text}", split)
        report.splits[split] = _summary(dataset, frames, has)
    _leaks(report, datasets, checked)
    _duplicates(report, checked)
    for dataset in datasets.values():
        for kind, text in dataset.unused():
            report.add(kind, text)
    _without_labels(report, datasets)
    return report, datasets


def _splits(
    word: str, report: CheckReport, labels: Path | None, classes: ClassLists | None
) -> Iterator[tuple[str, Dataset]]:
    """The splits that open; why another one does not is a finding, unless it has no frames."""
    missing: list[NoFramesError] = []
    for split in SPLITS:
        try:
            yield split, open_dataset(word, split, strict=None, labels=labels, classes=classes)
        except NoFramesError as error:
            missing.append(error)
        except UserError as error:
            report.add("label", str(error), split)
    if len(missing) == len(SPLITS):
        raise missing[0]


def _read_all(dataset: Dataset, jobs: int) -> Iterator[list[FrameCheck]]:
    count = len(dataset)
    size = CHUNK if jobs <= 1 else max(1, -(-count // (jobs * CHUNKS_PER_JOB)))
    chunks = [range(start, min(start + size, count)) for start in range(0, count, size)]
    if jobs <= 1 or len(chunks) == 1:
        yield from (check_chunk(dataset, chunk) for chunk in chunks)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(check_chunk, [dataset] * len(chunks), chunks)


def check_chunk(dataset: Dataset, chunk: range) -> list[FrameCheck]:
    """Reads some frames with all their labels."""
    cv2.setNumThreads(1)
    with _CapturedStderr() as stderr:
        return [_check_frame(dataset, index, stderr) for index in chunk]


def _check_frame(dataset: Dataset, index: int, stderr: "_CapturedStderr") -> FrameCheck:
    name, file, error_ = dataset.name(index), dataset.file(index), ""
    try:
        sample = dataset[index]
    except UserError as error:
        return FrameCheck(name, file, str(error))
    finally:
        said = stderr.last_line()
    if "Corrupt" in said or "premature" in said.lower():
        error_ = f"{file}: decodes with damage ({said}); restore it"
    elif sample.image.max() == sample.image.min():
        error_ = f"{file}: the image has one colour only; restore or delete it"
    height, width = sample.image.shape[:2]
    digest = hashlib.sha256(sample.image.tobytes()).hexdigest()
    boxes = sample.labels.get("det")
    shown = tuple(boxes.classes.tolist()) if isinstance(boxes, Boxes) else ()
    return FrameCheck(name, file, error_, f"{width}x{height}", digest, shown)


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


def _summary(
    dataset: Dataset, frames: list[FrameCheck], has: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    names = {**OFFICIAL, **dataset.classes}.get("det", {}).get(ONLY, ())
    counts = Counter(code for frame in frames for code in frame.boxes)
    known = [dataset.attributes(index) or {} for index in range(len(dataset))]
    groups = dataset.classes.get("scene", ()) if "scene" in dataset.tasks else ()
    return {
        "frames": len(dataset),
        "sizes": dict(Counter(frame.size for frame in frames)),
        "labelled": {task: int(labelled.sum()) for task, labelled in has.items()},
        "boxes": {name: counts[code] for code, name in enumerate(names) if "det" in dataset.tasks},
        "attributes": {
            group: dict(Counter(one.get(group, "undefined") for one in known)) for group in groups
        },
    }


def _leaks(
    report: CheckReport,
    datasets: Mapping[str, Dataset],
    checked: Mapping[str, list[FrameCheck]],
) -> None:
    """Frames and drives in two splits: scores would be of training data."""
    drives: dict[str, tuple[str, str]] = {}
    names = {split: {frame.name for frame in frames} for split, frames in checked.items()}
    for split, dataset in datasets.items():
        for index, frame in enumerate(checked[split]):
            drive = dataset.drive(index)
            other_split, other = drives.setdefault(drive, (split, frame.name))
            if drive and other_split != split:
                same = f"is both in {other_split} and in {split}; delete one"
                near = f"({split}) is from the same drive as {other} ({other_split})"
                text = f"{frame.name}: {same if frame.name in names[other_split] else near}"
                report.add("leak", text, split)


def _duplicates(report: CheckReport, checked: Mapping[str, list[FrameCheck]]) -> None:
    """Images with the same pixels under different names; in two splits it is a leak."""
    first: dict[str, tuple[str, FrameCheck]] = {}
    for split, frames in checked.items():
        for frame in sorted(frames, key=lambda frame: frame.file):
            other_split, other = first.setdefault(frame.digest or frame.file, (split, frame))
            if other is not frame and (other.name != frame.name or other_split != split):
                text = f"{frame.file}: is the same image as {other.file}; delete one"
                leak = other_split != split
                report.add("leak" if leak else "duplicate image", text, split if leak else "")


def _without_labels(report: CheckReport, datasets: Mapping[str, Dataset]) -> None:
    """Splits without any label, without boxes, or without a task of the training split; and classes
    of the folder's own list without a box in any split."""
    listed: Counter[str] = Counter()
    for split, dataset in datasets.items():
        boxes = report.splits[split]["boxes"]
        if not dataset.tasks and split != "test":  # that of BDD100K has none
            text = f"no labels for split {split!r}; are they where they are expected?"
            report.add("split without labels", f"{report.root}: {text}", split)
        elif split not in ("train", "test") and "train" in datasets:
            for task in datasets["train"].tasks:
                if task not in dataset.tasks:
                    text = f"no labels of {task} for split {split!r}, which 'train' has"
                    report.add("task without labels", f"{report.root}: {text}", split)
        if "det" not in dataset.tasks:
            continue
        if not any(boxes.values()):
            text = "no frame shows an object; are its labels where they are expected?"
            report.add("split without objects", f"{report.root}: {text}", split)
        for name in dataset.written_classes("det"):
            listed[name] += boxes.get(name, 0)
    for name, count in listed.items():
        if not count:
            text = f"{name!r:.60} has no label in any split; label it or remove it from the list"
            report.add("class without labels", f"{report.root}: {text}")
