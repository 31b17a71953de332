"""Which dataset a `--data` word means: `KIND:DIR`, or a folder that is looked at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from perception.errors import UserError, unknown_name
from training.data import DATASETS
from training.data.sample import Dataset

# What a folder is that none of the others recognises: its errors explain what was looked for.
FALLBACK: Final = "bdd100k"


def kind_and_root(spec: str) -> tuple[str, Path]:
    """("coco", path) of "coco:path" or of a folder with COCO in it.

    Raises UserError for a kind that does not exist; a path with a colon in it may exist.
    """
    kind, colon, rest = spec.partition(":")
    if spec in DATASETS and not Path(spec).exists():
        return spec, Path("")
    if colon and kind in DATASETS:
        return kind, Path(rest)
    root = Path(spec)
    if colon and not root.exists() and kind.isidentifier():
        raise unknown_name("dataset", kind, DATASETS)
    for name, dataset in DATASETS.items():
        recognises: Any = getattr(dataset, "recognises", None)
        if recognises is not None and recognises(root):
            return name, root
    return FALLBACK, root


def open_dataset(
    spec: str,
    split: str,
    tasks: Sequence[str],
    size_hw: tuple[int, int] | None = None,
    *,
    strict: bool = True,
) -> Dataset:
    """One split of what `spec` names, with those of the tasks that it labels."""
    kind, root = kind_and_root(spec)
    try:
        return DATASETS[kind](root, split, tasks, size_hw, strict=strict)
    except PermissionError as error:
        raise UserError(f"{root}: cannot be read ({error.strerror})") from None


def near_names(tasks: Sequence[str], specs: Sequence[str]) -> str:
    """A hint for tasks that the data has under another name: each label space is a task."""
    labelled = [
        name for spec in specs for name in getattr(DATASETS[kind_and_root(spec)[0]], "labels", ())
    ]
    near = [
        f"{name} instead of {task}"
        for task in tasks
        for name in dict.fromkeys(labelled)
        if name.startswith(f"{task}_") or task.startswith(f"{name}_")
    ]
    return f"; did you mean {', '.join(near)}?" if near else ""
