"""Outputs over time: track ids for boxes, and masks and labels that do not flicker."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from perception.runtime.scene import Boxes, Labels, Mask, Scene, Score, least_score

LOWEST_SCORE = 0.1  # weaker boxes do not even continue a track
SURE_SCORE = 0.7
LEAST = 0.01  # a score of 0 would let the limits for IoU vanish
LABEL_S = 0.25  # time constant of labels
MOTION_WIDTH = 320  # the frame's width for the camera's motion


def tracking_available() -> bool:
    """Whether the tracking libraries are installed (extra `demo`)."""
    return find_spec("trackers") is not None and find_spec("supervision") is not None


class BoxTracker:
    """Adds track ids to every boxes output of consecutive scenes: BoT-SORT (arXiv 2206.14651) with
    compensation of the camera's motion, from the `trackers` library; one tracker per output."""

    def __init__(self, fps: float, score: Score) -> None:
        self.fps, self.score = fps, score
        import_module("trackers")  # takes a second: at start, not during the first frame
        self.trackers: dict[str, _BoTSORT] = {}
        self.last = -math.inf

    def update(self, scene: Scene, image: np.ndarray, seconds: float | None = None) -> None:
        """Sets `track_ids` of the scene's boxes in place; -1 where a track is not confirmed.

        `image` is the scene's uint8 (H, W, 3) BGR frame, `seconds` its time; None: 1 / fps after
        the last one. A time before the last one, as of a recording played again, starts over.
        """
        if seconds is not None:
            if seconds < self.last:
                self.trackers.clear()
            self.last = seconds
        for name, boxes in list(scene.of(Boxes)):
            if name not in self.trackers:
                least = least_score(self.score, name)
                self.trackers[name] = _BoTSORT(self.fps, least, image.shape[1])
            ids = self.trackers[name].update(boxes, image, seconds)
            scene.outputs[name] = replace(boxes, track_ids=ids)


class _BoTSORT:
    """The library's tracker for one output. It knows one score for all classes, so scores are
    scaled: a box of its class's lowest score gets the lowest score of all classes."""

    def __init__(self, fps: float, least: float | Sequence[float], width: int) -> None:
        from supervision import Detections
        from trackers import BoTSORTTracker

        self.detections = Detections
        self.least = np.maximum(np.atleast_1d(np.asarray(least, np.float64)), LEAST)
        score = float(self.least.min())
        # The library's limits for IoU times score suit boxes that score 0.7 and more.
        share = score / SURE_SCORE
        self.tracker = BoTSORTTracker(
            frame_rate=fps,
            # A track starts at the displayed score; weaker boxes may only continue it.
            track_activation_threshold=score,
            high_conf_det_threshold=score,
            minimum_iou_threshold_first_assoc=0.2 * share,
            minimum_iou_threshold_unconfirmed_assoc=0.3 * share,
            cmc_downscale=max(1, round(width / MOTION_WIDTH)),
        )

    def update(self, boxes: Boxes, image: np.ndarray, seconds: float | None) -> np.ndarray:
        """int64 (N,) ids in the order of the boxes."""
        rows = np.flatnonzero(boxes.scores >= LOWEST_SCORE)
        least = np.broadcast_to(self.least, len(boxes.names))[boxes.classes[rows]]
        scores = np.minimum(boxes.scores[rows] * self.least.min() / least, 1.0)
        found = self.tracker.update(
            self.detections(
                xyxy=boxes.xyxy[rows].reshape(-1, 4),
                confidence=scores,
                class_id=boxes.classes[rows],
                data={"row": rows},
            ),
            frame=image,
            timestamp=seconds,
        )
        ids = np.full(len(boxes), -1, np.int64)
        if len(found) and found.tracker_id is not None:
            # The tracker may return the boxes in another order, or fewer.
            ids[np.asarray(found.data["row"], np.int64)] = found.tracker_id
        return ids


class Steady:
    """Scenes filtered over time for the eye: masks and labels that do not flicker. Returns a new
    scene; the one of the frame stays as it is.

    Labels: exponential mean, the new frame counts `1 - exp(-step / LABEL_S)`.
    """

    def __init__(self) -> None:
        self.masks: dict[str, deque[np.ndarray]] = {}
        self.labels: dict[str, Labels] = {}
        self.last = -math.inf

    def update(self, scene: Scene, seconds: float) -> Scene:
        """The filtered scene of the next frame."""
        outputs = dict(scene.outputs)
        weight = 1 - math.exp(-max(seconds - self.last, 0.0) / LABEL_S)
        self.last = seconds
        for name, mask in scene.of(Mask):
            before = self.masks.setdefault(name, deque(maxlen=2))
            outputs[name] = replace(mask, small=majority(before, mask.small))
            before.append(mask.small)
        for name, labels in scene.of(Labels):
            self.labels[name] = mean(self.labels.get(name), labels, weight)
            outputs[name] = self.labels[name]
        return replace(scene, outputs=outputs)


def mean(before: Labels | None, now: Labels, weight: float) -> Labels:
    """The new labels with their weight, the ones before with the rest."""
    if before is None:
        return now
    return Labels(
        {
            group: {
                name: share + (1 - weight) * (before.groups[group][name] - share)
                for name, share in classes.items()
            }
            for group, classes in now.groups.items()
        }
    )


def majority(before: deque[np.ndarray], now: np.ndarray) -> np.ndarray:
    """Per pixel the value that two of the last three masks share; the newest where all differ.

    Works for any encoding, lane bytes included, because it only compares values.
    """
    if len(before) < 2 or any(mask.shape != now.shape for mask in before):
        return now
    older, old = before
    return np.where(older == old, old, now)
