"""The frames of a split on their way to a model: read ahead in threads, letterboxed, in order."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from perception.classes import ATTRIBUTES
from perception.errors import UserError
from perception.runtime.letterbox import Letterbox
from training.data.dataset import Dataset
from training.data.labels import Arrays, Labels
from training.data.sample import Sample
from training.evaluation.predictor import Predictor, letterboxed


@dataclass
class Frame:
    """A labelled frame on its way through the model."""

    index: int
    name: str
    image: np.ndarray
    box: Letterbox
    targets: dict[str, Arrays]
    attributes: dict[str, str]


def read_frames(
    dataset: Dataset,
    predictor: Predictor,
    pool: ThreadPoolExecutor,
    ahead: int,
    skipped: list[str] | None = None,
    limit: int = 0,
) -> Iterator[Frame]:
    """Frames in order, letterboxed, `ahead` of them being read meanwhile.

    Frames that cannot be read end the evaluation, or, given `skipped`, are added to it.
    """

    def read(index: int) -> Frame | UserError:
        try:
            sample = dataset[index]
        except UserError as error:
            return error
        image, box = letterboxed(sample.image, predictor)
        targets = {task: label.arrays() for task, label in sample.labels.items()}
        attributes = attributes_of(dataset, index, sample)
        return Frame(index, sample.name, image, box, targets, attributes)

    count = min(len(dataset), limit) if limit else len(dataset)
    waiting = [pool.submit(read, index) for index in range(min(ahead, count))]
    for index in range(count):
        frame = waiting.pop(0).result()
        if index + ahead < count:
            waiting.append(pool.submit(read, index + ahead))
        if isinstance(frame, Frame):
            yield frame
        elif skipped is None:
            raise UserError(f"{frame} (or pass --skip-bad)")
        else:
            skipped.append(str(frame))


def attributes_of(dataset: Dataset, index: int, sample: Sample) -> dict[str, str]:
    """Weather, scene and time of day: as the dataset says, else from the frame's own labels."""
    given = dataset.attributes(index)
    if given is not None:
        return given
    label = sample.labels.get("scene")
    if not isinstance(label, Labels):
        return {}
    return {
        name: values[code] if code >= 0 else "undefined"
        for (name, values), code in zip(ATTRIBUTES.items(), label.labels.tolist(), strict=True)
    }


def batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    """Lists of `size` frames, the last one shorter."""
    while batch := list(islice(frames, size)):
        yield batch
