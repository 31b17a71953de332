"""One pass over a split: every task scored by every protocol, on the whole set and on slices.

Knows no task by name: metrics come from the registry, geometry from the scene.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, Final, TypeVar

import cv2
import numpy as np
from rich.console import Console

from perception.classes import ATTRIBUTES
from perception.metrics.base import Metric
from perception.metrics.panoptic import BATCH, panoptic_metric
from perception.runtime.scene import Scene
from perception.runtime.view import View
from perception.tasks import TASKS, check_tasks
from perception.tasks.base import Task
from training.data.dataset import Dataset
from training.distributed import ALONE, World
from training.evaluation.predictor import (
    LabelledFrame,
    Predictor,
    TorchPredictor,
    gather,
    read_frames,
)
from training.logs import make_progress

TaskScores = Mapping[str, Mapping[str, float]]
# {protocol: {task: {score: value}}}
Scores = dict[str, dict[str, dict[str, float]]]

T = TypeVar("T")

# Keys that are score thresholds of boxes, in percent, and not scores.
THRESHOLDS: Final = ("threshold", "shown_threshold/*")


Sink = Callable[[LabelledFrame, Scene], None]  # takes every scored frame with its scene, in order


@dataclass
class Channel:
    """One task under one protocol: its metric and the frames it has scored."""

    protocol: str
    task: str
    metric: Metric
    headlines: tuple[str, ...]
    native: bool  # scored at the frame's size instead of the model's resolution
    frames: list[int] = field(default_factory=list)

    def rows_of(self, frames: np.ndarray | None) -> np.ndarray | None:
        """The metric's rows of the given frames (repeats kept), without those not labelled."""
        if frames is None:
            return None
        row = np.full(max([*self.frames, *frames.tolist(), 0]) + 1, -1)
        row[self.frames] = np.arange(len(self.frames))
        picked = row[frames]
        return picked[picked >= 0]

    def describe(self) -> dict[str, Any]:
        """Headlines, counts per class and their unit, and the scores that are computed exactly as
        by the protocol's reference code."""
        metric = self.metric
        known = [k for k in metric.compute() if any(fnmatchcase(k, p) for p in metric.official)]
        about = {"headlines": self.headlines, "official": known}
        return about | {"unit": metric.unit, "counts": metric.counts()}


def make_channels(
    views: Mapping[str, View], protocols: Sequence[str], protocol_batch: int
) -> Iterator[Channel]:
    """All channels for a model's outputs. Raises UserError for an unknown task."""
    check_tasks(views)
    for protocol in protocols:
        for task, view in views.items():
            if protocol == "bdd":
                metric: Metric | None = TASKS[task].metric(view)
                headlines: tuple[str, ...] = (TASKS[task].score,)
            else:
                metric = panoptic_metric(view, protocol_batch)
                headlines = metric.headlines if metric else ()
            if metric is not None:
                yield Channel(protocol, task, metric, headlines, protocol == "bdd")


