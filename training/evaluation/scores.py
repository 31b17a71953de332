"""One pass over a split: every task scored by every protocol, on the whole set and its slices.

Knows no task by name: metrics come from the registry, geometry from the output's kind.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from perception.classes import ATTRIBUTES
from perception.errors import unknown_name
from perception.metrics.panoptic import panoptic_metric
from perception.runtime.description import View
from perception.runtime.letterbox import Letterbox
from perception.tasks import TASKS
from training.data.labels import Arrays
from training.evaluation.predictor import Outputs, to_frame, unpadded

Rows = np.ndarray | None
# {protocol: {task: {score: value}}}
Scores = dict[str, dict[str, dict[str, float]]]


class FrameMetric(Protocol):
    """A metric that can score any choice of the frames it has seen."""

    def update(self, decoded: np.ndarray, target: Mapping[str, np.ndarray]) -> None: ...

    def compute(self, rows: Rows = None) -> dict[str, float]: ...


def _official(task: str, view: View) -> FrameMetric | None:
    if task not in TASKS:
        raise unknown_name("task", task, TASKS)
    return TASKS[task].metric(view)


@dataclass(frozen=True)
class Family:
    """A protocol: the metric of an output (or none), its headline scores, and the coordinates it
    is scored in."""

    metric: Callable[[str, View], FrameMetric | None]
    headlines: Callable[[str, FrameMetric], Sequence[str]]
    place: Callable[[np.ndarray, View, Letterbox], np.ndarray]


PROTOCOLS: Final[Mapping[str, Family]] = {
    "bdd": Family(_official, lambda task, metric: (TASKS[task].score,), to_frame),
    "panoptic": Family(
        lambda task, view: panoptic_metric(view),
        lambda task, metric: getattr(metric, "headlines", ()),
        unpadded,
    ),
}


@dataclass
class Channel:
    """One task under one protocol: its metric, and which frames it has seen."""

    protocol: str
    task: str
    metric: FrameMetric
    headlines: tuple[str, ...]
    frames: list[int] = field(default_factory=list)

    def rows_of(self, frames: np.ndarray) -> np.ndarray:
        """The metric's rows of the given frames (repeats kept), those without a label left out."""
        row = np.full(max([*self.frames, *frames.tolist(), 0]) + 1, -1)
        row[self.frames] = np.arange(len(self.frames))
        picked = row[frames]
        return picked[picked >= 0]


class Evaluation:
    """Collects predictions against labels; scores the set, slices of it and resampled sets."""

    def __init__(self, views: Mapping[str, View], protocols: Sequence[str]) -> None:
        self.views = dict(views)
        self.channels: list[Channel] = []
        for protocol in protocols:
            family = PROTOCOLS[protocol]
            for task, view in views.items():
                metric = family.metric(task, view)
                if metric is not None:
                    headlines = tuple(family.headlines(task, metric))
                    self.channels.append(Channel(protocol, task, metric, headlines))
        self.attributes: list[dict[str, str]] = []

    def add(
        self,
        labelled: Sequence[tuple[Outputs, dict[str, Arrays], Letterbox]],
        attributes: Sequence[dict[str, str]],
        pool: ThreadPoolExecutor,
    ) -> None:
        """Scores a batch (outputs, targets, geometry of each frame), the channels side by side."""
        first = len(self.attributes)
        self.attributes += attributes

        def score(channel: Channel) -> None:
            view, place = self.views[channel.task], PROTOCOLS[channel.protocol].place
            for frame, (outputs, targets, box) in enumerate(labelled, first):
                if channel.task in targets:
                    found = place(outputs[channel.task], view, box)
                    channel.metric.update(found, targets[channel.task])
                    channel.frames.append(frame)

        list(pool.map(score, self.channels))

    def scores(self, frames: np.ndarray | None = None) -> Scores:
        """Every score on all frames, or on the given ones (repeats allowed)."""
        out: Scores = {}
        for channel in self.channels:
            rows = None if frames is None else channel.rows_of(frames)
            if channel.frames and (rows is None or len(rows)):
                out.setdefault(channel.protocol, {})[channel.task] = channel.metric.compute(rows)
        return out

    def headlines(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """{protocol: {task: the scores that stand in a table of slices}}."""
        out: dict[str, dict[str, tuple[str, ...]]] = {}
        for channel in self.channels:
            out.setdefault(channel.protocol, {})[channel.task] = channel.headlines
        return out

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
        drawn: dict[tuple[str, str, str], list[float]] = {}
        for _ in range(rounds):
            scores = self.scores(rng.integers(0, count, count))
            for protocol, tasks in scores.items():
                for task, values in tasks.items():
                    for key, value in overall(values).items():
                        drawn.setdefault((protocol, task, key), []).append(value)
        out: dict[str, dict[str, dict[str, list[float]]]] = {}
        for (protocol, task, key), sample in drawn.items():
            known = np.array(sample)[~np.isnan(sample)]
            if len(known):
                ends = np.percentile(known, [2.5, 97.5]).tolist()
                out.setdefault(protocol, {}).setdefault(task, {})[key] = ends
        return out


def overall(scores: Mapping[str, float]) -> dict[str, float]:
    """The scores that are not of a single class."""
    return {key: value for key, value in scores.items() if "/" not in key}
