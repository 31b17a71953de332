"""Steady identities for boxes: ByteTrack (arXiv 2110.06864) from the `trackers` library."""

from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from perception.runtime.scene import Boxes, Scene

LOWEST_SCORE = 0.1


def tracking_available() -> bool:
    """Whether the library is installed (extra `demo`)."""
    return find_spec("trackers") is not None and find_spec("supervision") is not None


class Tracks:
    """Gives every boxes output of the scenes it is shown, in order, its track ids."""

    def __init__(self, fps: float, score: float) -> None:
        self.fps, self.score = fps, score
        import_module("trackers")  # takes a second: now, and not in the middle of the first frame
        self.trackers: dict[str, _ByteTrack] = {}

    def update(self, scene: Scene) -> None:
        """Puts ids on the scene's boxes, in place; -1 where a track is not confirmed yet."""
        for name, boxes in list(scene.of(Boxes)):
            if name not in self.trackers:
                self.trackers[name] = _ByteTrack(self.fps, self.score)
            ids = self.trackers[name].update(boxes)
            scene.outputs[name] = replace(boxes, track_ids=ids)


class _ByteTrack:
    """One library tracker for one output."""

    def __init__(self, fps: float, score: float) -> None:
        from supervision import Detections
        from trackers import ByteTrackTracker

        self.make = Detections
        # A track starts at the score that is drawn; weaker boxes may only carry it on.
        self.tracker = ByteTrackTracker(
            frame_rate=fps, track_activation_threshold=score, high_conf_det_threshold=score
        )

    def update(self, boxes: Boxes) -> np.ndarray:
        """int64 (N,) ids in the order of the boxes."""
        rows = np.flatnonzero(boxes.scores >= LOWEST_SCORE)
        found = self.tracker.update(
            self.make(
                xyxy=boxes.xyxy[rows].reshape(-1, 4),
                confidence=boxes.scores[rows],
                class_id=boxes.classes[rows],
                data={"row": rows},
            )
        )
        ids = np.full(len(boxes), -1, np.int64)
        if len(found) and found.tracker_id is not None:
            # The tracker may return the boxes in another order, or fewer.
            ids[np.asarray(found.data["row"], np.int64)] = found.tracker_id
        return ids
