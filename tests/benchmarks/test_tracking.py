"""The comparison of trackers: perfect tracks score one, swapped identities less."""

import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("trackers", reason="trackers is not installed (extra demo)")
FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def tracking(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import tracking

    yield tracking
    sys.modules.pop("tracking", None)


def test_true_boxes_are_followed(tracking):
    args = Namespace(frames=6, fps=10.0, drop=0.0, shake=0.0)
    drive = tracking.clip(500, args)
    assert sum(map(len, drive.real)) > 6
    hota, _, identity = tracking.evaluate(drive, drive.real, 0.3)
    assert hota["HOTA"] == pytest.approx(1)
    swapped = [replace(one, track_ids=one.track_ids + i) for i, one in enumerate(drive.real)]
    assert tracking.evaluate(drive, swapped, 0.3)[2]["IDF1"] < 0.7 * identity["IDF1"]
    for name in ("perceive", "ByteTrack"):
        detected = [replace(one, track_ids=None) for one in drive.real]
        tracked, _ = tracking.follow(drive, detected, tracking.TRACKERS[name](10.0, 0.3))
        assert tracking.evaluate(drive, tracked, 0.3)[0]["DetA"] > 0.5, name


def test_a_shaking_camera_moves_pictures_and_boxes_alike(tracking):
    still, shaken = (
        tracking.clip(500, Namespace(frames=3, fps=10.0, drop=0.0, shake=shake)) for shake in (0, 9)
    )
    moves = [a.xyxy - b.xyxy for a, b in zip(shaken.real, still.real, strict=True)]
    assert all(np.ptp(move, axis=0).max() < 1e-3 for move in moves)
    x, y = (round(float(value)) for value in moves[1][0, :2])
    assert (x, y) != (0, 0)
    middle = still.pictures[1][100:200, 100:200]
    np.testing.assert_array_equal(shaken.pictures[1][100 + y : 200 + y, 100 + x : 200 + x], middle)