class Evaluation:
    """Collects predictions against labels; scores the set, slices of it and bootstrap samples."""

    def __init__(
        self, views: Mapping[str, View], protocols: Sequence[str], protocol_batch: int = BATCH
    ) -> None:
        self.channels = list(make_channels(views, protocols, protocol_batch))
        self.attributes: list[dict[str, str]] = []

    @property
    def used(self) -> list[Channel]:
        """Channels that have scored a frame."""
        return [channel for channel in self.channels if channel.frames]

    def add(
        self, frames: Sequence[LabelledFrame], scenes: Sequence[Scene], pool: ThreadPoolExecutor
    ) -> None:
        """Scores a batch; the channels run in parallel."""
        first = len(self.attributes)
        self.attributes += [frame.attributes for frame in frames]

        def update(channel: Channel) -> None:
            for number, (frame, scene) in enumerate(zip(frames, scenes, strict=True), first):
                if channel.task in frame.targets:
                    found = scene.outputs[channel.task].array(channel.native)
                    channel.metric.update(found, frame.targets[channel.task])
                    channel.frames.append(number)

        list(pool.map(update, self.channels))

    def scores(self, frames: np.ndarray | None = None) -> Scores:
        """Every score on all frames, or on the given ones (repeats allowed)."""
        rows = [(channel, channel.rows_of(frames)) for channel in self.used]
        return nested(
            (channel, picked(channel.metric.compute(own), thresholds=False))
            for channel, own in rows
            if own is None or len(own)
        )

    def labelled(self, frames: np.ndarray | None = None) -> dict[str, dict[str, int]]:
        """{protocol: {task: number of labelled frames}}, all or among the given ones."""
        rows = [(channel, channel.rows_of(frames)) for channel in self.used]
        return nested((c, len(c.frames) if own is None else len(own)) for c, own in rows)

    def thresholds(self) -> dict[str, dict[str, float]]:
        """{task: {key: score threshold of boxes, from 0 to 1}}; see DetectionMetric.compute."""
        found = [(c.task, picked(c.metric.compute(), thresholds=True)) for c in self.used]
        return {
            task: {key: value / 100 for key, value in values.items()}
            for task, values in found
            if values
        }

    def describe(self) -> dict[str, dict[str, dict[str, Any]]]:
        """{protocol: {task: what its scores are of}}."""
        return nested((channel, channel.describe()) for channel in self.used)

    def notes(self) -> list[str]:
        """The notes of the metrics, and tasks that were not scored."""
        notes = [note for channel in self.used for note in channel.metric.notes()]
        scored = {channel.task for channel in self.used}
        if unscored := [c.task for c in self.channels if c.task not in scored]:
            notes.append(f"not scored, no labels: {', '.join(sorted(set(unscored)))}")
        return list(dict.fromkeys(notes))

    def slices(self) -> dict[str, np.ndarray]:
        """Frames of each attribute value that occurs, such as "timeofday=night"."""
        names = dict.fromkeys(name for frame in self.attributes for name in frame)
        out = {}
        for name in names:
            values = [frame.get(name, "undefined") for frame in self.attributes]
            known = dict.fromkeys((*ATTRIBUTES.get(name, ()), *values))
            for value in known:
                frames = np.flatnonzero([v == value for v in values])
                if len(frames):
                    out[f"{name}={value}"] = frames
        return out

    def intervals(self, rounds: int, seed: int = 0) -> dict[str, dict[str, dict[str, list[float]]]]:
        """95 % bootstrap intervals of every overall score, from frames drawn with replacement."""
        rng, count = np.random.default_rng(seed), len(self.attributes)
        drawn: dict[str, dict[str, dict[str, list[float]]]] = {}
        for _ in range(rounds):
            for protocol, tasks in self.scores(rng.integers(0, count, count)).items():
                for task, values in tasks.items():
                    into = drawn.setdefault(protocol, {}).setdefault(task, {})
                    for key, value in overall(values).items():
                        into.setdefault(key, []).extend([] if math.isnan(value) else [value])
        return {
            protocol: {
                task: {key: np.percentile(v, [2.5, 97.5]).tolist() for key, v in keys.items() if v}
                for task, keys in tasks.items()
            }
            for protocol, tasks in drawn.items()
        }


def nested(found: Iterable[tuple[Channel, T]]) -> dict[str, dict[str, T]]:
    """{protocol: {task: value}} of channels."""
    out: dict[str, dict[str, T]] = {}
    for channel, value in found:
        out.setdefault(channel.protocol, {})[channel.task] = value
    return out


def picked(values: Mapping[str, float], thresholds: bool) -> dict[str, float]:
    """What a metric has computed: the score thresholds, or the scores."""
    return {
        key: value
        for key, value in values.items()
        if any(fnmatchcase(key, pattern) for pattern in THRESHOLDS) == thresholds
    }


def overall(scores: Mapping[str, float]) -> dict[str, float]:
    """The scores that are not of a single class."""
    return {key: value for key, value in scores.items() if "/" not in key}


