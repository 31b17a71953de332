"""check-bdd on any dataset: reads every frame of every split and lists all problems.

BDD100K folders have more to check (bdd/checks.py): several sources of masks, provenance, drives.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np

from perception.errors import NoFramesError, UserError
from training.data.bdd import checks
from training.data.bdd.checks import CheckReport, Finding, duplicates, missing_labels
from training.data.classes import OFFICIAL, ONLY, ClassLists
from training.data.dataset import Dataset
from training.data.labels import Boxes
from training.data.sources import FALLBACK, kind_and_root, open_dataset

SPLITS: Final = ("train", "val", "test")

Progress = Callable[[int, int], None]


def examine(
    word: str,
    jobs: int = 1,
    progress: Progress | None = None,
    labels: Path | None = None,
    classes: ClassLists | None = None,
) -> tuple[CheckReport, dict[str, Dataset]]:
    """The report on a `--data` argument, and its readable splits.

    Raises UserError only where there are no frames at all.
    """
    kind, root = kind_and_root(word)
    if kind == FALLBACK and labels is None:
        report = checks.examine(root, jobs, progress)
        datasets = dict(_splits(word, CheckReport(word), labels, classes))
        report.findings += _without_labels(report, datasets)
        return report, datasets
    report = CheckReport(word)
    datasets = dict(_splits(word, report, labels, classes))
    total, done = sum(map(len, datasets.values())), 0
    digests: dict[str, list[tuple[str, str]]] = {}
    for split, dataset in datasets.items():
        report.findings += [_finding("label", text, split) for text in dataset.problems()]
        frames: list[dict[str, Any]] = []
        with ThreadPoolExecutor(max(jobs, 1)) as pool:
            for frame in pool.map(
                lambda index, part=dataset: _frame(part, index), range(len(dataset))
            ):
                frames.append(frame)
                done += 1
                if progress:
                    progress(done, total)
        known = set(dataset.problems())
        report.findings += [
            _finding("broken frame", frame["error"], split)
            for frame in frames
            if frame["error"] and frame["error"] not in known
        ]
        report.findings += missing_labels(_labelled(dataset), dataset.name, split)
        digests[split] = [(f["digest"], f["name"]) for f in frames if f["digest"]]
        report.splits[split] = _summary(dataset, frames)
    report.findings += duplicates(digests)
    unused = {item: None for dataset in datasets.values() for item in dataset.unused()}
    report.findings += [_finding(kind, text, "") for kind, text in unused]
    report.findings += _without_labels(report, datasets)
    return report, datasets


def _without_labels(report: CheckReport, datasets: Mapping[str, Dataset]) -> Iterator[Finding]:
    """Splits without any box, and classes of the folder's own list without one in any split."""
    listed: dict[str, int] = {}
    for split, dataset in datasets.items():
        boxes = report.splits[split]["boxes"]
        if "det" not in dataset.tasks:
            continue
        if not any(boxes.values()):
            text = "no frame shows an object; are its labels where they are expected?"
            yield Finding("split without objects", report.root, text, split)
        # BDD100K's list is not from the folder's files.
        own = dataset.annotated_classes("det") or dataset.classes.get("det", {}).get(ONLY, ())
        for name in own:
            listed[name] = listed.get(name, 0) + boxes.get(name, 0)
    for name, count in listed.items():
        if not count:
            text = f"{name!r:.60} has no label in any split; label it or remove it from the list"
            yield Finding("class without labels", report.root, text)


def _splits(
    word: str, report: CheckReport, labels: Path | None, classes: ClassLists | None
) -> Iterator[tuple[str, Dataset]]:
    """The splits that open; why another one does not is a finding, unless it has no frames."""
    missing: list[NoFramesError] = []
    opened = 0
    for split in SPLITS:
        try:
            dataset = open_dataset(word, split, strict=False, labels=labels, classes=classes)
        except NoFramesError as error:
            missing.append(error)
        except UserError as error:
            finding = _finding("label", str(error), split)
            if finding.message not in {known.message for known in report.findings}:
                report.findings.append(finding)
            opened += 1
        else:
            opened += 1
            yield split, dataset
    if not opened:
        raise missing[0]


def _finding(kind: str, text: str, split: str) -> Finding:
    file, colon, message = text.partition(": ")
    return Finding(kind, file if colon else "", message or text, split)


def _frame(dataset: Dataset, index: int) -> dict[str, Any]:
    name = dataset.name(index)
    try:
        sample = dataset[index]
    except UserError as error:
        return {"name": name, "error": str(error), "size": "broken", "digest": "", "boxes": []}
    blank = sample.image.max() == sample.image.min()
    height, width = sample.image.shape[:2]
    boxes = sample.labels.get("det")
    return {
        "name": name,
        "error": f"{name}: the image has one colour only; restore or delete it" if blank else "",
        "size": f"{width}x{height}",
        "digest": hashlib.sha256(sample.image.tobytes()).hexdigest(),
        "boxes": boxes.classes.tolist() if isinstance(boxes, Boxes) else [],
    }


def _labelled(dataset: Dataset) -> dict[str, np.ndarray]:
    """(len(dataset),) bool per task: which frames have its label."""
    presence = dataset.presence()
    return {task: presence.get(task, np.ones(len(dataset), bool)) for task in dataset.tasks}


def _summary(dataset: Dataset, frames: list[dict[str, Any]]) -> dict[str, Any]:
    presence = dataset.presence()
    names = {**OFFICIAL, **dataset.classes}.get("det", {}).get(ONLY, ())
    counts = Counter(code for frame in frames for code in frame["boxes"])
    has = _labelled(dataset)
    return {
        "frames": len(dataset),
        "sizes": dict(Counter(frame["size"] for frame in frames)),
        "labelled": {task: int(frames_.sum()) for task, frames_ in has.items()},
        "sources": {},
        "boxes": {name: counts[code] for code, name in enumerate(names) if "det" in dataset.tasks},
        "attributes": _attributes(dataset, presence),
        "missing": {
            task: [dataset.name(index) for index in np.flatnonzero(~frames_).tolist()]
            for task, frames_ in has.items()
            if 0 < frames_.sum() < len(frames_)
        },
    }


def _attributes(dataset: Dataset, presence: Mapping[str, np.ndarray]) -> dict[str, dict[str, int]]:
    """Frames per value of each attribute group, where the dataset has traits of them."""
    groups = dataset.classes.get("scene", {})
    return {
        group: {v: int(presence[t].sum()) for v in values if (t := f"{group}/{v}") in presence}
        for group, values in groups.items()
    }
