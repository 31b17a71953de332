"""Outputs over time: track ids for boxes, and masks and labels that do not flicker."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np

from perception.runtime.scene import Boxes, Labels, Mask, Scene

LOWEST_SCORE = 0.1  # weaker boxes do not even continue a track
SURE_SCORE = 0.7
LEAST = 0.01  # a score of 0 would let the limits for IoU vanish
LABEL_S = 0.25  # time constant of labels
MASK_S, MARGIN = 0.16, 0.2 * 255  # of masks; chosen by measurement, see docs/video.md
FORGET_S = 1.0  # a longer gap starts anew
MAX_CLASSES = 8
SPECK = 5  # pixels of the model; smaller specks and holes are removed
CORNERS, MIN_CORNERS = 120, 6
MOTION_WIDTH = 320  # the frame's width for the camera's motion


def tracking_available() -> bool:
    """Whether the tracking libraries are installed (extra `demo`)."""
    return find_spec("trackers") is not None and find_spec("supervision") is not None


class BoxTracker:
    """Adds track ids to every boxes output of consecutive scenes: BoT-SORT (arXiv 2206.14651) with
    compensation of the camera's motion, from the `trackers` library; one tracker per output."""

    def __init__(self, fps: float) -> None:
        self.fps = fps
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
                self.trackers[name] = _BoTSORT(self.fps, boxes.least, image.shape[1])
            ids = self.trackers[name].update(boxes, image, seconds)
            scene.outputs[name] = replace(boxes, track_ids=ids)


class _BoTSORT:
    """The library's tracker for one output. It knows one score for all classes, so scores are
    scaled: a box of its class's lowest score gets the lowest score of all classes."""

    def __init__(self, fps: float, least: float | Sequence[float], width: int) -> None:
        from trackers import BoTSORTTracker

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
        )
        motion: Any = CameraMotion(max(1, round(width / MOTION_WIDTH)))
        self.tracker.cmc = motion

    def update(self, boxes: Boxes, image: np.ndarray, seconds: float | None) -> np.ndarray:
        """int64 (N,) ids in the order of the boxes."""
        rows = np.flatnonzero(boxes.scores >= LOWEST_SCORE)
        least = np.broadcast_to(self.least, len(boxes.names))[boxes.classes[rows]]
        scores = np.minimum(boxes.scores[rows] * self.least.min() / least, 1.0)
        return track_ids(self.tracker, boxes, rows, scores, image, seconds)


def track_ids(
    tracker: Any,
    boxes: Boxes,
    rows: np.ndarray,
    scores: np.ndarray,
    image: np.ndarray | None,
    seconds: float | None,
) -> np.ndarray:
    """int64 (N,) ids that a tracker of the library gives; it sees the boxes at `rows` (M,), with
    the `scores` (M,)."""
    from supervision import Detections

    given = Detections(
        boxes.xyxy[rows].reshape(-1, 4), None, scores, boxes.classes[rows], data={"row": rows}
    )
    found = tracker.update(given, frame=image, timestamp=seconds)
    ids = np.full(len(boxes), -1, np.int64)
    if len(found) and found.tracker_id is not None:
        # The tracker may return the boxes in another order, or fewer.
        ids[np.asarray(found.data["row"], np.int64)] = found.tracker_id
    return ids


