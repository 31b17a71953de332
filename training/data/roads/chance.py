"""Random choices."""

from bisect import bisect
from collections.abc import Mapping
from itertools import accumulate
from typing import TypeVar

import numpy as np

T = TypeVar("T")
Rng = np.random.Generator


def pick(rng: Rng, odds: Mapping[T, float]) -> T:
    """One of the keys; about ten times as fast as Generator.choice."""
    *limits, whole = accumulate(odds.values())
    return list(odds)[bisect(limits, rng.random() * whole)]
