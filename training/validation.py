"""Validation of a run: the scores of the averaged network on the validation frames.

`eval-bdd` (evaluation/) scores frames at their own size, with more protocols.
"""

import math
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from perception.model import HydraNet
from perception.tasks.base import Task, to_float
from training.data.sampling import EvalBatch
from training.learner import Learner
from training.logs import Scores


@torch.no_grad()
def decoded(
    model: HydraNet, frames: Tensor, autocast: AbstractContextManager[None]
) -> dict[str, Tensor]:
    """Every task's decoded output for a batch of frames, on the CPU."""
    with autocast:
        raws = model(frames)
    return {name: task.decode(to_float(raws[name])).cpu() for name, task in model.tasks.items()}


def evaluate(learner: Learner, batches: Iterable[EvalBatch]) -> tuple[Scores, float]:
    """Scores of every task on the frames that have its labels, and seconds per frame.

    Each rank runs the model on its share of the frames; the leading rank receives decoded outputs
    and targets in order and computes the scores, so they do not depend on the number of ranks.
    Other ranks get {}.
    """
    learner.average_statistics()
    model = learner.eval_model.eval()
    metrics = {name: task.metric(task.view) for name, task in model.tasks.items()}
    seen, start = 0, time.perf_counter()
    for batch in batches:
        frames = batch.frames.to(learner.world.device)
        outputs = decoded(model, frames, learner.autocast()) if len(frames) else {}
        seen += len(frames)
        for arrays in learner.world.gather(pack_found(outputs, batch)):
            for task, output, target in unpack_found(arrays):
                metrics[task].update(output, target)
    seconds = (time.perf_counter() - start) / max(seen, 1)
    if not learner.world.leads:
        return {}, seconds
    return {name: metric.compute() for name, metric in metrics.items()}, seconds


def pack_found(outputs: Mapping[str, Tensor], batch: EvalBatch) -> dict[str, np.ndarray]:
    """Outputs and targets of a batch as flat names, so that they can be sent to another rank."""
    arrays: dict[str, np.ndarray] = {}
    for row, targets in enumerate(batch.targets):
        for task, output in outputs.items():
            if task in targets:
                arrays[f"{row}/{task}/:output"] = output[row].numpy()
                arrays |= {f"{row}/{task}/{key}": value for key, value in targets[task].items()}
    return arrays


def unpack_found(
    arrays: Mapping[str, np.ndarray],
) -> Iterator[tuple[str, np.ndarray, dict[str, np.ndarray]]]:
    """(task, output, target) of each row, in order."""
    grouped: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for key, value in arrays.items():
        row, task, name = key.split("/", 2)
        grouped.setdefault((row, task), {})[name] = value
    for (_, task), target in grouped.items():
        output = target.pop(":output")
        yield task, output, target


def headline(tasks: Iterable[tuple[str, Task | type[Task]]], scores: Scores) -> float:
    """One number for the best checkpoint: the mean headline score of the tasks in percent.

    Where no task has a score that is better when higher, the negative mean of their errors. Scores
    that are missing or NaN are left out.
    """
    heads = dict(tasks)
    known = {
        name: value
        for name, task in heads.items()
        if math.isfinite(value := scores.get(name, {}).get(task.score, math.nan))
    }
    upward = [value for name, value in known.items() if heads[name].higher_is_better]
    found = upward or [-value for value in known.values()]
    return statistics.fmean(found) if found else -math.inf