def stored_scores(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """{task: its own scores, then score thresholds in percent}, as in a checkpoint; without NaN,
    which JSON does not have."""
    out = {}
    for task, values in result["scores"].get("bdd", {}).items():
        shown = {key: 100 * value for key, value in result["thresholds"].get(task, {}).items()}
        out[task] = {k: v for k, v in (values | shown).items() if math.isfinite(v)}
    return out


def headline(tasks: Iterable[tuple[str, Task | type[Task]]], scores: TaskScores) -> float:
    """One number for the best checkpoint: the mean headline score of the tasks in percent.

    Where no task has a score that is better when higher, the negative mean of their errors. Scores
    that are missing or NaN are left out; NaN where all are.
    """
    heads = dict(tasks)
    known = {
        name: value
        for name, task in heads.items()
        if math.isfinite(value := scores.get(name, {}).get(task.score, math.nan))
    }
    upward = [value for name, value in known.items() if heads[name].higher_is_better]
    found = upward or [-value for value in known.values()]
    return statistics.fmean(found) if found else math.nan


def evaluate(
    predictor: Predictor,
    dataset: Dataset,
    *,
    protocols: Sequence[str] = ("bdd", "panoptic"),
    protocol_batch: int = BATCH,
    batch: int = 8,
    threads: int = 4,
    limit: int = 0,
    skip_bad: bool = False,
    bootstrap: int = 0,
    slices: bool = True,
    sinks: Sequence[Sink] = (),
    console: Console | None = None,
    world: World = ALONE,
) -> dict[str, Any]:
    """Scores a model on a dataset; a JSON-able result (see `report` for its keys).

    Each frame also goes to the `sinks`. With several ranks each reads its share of the frames; the
    leading rank scores all of them in order, so its result does not depend on their number, and
    those of the others are empty. Raises UserError for a frame that cannot be read, unless
    `skip_bad`.
    """
    cv2.setNumThreads(1)  # the pool below reads and scores frames in parallel
    evaluation = Evaluation(predictor.views, protocols, protocol_batch)
    skipped: list[str] = []
    count = min(len(dataset), limit or len(dataset))
    with ThreadPoolExecutor(threads) as pool, make_progress(console or Console(quiet=True)) as bar:
        line = bar.add_task("frames", total=count)
        rows = range(world.rank, count, world.size)
        ahead = 2 * max(batch, threads)
        read = read_frames(dataset, pool, ahead, skipped if skip_bad else None, rows)
        while True:
            own = list(islice(read, batch))
            seen = world.total([len(own)])[0]
            if not seen:
                break
            frames, scenes = scenes_of(predictor, own, world)
            evaluation.add(frames, scenes, pool)
            for frame, scene in zip(frames, scenes, strict=True):
                for sink in sinks:
                    sink(frame, scene)
            bar.update(line, advance=seen)
    parts = evaluation.slices() if slices else {}
    return {
        "model": predictor.name,
        "size_hw": list(predictor.size_hw),
        "frames": len(evaluation.attributes),
        "skipped": world.gather_names(skipped),
        "notes": dataset.notes() + evaluation.notes(),
        "tasks": evaluation.describe(),
        "labelled": evaluation.labelled(),
        "scores": evaluation.scores(),
        "thresholds": evaluation.thresholds(),
        "slices": {
            name: {
                "frames": len(frames),
                "labelled": evaluation.labelled(frames),
                "scores": evaluation.scores(frames),
            }
            for name, frames in parts.items()
        },
        "bootstrap": bootstrap,
        "intervals": evaluation.intervals(bootstrap),
    }


def scenes_of(
    predictor: Predictor, own: Sequence[LabelledFrame], world: World
) -> tuple[list[LabelledFrame], list[Scene]]:
    """This rank's frames with their scenes; of several ranks, all frames on the leading one."""
    images = [frame.image for frame in own if frame.image is not None]
    if world.size == 1:
        return list(own), predictor(images)
    assert isinstance(predictor, TorchPredictor)  # only training has several ranks
    found = gather(world, list(zip(own, predictor.outputs(images), strict=True)))
    return [f for f, _ in found], [predictor.scene(arrays, f.size_hw) for f, arrays in found]
