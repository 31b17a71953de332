"""Scores of lane lines on the ground against values worked out by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def geometry(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import geometry

    yield geometry
    sys.modules.pop("geometry", None)


def line(x: float, first: float = 5, last: float = 45) -> np.ndarray:
    z = np.arange(first, last + 0.5)
    return np.column_stack([np.full(len(z), x), z])


@pytest.mark.parametrize(
    ("found", "real", "f1"),
    [
        ([], [], "nan"),
        ([line(0)], [line(0)], "100.0"),
        ([line(0)], [line(1.4)], "100.0"),
        ([line(0)], [line(1.6)], "0.0"),
        ([line(0), line(3)], [line(0)], "66.7"),
        ([], [line(0)], "0.0"),
        ([line(0)], [], "0.0"),
        ([line(0, last=20)], [line(0)], "0.0"),  # covers 16 of 41 points
        ([line(0, last=40)], [line(0)], "100.0"),
        ([line(0, 50, 60)], [line(0)], "0.0"),
        # One prediction fits both true lines, the other only the first: both are matched.
        ([line(0), line(-1)], [line(0.2), line(1.2)], "100.0"),
    ],
)
def test_f1_on_the_ground(geometry, found, real, f1):
    tally = geometry.Tally()
    tally.add_lines(found, real)
    assert tally.cells()[2][0] == f1


def test_point_distance_is_that_of_matched_lines(geometry):
    tally = geometry.Tally()
    tally.add_lines([line(0.5), line(9)], [line(0), line(20)])
    assert tally.cells()[2][1] == "0.50 (41)"


def test_lines_that_share_no_range_have_no_distances(geometry):
    assert len(geometry.ground_distances(line(0, 5, 10), line(0, 20, 30))) == 0