class CameraMotion:
    """The picture's motion from one frame to the next, in place of the library's: a few corners
    followed by pyramidal optical flow (Lucas and Kanade) in a small picture, which takes a fifth of
    the time."""

    def __init__(self, shrink: int) -> None:
        self.shrink = shrink
        self.reset()

    def reset(self) -> None:
        """Forgets the last frame."""
        self.last: np.ndarray | None = None
        self.corners: np.ndarray | None = None

    def estimate(self, frame: np.ndarray, _: object = None) -> np.ndarray:
        """float32 (2, 3) from the last frame's pixels to this one's; the identity where too few
        corners are found again."""
        size = (max(1, frame.shape[1] // self.shrink), max(1, frame.shape[0] // self.shrink))
        grey = cv2.cvtColor(cv2.resize(frame, size), cv2.COLOR_BGR2GRAY)
        found = np.eye(2, 3, dtype=np.float32)
        if self.last is not None and self.corners is not None and self.last.shape == grey.shape:
            found = self._flow(self.last, grey, self.corners)
        self.last = grey
        self.corners = cv2.goodFeaturesToTrack(grey, CORNERS, 0.01, min(size) / 24)
        return found

    def _flow(self, before: np.ndarray, now: np.ndarray, corners: np.ndarray) -> np.ndarray:
        still = np.eye(2, 3, dtype=np.float32)
        ends = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 0.03)
        moved, status, _ = cv2.calcOpticalFlowPyrLK(
            before, now, corners, corners.copy(), winSize=(11, 11), maxLevel=3, criteria=ends
        )
        good = status.ravel() > 0
        if good.sum() < MIN_CORNERS:
            return still
        made, _ = cv2.estimateAffinePartial2D(corners[good], moved[good], maxIters=200)
        if made is None:
            return still
        made[:, 2] *= self.shrink
        return made.astype(np.float32)


class Steady:
    """Scenes filtered over time for the eye: masks and labels that do not flicker. Returns a new
    scene; the one of the frame stays as it is.

    Masks: per class an exponential mean of where it was seen (time constant MASK_S); a pixel
    changes its class when another one is MARGIN ahead of it; specks and holes of a few pixels are
    removed. Lane bytes and masks of many classes: the majority of three frames. Labels: an
    exponential mean (LABEL_S).
    """

    def __init__(self) -> None:
        self.areas: dict[str, _SteadyMask] = {}
        self.masks: dict[str, deque[np.ndarray]] = {}
        self.labels: dict[str, Labels] = {}
        self.last = -math.inf

    def update(self, scene: Scene, seconds: float) -> Scene:
        """The filtered scene of the next frame."""
        outputs = dict(scene.outputs)
        step = seconds - self.last if seconds > self.last else math.inf  # played again: start anew
        self.last = seconds
        for name, mask in scene.of(Mask):
            if mask.is_lane_byte or len(mask.view.classes) > MAX_CLASSES:
                before = self.masks.setdefault(name, deque(maxlen=2))
                steady = majority(before, mask.small)
                before.append(mask.small)
            else:
                present = np.flatnonzero(mask.counts).tolist()
                steady = self.areas.setdefault(name, _SteadyMask())(mask.small, present, step)
            outputs[name] = replace(mask, small=steady)
        for name, labels in scene.of(Labels):
            weight = 1 - math.exp(-step / LABEL_S)
            self.labels[name] = mean(self.labels.get(name), labels, weight)
            outputs[name] = self.labels[name]
        return replace(scene, outputs=outputs)


class _SteadyMask:
    """One mask of a few classes. Rows above `top` have only had the first pixel's class so far:
    half of a frame of a road, which needs no work."""

    def __init__(self) -> None:
        self.seen: dict[int, np.ndarray] = {}  # by class, float32 (h, w): 0 to 255
        self.shown = np.zeros((0, 0), np.uint8)
        self.top = 0

    def __call__(self, mask: np.ndarray, present: list[int], step: float) -> np.ndarray:
        """uint8 (h, w), `step` seconds after the last one; `present`: the values of `mask`."""
        if step > FORGET_S or self.shown.shape != mask.shape:
            self.seen, self.shown, self.top = {}, mask, len(mask) - 1
        others = (mask != self.shown[0, 0]).any(axis=1)
        self.top = min(self.top, int(others.argmax()) if others.any() else self.top)
        part, shown = mask[self.top :], self.shown[self.top :]
        weight = 1 - math.exp(-step / MASK_S)
        support = np.zeros(part.shape, np.float32)  # of the class that is shown
        for value in {*self.seen, *present}:
            if value in self.seen:
                now = cv2.inRange(part, value, value)
                cv2.accumulateWeighted(now, self.seen[value][self.top :], weight)
            else:
                first = not np.array_equal(self.shown, mask)
                now = cv2.inRange(mask, value, value)
                self.seen[value] = now.astype(np.float32) * (weight if first else 1)
            cv2.copyTo(self.seen[value][self.top :], cv2.inRange(shown, value, value), support)
        # The means of all classes add up to 255, so none is MARGIN ahead of a larger one than this.
        weak = np.flatnonzero(support < (255 - MARGIN) / 2)
        seen = np.stack([one[self.top :].ravel()[weak] for one in self.seen.values()])
        best = np.array(list(self.seen), np.uint8)[seen.argmax(axis=0)]
        ahead = seen.max(axis=0) > support.ravel()[weak] + MARGIN
        self.shown = self.shown.copy()
        self.shown[self.top :].ravel()[weak[ahead]] = best[ahead]
        # Specks and holes go with the median; it changes nothing in an even area.
        part = self.shown[max(0, self.top - SPECK // 2) :]
        part[:] = cv2.medianBlur(part, SPECK)
        return self.shown


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
    return cv2.copyTo(old, cv2.compare(older, old, cv2.CMP_EQ), now.copy())
