"""Where things stand in the report's pictures."""

import re
from itertools import pairwise

import pytest

from training.study import svg


def test_names_keep_their_distance_and_stay_inside() -> None:
    placed = svg.apart([10.0, 11.0, 12.0, 80.0, 100.0, 100.0], 16.0, 5.0, 100.0)
    assert placed == pytest.approx([10.0, 26.0, 42.0, 68.0, 84.0, 100.0])


def test_dots_of_one_size_stand_side_by_side() -> None:
    assert svg.side_by_side([50.0, 50.0, 200.0, 50.0], 7.0) == [43.0, 50.0, 200.0, 57.0]


def test_no_two_names_of_a_pareto_plot_overlap() -> None:
    dots = [svg.Dot(f"method-{n}", 3.6, -0.01 * n, 2.0) for n in range(22)]
    drawn = svg.pareto([*dots, svg.Dot("twins", 14.0, 0.0)], "size", "gain")
    named = re.findall(r'y="([0-9.]+)" text-anchor="start" fill="[^"]*">(method-\d+|twins)<', drawn)
    heights = sorted(float(y) for y, _ in named)
    assert len(heights) == 23
    assert min(b - a for a, b in pairwise(heights)) >= 15.9
