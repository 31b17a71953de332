"""What a dataset holds, as digests: a resumed run compares them with those it began with."""

import hashlib
import json
from typing import Any

import numpy as np

from training.data.dataset import MASK_CHECKSUMS, Dataset


def contents(frames: Dataset) -> dict[str, Any]:
    """Number of frames, SHA-256 of their names, labels and mask files, and class lists.

    No digest depends on where the folder is. Labels count as far as they are known without reading
    the frames: which labels and classes a frame has, and `Dataset.label_columns`.
    """
    names = hashlib.sha256()
    for index in range(len(frames)):
        names.update(frames.name(index).encode() + b"\n")
    columns: dict[str, np.ndarray] = {**frames.presence(), **frames.label_columns()}
    labels, masks = hashlib.sha256(), hashlib.sha256()
    for name, column in sorted(columns.items()):
        digest = masks if name.endswith(MASK_CHECKSUMS) else labels
        digest.update(f"{name} {column.dtype} {column.shape}\n".encode())
        digest.update(np.ascontiguousarray(column).tobytes())
    # As JSON gives them back: lists instead of tuples.
    classes = json.loads(json.dumps({task: dict(lists) for task, lists in frames.classes.items()}))
    return {
        "frames": len(frames),
        "names": names.hexdigest(),
        "labels": labels.hexdigest(),
        "masks": masks.hexdigest(),
        "classes": classes,
    }
