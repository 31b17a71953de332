"""An evaluation on several ranks: each runs the model on its frames, the leading one scores all."""

import json

import numpy as np

from training.distributed import World
from training.evaluation.predictor import LabelledFrame

Found = list[tuple[LabelledFrame, dict[str, np.ndarray]]]


def gather(world: World, found: Found) -> Found:
    """Every rank's frames and outputs, in the dataset's order, on the leading rank; else empty."""
    parts = world.gather(packed(found))
    frames = [item for part in parts for item in unpacked(part)]
    return sorted(frames, key=lambda item: item[0].index)


def packed(found: Found) -> dict[str, np.ndarray]:
    """Frames and outputs as arrays with flat names; without the images."""
    arrays: dict[str, np.ndarray] = {}
    for frame, outputs in found:
        about = [frame.index, frame.name, frame.size_hw, frame.attributes]
        arrays[f"{frame.index}//about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        arrays |= {f"{frame.index}/{task}/:output": array for task, array in outputs.items()}
        for task, target in frame.targets.items():
            arrays |= {f"{frame.index}/{task}/{key}": value for key, value in target.items()}
    return arrays


def unpacked(arrays: dict[str, np.ndarray]) -> Found:
    """The inverse of `packed`."""
    found: dict[str, tuple[LabelledFrame, dict[str, np.ndarray]]] = {}
    for key in sorted(arrays):  # a frame's first entry is `about`
        array, (number, task, name) = arrays[key], key.split("/", 2)
        if not task:
            index, title, size_hw, attributes = json.loads(array.tobytes())
            frame = LabelledFrame(index, title, tuple(size_hw), None, {}, attributes)
            found[number] = frame, {}
        elif name == ":output":
            found[number][1][task] = array
        else:
            found[number][0].targets.setdefault(task, {})[name] = array
    return list(found.values())
